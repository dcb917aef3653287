//! What a person does with a checkpoint root while nothing runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    assert!(asked.code == 2 && asked.stdout.contains("pass will read lines from"), "{asked:?}");
    assert!(asked.stderr.contains("nothing was changed: standard input is no terminal"), "{asked:?}");
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

/// Rows of files into files.
const COPIED: &str = r#"
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in } }
    format: { json: { schema: "n BIGINT" } }
queries:
  copy:
    sql: SELECT n FROM rows
    trigger: available_now
    to: { file: { path: out }, format: json }
"#;

/// Runs the command that an error ends with.
pub(crate) fn take_the_way_out(folder: &Folder, ended: &Ended) -> Ended {
    let command = ended.stderr.split('`').find(|text| text.starts_with("tidemill checkpoint accept ")).expect("a command");
    let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
    let refused = folder.run(&arguments);
    refused.failed(2, &["nothing was changed: standard input is no terminal to ask at, so that --yes is needed"]);
    folder.run(&[&arguments[..], &["--yes"]].concat())
}

/// Puts a root back as it was before `folder`'s next run.
fn with_old_root(folder: &Folder, run: impl FnOnce()) {
    let copied = Command::new("cp").arg("-r").args([folder.path("checkpoint"), folder.path("old")]).status();
    assert!(copied.unwrap().success());
    run();
    fs::remove_dir_all(folder.path("checkpoint")).unwrap();
    fs::rename(folder.path("old"), folder.path("checkpoint")).unwrap();
}

fn once_each(numbers: impl IntoIterator<Item = u64>) -> BTreeMap<String, usize> {
    numbers.into_iter().map(|n| (format!("{{\"n\":{n}}}"), 1)).collect()
}

#[test]
fn an_output_that_is_ahead_of_its_checkpoint_is_gone_on_with() {
    let folder = Folder::with(COPIED);
    let run = || assert_eq!(folder.start_pipeline(&[]).end().code, 0);
    folder.write("in/1.json", "{\"n\":1}\n");
    run();
    with_old_root(&folder, || {
        for n in 2..4 {
            folder.write(&format!("in/{n}.json"), format!("{{\"n\":{n}}}\n"));
            run();
        }
    });
    let ended = folder.start_pipeline(&[]).end();
    ended.failed(1, &["[SINK_AHEAD]", "already holds commit 2 where commit 1 should follow", "--query copy --sink file --at 3`"]);
    assert_eq!(folder.lines("out"), once_each(1..4));
    // Less than what is there is not enough, and more than the log knows is.
    let short = ["checkpoint", "accept", "checkpoint", "--query", "copy", "--sink", "file", "--at"];
    folder.run(&[&short[..], &["0", "--yes"]].concat()).failed(2, &["--at 1 or more"]);
    assert_eq!(folder.run(&[&short[..], &["2", "--yes"]].concat()).code, 0);
    let ended = folder.start_pipeline(&[]).end();
    ended.failed(1, &["[SINK_AHEAD]", "--at 3`"]);
    // Of what the old root does not know, one file is there to be read, and its rows are written once more, as the command says.
    fs::remove_file(folder.path("in/3.json")).unwrap();
    let accepted = take_the_way_out(&folder, &ended);
    assert!(accepted.code == 0 && accepted.stdout.contains("is written once more if the sink has it already"), "{accepted:?}");
    run();
    let mut expected = once_each(1..4);
    expected.insert("{\"n\":2}".to_owned(), 2);
    assert_eq!(folder.lines("out"), expected);
    folder.write("in/4.json", "{\"n\":4}\n");
    run();
    run();
    expected.insert("{\"n\":4}".to_owned(), 1);
    assert_eq!(folder.lines("out"), expected);
    assert_eq!(verify(&folder).code, 0);
}

#[test]
fn an_output_without_its_manifests_is_gone_on_with() {
    let folder = Folder::with(COPIED);
    let run = || assert_eq!(folder.start_pipeline(&[]).end().code, 0);
    for n in 1..3 {
        folder.write(&format!("in/{n}.json"), format!("{{\"n\":{n}}}\n"));
        run();
    }
    fs::remove_dir_all(folder.path("out/_manifest")).unwrap();
    folder.write("in/3.json", "{\"n\":3}\n");
    let ended = folder.start_pipeline(&[]).end();
    ended.failed(1, &["[MARKER_LOST]", "--query copy --sink file --at 2`"]);
    assert_eq!(take_the_way_out(&folder, &ended).code, 0);
    for _ in 0..2 {
        run();
        assert_eq!(folder.lines("out"), once_each(1..4), "nothing is lost, and nothing there twice");
    }
    // What was said was said once.
    fs::remove_dir_all(folder.path("out/_manifest")).unwrap();
    folder.start_pipeline(&[]).end().failed(1, &["[MARKER_LOST]", "--at 3`"]);
}

#[test]
fn a_copy_goes_on_where_the_root_was_and_two_of_them_are_noticed() {
    let folder = ran();
    let copy = |arguments: &[&str]| folder.run(&[&["checkpoint", "copy", "checkpoint"], arguments].concat());
    let before = contents(&folder.path("checkpoint"));
    copy(&["backup"]).failed(2, &["nothing was changed: standard input is no terminal"]);
    assert!(!folder.path("backup").exists());
    let copied = copy(&["backup", "--yes"]);
    assert!(copied.code == 0 && copied.stdout.contains("let one of the two go on"), "{copied:?}");
    assert!(contents(&folder.path("checkpoint")) == before, "the root was changed");
    copy(&["backup", "--yes"]).failed(2, &["backup is there already: a copy replaces nothing"]);
    copy(&["checkpoint/backup", "--yes"]).failed(2, &["lie within each other"]);
    assert!(!folder.path("backup/lock").exists());
    assert_eq!(
        folder.run(&["checkpoint", "verify", "backup"]).stdout,
        verify(&folder).stdout.replace("checkpoint is", "backup is")
    );

    // The copy is run elsewhere, with new lines; the root that was left behind notices.
    let running = folder.start_pipeline(&["--set", "checkpoint=backup"]);
    running.client().write_all(b"{\"n\":3}\n").unwrap();
    running.until("the new row is written", || (folder.lines("out").len() == 3).then_some(()));
    let owned = folder.run(&["checkpoint", "copy", "backup", "other", "--yes"]);
    owned.failed(75, &["[FENCED]", &format!("by process {}", running.id())]);
    let accept = ["checkpoint", "accept", "backup", "--query", "pass", "--sink", "file", "--at", "9", "--yes"];
    folder.run(&accept).failed(75, &["[FENCED]", &format!("by process {}", running.id())]);
    running.stop();
    assert_eq!(folder.lines("out"), once_each(1..4), "each line once");
    run_to_end(&folder).failed(1, &["[SINK_AHEAD]"]);
    assert_eq!(folder.lines("out"), once_each(1..4));
}

/// What the guide says of a query that moves to a process of its own, with the guide's pipeline.
#[test]
fn a_query_moves_to_a_process_of_its_own() {
    let page = include_str!("../../docs/operations.md");
    let pipeline = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = Folder::with(pipeline);
    folder.write("in/1.json", "{\"id\":1,\"country\":\"no\",\"amount\":2000}\n");
    assert_eq!(folder.run(&["run", "pipeline.yaml"]).code, 0);
    let copied = folder.run(&["checkpoint", "copy", "checkpoints/orders", "checkpoints/large", "--yes"]);
    assert_eq!(copied.code, 0, "{copied:?}");

    let (head, queries) = pipeline.split_once("  totals:\n").unwrap();
    let (totals, large) = queries.split_once("  large:\n").unwrap();
    folder.write("totals.yaml", format!("{head}  totals:\n{totals}"));
    folder.write("large.yaml", format!("{head}  large:\n{large}").replace("checkpoints/orders", "checkpoints/large"));
    folder.write("in/2.json", "{\"id\":2,\"country\":\"no\",\"amount\":3000}\n");
    let ended = folder.run(&["run", "totals.yaml", "--set", "queries.totals.to.format=json"]);
    assert!(ended.code == 0 && ended.stdout.contains("\"n\":2,\"total\":5000.0"), "the state went on: {ended:?}");
    assert_eq!(folder.run(&["run", "large.yaml"]).code, 0);
    let rows = ["{\"id\":1,\"amount\":2000.0}", "{\"id\":2,\"amount\":3000.0}"].map(|row| (row.to_owned(), 1));
    assert_eq!(folder.lines("large"), BTreeMap::from(rows), "each row once");
}

/// The guide's pipeline of dead letters.
const LETTERS: &str = r#"
checkpoint: checkpoint
sources:
  transactions:
    from: { file: { path: "in/*.json" } }
    format: { json: { schema: "name STRING, amount DOUBLE" } }
    on_malformed: drop
queries:
  totals:
    sql: SELECT name, amount FROM transactions
    trigger: available_now
    to: { file: { path: out }, format: json }
    dead_letter: { file: { path: bad }, format: json }
"#;

#[test]
fn dead_letters_are_fed_back_once() {
    let folder = Folder::with(LETTERS);
    let run = |arguments: &[&str]| assert_eq!(folder.start_pipeline(arguments).end().code, 0);
    folder.write("in/1.json", "{\"name\":\"ann\",\"amount\":2}\n{\"name\":\"bob\",\"amount\":\"3\"}\nno JSON at all\n");
    run(&[]);
    let redrive = |arguments: &[&str]| folder.run(&[&["redrive", "pipeline.yaml", "--query", "totals"], arguments].concat());
    let before = folder.names();
    for dry in [redrive(&["--dry-run"]), redrive(&[])] {
        assert!(dry.stdout.starts_with("2 lines of the dead letters in "), "{dry:?}");
        assert_eq!(folder.names(), before);
    }
    redrive(&[]).failed(2, &["nothing was changed: standard input is no terminal"]);
    redrive(&["--source", "x"]).failed(2, &["there is no source x; there are: transactions"]);
    folder.run(&["redrive", "pipeline.yaml", "--query", "x"]).failed(2, &["there is no query x"]);
    redrive(&["--to", "bad/again"]).failed(2, &["lie within each other"]);

    // Amounts are texts from now on, which is another query's row.
    let done = redrive(&["--reason", "expected DOUBLE", "--yes"]);
    assert!(done.code == 0 && done.stdout.contains("1 dead letters are not asked for\ndone: 1 lines are in "), "{done:?}");
    let again = redrive(&["--reason", "expected DOUBLE", "--yes"]);
    assert!(
        again.code == 0 && again.stdout.starts_with("0 lines") && again.stdout.contains("1 lines were fed back before"),
        "{again:?}"
    );
    run(&["--set", "sources.transactions.format.json.schema=name STRING, amount STRING"]);
    let expected = [("{\"name\":\"ann\",\"amount\":2.0}", 1), ("{\"name\":\"bob\",\"amount\":\"3\"}", 1)];
    assert_eq!(folder.lines("out"), expected.map(|(line, times)| (line.to_owned(), times)).into());
    assert_eq!(redrive(&["--yes"]).code, 0);
    run(&[]);
    let letters = folder.lines("bad");
    assert_eq!(letters.len(), 3, "what is no JSON is a dead letter once more: {letters:?}");
    assert_eq!(folder.lines("out").len(), 2);
}

#[test]
fn lines_of_csv_get_their_header_and_a_folder_that_can_be_named() {
    let csv = LETTERS.replace("\"in/*.json\"", "in/1.csv").replace("json: { schema", "csv: { header: true, schema");
    let folder = Folder::with(&csv);
    folder.write("in/1.csv", "name,amount\nann,2\nbob,x\n");
    assert_eq!(folder.start_pipeline(&[]).end().code, 0);
    let redrive =
        |arguments: &[&str]| folder.run(&[&["redrive", "pipeline.yaml", "--query", "totals", "--yes"], arguments].concat());
    redrive(&[]).failed(2, &["source transactions reads no single folder: name a folder by --to"]);
    assert_eq!(redrive(&["--to", "again"]).code, 0);
    assert_eq!(folder.lines("again"), [("name,amount".to_owned(), 1), ("bob,x".to_owned(), 1)].into());
}
