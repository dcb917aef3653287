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

fn set(folder: &Folder, query: &str, source: &str, to: &[&str]) -> Ended {
    let first = ["offsets", "set", "checkpoint", "--query", query, "--source", source];
    folder.run(&[&first[..], to].concat())
}

/// Runs what is there, without waiting for more.
fn run_to_end(folder: &Folder) -> Ended {
    let arguments = ["--set", "queries.pass.trigger=available_now", "--set", "queries.counts.trigger=available_now"];
    folder.start_pipeline(&arguments).end()
}

#[test]
fn a_query_reads_its_socket_lines_again_or_leaves_them_out() {
    let folder = ran();
    let shown = folder.run(&["offsets", "show", "checkpoint"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for part in ["counts reads rows from {\"file\":1}\n", "pass reads lines from {\"log\":", "  kept: {\"log\":"] {
        assert!(shown.stdout.contains(part), "no {part:?} in:\n{}", shown.stdout);
    }
    let asked = set(&folder, "pass", "lines", &["--earliest"]);
    assert!(
        asked.code == 2 && asked.stderr.contains("move it? [y/N]") && asked.stderr.contains("nothing was changed"),
        "{asked:?}"
    );
    assert_eq!(folder.run(&["offsets", "show", "checkpoint"]).stdout, shown.stdout);

    let moved = set(&folder, "pass", "lines", &["--earliest", "--yes"]);
    assert!(moved.code == 0 && moved.stdout.contains("pass will read lines from {\"log\":"), "{moved:?}");
    assert_eq!(run_to_end(&folder).code, 0);
    let twice = |n: usize| [("{\"n\":1}".to_owned(), n), ("{\"n\":2}".to_owned(), n)].into();
    assert_eq!(folder.lines("out"), twice(2));

    assert_eq!(verify(&folder).code, 0);

    let folder = ran();
    for to in ["2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"] {
        assert_eq!(set(&folder, "pass", "lines", &["--time", to, "--yes"]).code, 0);
    }
    assert_eq!(run_to_end(&folder).code, 0);
    assert_eq!(folder.lines("out"), twice(1), "moved back and forth again");

    let folder = ran();
    for to in [&["--earliest", "--yes"][..], &["--latest", "--yes"], &["--time", "2000-01-01T00:00:00Z", "--yes"]] {
        assert_eq!(set(&folder, "pass", "lines", to).code, 0);
    }
    assert_eq!(run_to_end(&folder).code, 0);
    assert_eq!(folder.lines("out"), twice(2));
    let place = folder.run(&["offsets", "show", "checkpoint"]).stdout;
    let place = place.lines().find_map(|line| line.strip_prefix("pass reads lines from ")).unwrap();
    let other = place.replace("\"position\":", "\"position\":9999999999");
    let same = set(&folder, "pass", "lines", &["--offset", place, "--yes"]);
    assert_eq!(same.code, 0, "an offset as it is shown can be set: {same:?}");
    assert!(set(&folder, "pass", "lines", &["--offset", &other]).stderr.contains("no record of the ingest log"));
}

/// Divides by zero where `v` is 2.
const POISONED: &str = r#"
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in, max_files_per_trigger: 1 } }
    format: { json: { schema: "v BIGINT" } }
queries:
  divide:
    sql: SELECT 10 div (v - 2) AS q FROM rows
    trigger: available_now
    to: { file: { path: out }, format: json }
"#;

#[test]
fn a_batch_that_fails_each_time_is_left_out_by_its_offset() {
    let folder = Folder::with(POISONED);
    for (name, v) in [("1", 1), ("2", 2), ("3", 3)] {
        folder.write(&format!("in/{name}.json"), format!("{{\"v\":{v}}}\n"));
    }
    let failed = folder.start_pipeline(&[]).end();
    assert!(failed.code == 1 && failed.stderr.contains("DIVIDE_BY_ZERO"), "{failed:?}");
    let shown = folder.run(&["offsets", "show", "checkpoint", "--query", "divide"]);
    assert!(shown.stdout.contains("divide reads rows from {\"file\":1}\n"), "{}", shown.stdout);
    assert!(shown.stdout.contains("planned and not decided: up to {\"file\":2}\n"), "{}", shown.stdout);
    for wrong in ["{\"file\":9}", "{\"file\":1,\"position\":3}", "{\"n\":1}", "7"] {
        let refused = set(&folder, "divide", "rows", &["--offset", wrong, "--yes"]);
        assert!(refused.code == 2 && refused.stderr.contains("expected the start of a file"), "{refused:?}");
    }
    let moved = set(&folder, "divide", "rows", &["--offset", "{\"file\":2}", "--yes"]);
    assert!(moved.code == 0 && moved.stdout.contains("batch 1, which is planned and not decided, is planned anew"), "{moved:?}");
    let ended = folder.start_pipeline(&[]).end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(folder.lines("out"), [("{\"q\":-10}".to_owned(), 1), ("{\"q\":10}".to_owned(), 1)].into());
}

#[test]
fn offsets_of_a_running_process_and_of_unknown_names_are_refused() {
    let folder = ran();
    assert!(set(&folder, "nobody", "rows", &["--latest", "--yes"]).stderr.contains("there is no checkpoint of query nobody"));
    assert!(set(&folder, "counts", "lines", &["--latest", "--yes"]).stderr.contains("it reads rows"));
    assert!(set(&folder, "counts", "rows", &["--time", "2000-01-01T00:00:00Z", "--yes"]).stderr.contains("no time can be set"));
    assert_eq!(set(&folder, "counts", "rows", &["--yes"]).code, 2, "where to is missing");
    let running = folder.start_pipeline(&[]);
    running.listening();
    for ended in [folder.run(&["offsets", "show", "checkpoint"]), set(&folder, "counts", "rows", &["--latest", "--yes"])] {
        assert!(ended.code == 75 && ended.stderr.contains("[FENCED]"), "{ended:?}");
    }
    running.stop();
}
