//! What a person does with a checkpoint root while nothing runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::binary::{Ended, Folder};

/// Counts of files beside rows of a socket: state, staged output, a list of files and an ingest log.
const BOTH: &str = r#"
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in } }
    format: { json: { schema: "k STRING, v BIGINT" } }
  lines:
    from: { socket: { listen: "127.0.0.1:0" } }
    format: { json: { schema: "n BIGINT" } }
queries:
  counts:
    sql: SELECT k, count(*) AS n FROM rows GROUP BY k
    output_mode: update
    to: { console: {}, format: json }
  pass:
    sql: SELECT n FROM lines
    to: { file: { path: out }, format: json }
"#;

/// A folder in which both queries have run and stopped.
fn ran() -> Folder {
    let folder = Folder::with(BOTH);
    folder.write("in/1.json", "{\"k\":\"a\",\"v\":1}\n{\"k\":\"b\",\"v\":2}\n");
    let running = folder.start_pipeline(&[]);
    running.client().write_all(b"{\"n\":1}\n{\"n\":2}\n").unwrap();
    running.prints("\"rows\":[");
    running.until("the socket's rows are written", || (folder.lines("out").len() == 2).then_some(()));
    running.stop();
    folder
}

fn verify(folder: &Folder) -> Ended {
    folder.run(&["checkpoint", "verify", "checkpoint"])
}

/// The contents of all files below a folder but the lock, which says who held it last.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut contents(&path));
        } else if !path.ends_with("lock") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_whole_root_is_told_part_by_part_and_left_alone() {
    let folder = ran();
    let before = contents(&folder.path("checkpoint"));
    let ended = verify(&folder);
    assert_eq!(ended.code, 0, "{ended:?}");
    for part in [
        "query counts: whole (",
        "query pass: whole (",
        "ingest log of lines: whole (2 rows in 1 segments, ",
        "list of files of counts.rows: whole (1 files known, ",
        "checkpoint is whole\n",
    ] {
        assert!(ended.stdout.contains(part), "no {part:?} in:\n{}", ended.stdout);
    }
    assert!(contents(&folder.path("checkpoint")) == before, "something was changed");
    let again = folder.start_pipeline(&[]);
    again.listening();
    again.stop();
}

#[test]
fn damage_in_each_kind_of_file_is_named_and_all_of_it_at_once() {
    let folder = ran();
    let whole = contents(&folder.path("checkpoint"));
    // Where a byte that was durable for sure lies: in the first frame, the first record of the socket's lines, the list's first record.
    let places = [("queries/counts/meta", 40), ("queries/pass/log/", 150), ("sources/lines/", 60), ("sources/counts.rows/", 20)];
    let mut damaged = Vec::new();
    for (below, at) in places {
        let prefix = folder.path("checkpoint").join(below);
        let of_place = |path: &&PathBuf| path.to_str().unwrap().starts_with(prefix.to_str().unwrap());
        let file = whole.keys().filter(of_place).find(|path| !path.ends_with("spare.wal")).unwrap();
        let mut bytes = whole[file].clone();
        bytes[at] ^= 1;
        fs::write(file, &bytes).unwrap();
        let ended = verify(&folder);
        assert_eq!(ended.code, 1, "{}: {ended:?}", file.display());
        assert!(ended.stdout.contains(file.to_str().unwrap()), "{} is not in:\n{}", file.display(), ended.stdout);
        assert!(ended.stderr.contains("[CKPT_CORRUPT] checkpoint is damaged in 1 places"), "{}", ended.stderr);
        fs::write(file, &whole[file]).unwrap();
        damaged.push((file, bytes));
    }
    for (file, bytes) in &damaged {
        fs::write(file, bytes).unwrap();
    }
    let ended = verify(&folder);
    assert!(damaged.iter().all(|(file, _)| ended.stdout.contains(file.to_str().unwrap())), "{}", ended.stdout);
    assert!(ended.stderr.contains("in 4 places"), "{}", ended.stderr);
}

#[test]
fn an_ingest_log_that_a_query_cannot_go_on_with_is_a_fault_of_the_root() {
    let folder = ran();
    let other = ran();
    fs::remove_dir_all(folder.path("checkpoint/sources/lines")).unwrap();
    fs::rename(other.path("checkpoint/sources/lines"), folder.path("checkpoint/sources/lines")).unwrap();
    let ended = verify(&folder);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("query pass cannot go on: [CKPT_CORRUPT]"), "{}", ended.stdout);
    let started = folder.start_pipeline(&["--set", "queries.pass.trigger=available_now"]);
    started.says("the ingest log is not the one that the query has read so far");
}

#[test]
fn a_root_in_use_and_a_folder_that_is_none_are_refused() {
    let folder = Folder::with(BOTH);
    folder.write("in/1.json", "{\"k\":\"a\",\"v\":1}\n");
    let running = folder.start_pipeline(&[]);
    running.listening();
    let ended = verify(&folder);
    assert!(ended.code == 75 && ended.stderr.contains(&format!("[FENCED] checkpoint {}", folder.path("checkpoint").display())));
    assert!(ended.stderr.contains(&format!("by process {}", running.id())), "{ended:?}");
    running.stop();
    let before = folder.names();
    for path in ["nowhere", "in"] {
        let ended = folder.run(&["checkpoint", "verify", path]);
        assert!(ended.code == 2 && ended.stderr.contains("is no checkpoint root"), "{ended:?}");
    }
    assert_eq!(folder.names(), before);
}
