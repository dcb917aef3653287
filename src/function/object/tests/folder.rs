use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn folder() -> (tempfile::TempDir, Objects) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/b/c.txt"), "abcd").unwrap();
    fs::write(root.join("raw"), [0xff]).unwrap();
    fs::write(folder.path().join("outside"), "secret").unwrap();
    let objects = Objects::folder(FilePath::plain(root));
    (folder, objects)
}

#[tokio::test]
async fn a_file_is_an_object() {
    let (folder, objects) = folder();
    let function = Fixture::plain(&objects, "STRUCT<content: STRING, size: BIGINT>");
    assert_eq!(function.one("a/b/c.txt").await, r#"{"content":"abcd","size":4}"#);
    let about = Fixture::plain(&objects, "STRUCT<etag: STRING, modified: TIMESTAMP>");
    let before = about.one("a/b/c.txt").await;
    let file = fs::File::options().write(true).open(folder.path().join("root/a/b/c.txt")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    let after = about.one("a/b/c.txt").await;
    assert!(before != after && after.ends_with(r#""modified":"1970-01-01T00:00:01.000Z"}"#), "{before} {after}");
    let some = Fixture::new(&objects, "STRING", &settings("a/b/c.txt", Some("{path}")), calls());
    let outside = "rejected 1 a/b/c.txt: the range lies outside of the object";
    assert_eq!(some.all(&["1-2", "2-", "-1", "0-99", "4-9"]).await, ["\"bc\"", "\"cd\"", "\"d\"", "\"abcd\"", outside]);
    assert_eq!(Fixture::plain(&objects, "STRING").one("raw").await, "bad_answer 1 {path}: the content is no UTF-8 text");
    let small = Fixture::new(&objects, "STRING", &settings("{path}", None), CallSettings { answer_bytes_max: 3, ..calls() });
    assert_eq!(small.one("a/b/c.txt").await, "bad_answer 1 {path}: too much data: 4 bytes, and max_answer is 3 B");
}

#[tokio::test]
async fn no_path_leads_out_of_the_folder() {
    let (folder, objects) = folder();
    let root = folder.path().join("root");
    symlink(folder.path().join("outside"), root.join("link")).unwrap();
    symlink(folder.path(), root.join("up")).unwrap();
    symlink("a/b/c.txt", root.join("within")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(root.join("pipe")).status().unwrap().success());
    let function = Fixture::plain(&objects, "STRING");
    let answers =
        async |path: &str| function.one(path).await.split_once("{path}: ").map_or(String::new(), |(_, why)| why.to_owned());
    for path in ["link", "within"] {
        assert_eq!(answers(path).await, "it is a link, and links are not followed", "{path}");
    }
    for path in ["up/outside", "a/b/d.txt", "x/y", "a/b/c.txt/d"] {
        let why = answers(path).await;
        assert!(why == "not found" || why == "it is a link, and links are not followed", "{path}: {why}");
    }
    assert_eq!((answers("a/b").await, answers("pipe").await), ("not a file".to_owned(), "not a file".to_owned()));
    let absolute = folder.path().join("outside").display().to_string();
    for path in ["../outside", "a/../../outside", absolute.as_str(), ""] {
        let answer = function.one(path).await;
        assert!(answer.starts_with("rejected 1 ") && answer.contains("expected a path"), "{path}: {answer}");
    }
    assert_eq!(answers(&"x".repeat(300)).await, "no file can have this name");
    fs::remove_dir_all(&root).unwrap();
    let gone = function.one("a").await;
    assert!(gone.starts_with("config 1 {path}: there is no folder "), "{gone}");
}
