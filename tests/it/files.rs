//! Files that are decoded in many parts at once: what comes out is what stands in them, in order.

use std::fmt::Write;
use std::fs;

use super::binary::Folder;

/// Longer than a few parts of a file.
const FILE_BYTES: usize = 7 << 20;

fn pipeline(sql: &str) -> Folder {
    Folder::with(&format!(
        "version: 1\nname: files\ncheckpoint: checkpoint\nsources:\n  t:\n    from: {{ file: {{ path: in }} }}\n    \
         format: {{ json: {{ schema: \"n BIGINT, keep INT, s STRING\" }} }}\nqueries:\n  q:\n    sql: {sql:?}\n    \
         trigger: available_now\n    to: {{ file: {{ path: out }}, format: json }}\n"
    ))
}

#[test]
fn a_large_file_comes_out_once_and_in_order_whatever_its_line_ends() {
    let folder = pipeline("SELECT n, _position AS p FROM t WHERE n >= 0");
    let (mut text, mut expected, mut n) = (String::new(), String::new(), 0u64);
    while text.len() < FILE_BYTES {
        let position = text.len();
        match n % 11 {
            3 => text.push_str("{\"n\": 5, \"s\":"),
            4 => {}
            _ => {
                let s = "x".repeat((n * n % 301) as usize);
                write!(text, "{{\"n\": {n}, \"keep\": 1, \"s\": \"{s}\"}}").unwrap();
                writeln!(expected, "{{\"n\":{n},\"p\":{position}}}").unwrap();
            }
        }
        text.push_str(["\n", "\r\n", "\r", "\n"][n as usize % 4]);
        n += 1;
    }
    folder.write("in/a.json", &text);
    let ended = folder.run(&["run", "pipeline.yaml"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let parts = fs::read_dir(folder.path("out")).unwrap().map(|entry| entry.unwrap().path());
    let parts: Vec<_> = parts.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    assert_eq!(parts.len(), 1);
    assert!(fs::read_to_string(&parts[0]).unwrap() == expected, "rows are missing, repeated or out of order");
}

#[test]
fn the_row_that_fails_a_batch_is_named_by_its_place_in_the_file() {
    let folder = pipeline("SELECT 10 / n AS q FROM t WHERE keep = 1");
    let (mut text, mut row, mut failing) = (String::new(), 0, None);
    while text.len() < FILE_BYTES {
        row += 1;
        let fails = failing.is_none() && text.len() > FILE_BYTES / 2;
        if fails {
            failing = Some((row, text.len()));
        }
        // Rows that the filter drops do not fail, and are counted.
        let (n, keep) = if fails { (0, 1) } else { (row % 3, i32::from(row % 3 != 0)) };
        writeln!(text, "{{\"n\": {n}, \"keep\": {keep}, \"s\": \"some text to make the line a little longer\"}}").unwrap();
    }
    folder.write("in/a.json", &text);
    let ended = folder.run(&["run", "pipeline.yaml"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let (row, position) = failing.unwrap();
    for part in [format!("batch 0 failed at row {row} of source"), format!("in/a.json:{position})")] {
        assert!(ended.stderr.contains(&part), "no {part:?} in:\n{}", ended.stderr);
    }
}

#[test]
fn files_that_two_queries_read_are_not_cleaned_up() {
    let file = |clean: &str, second: &str| {
        Folder::with(&format!(
            "version: 1\nname: files\ncheckpoint: checkpoint\nsources:\n  t:\n    from: {{ file: {{ path: in, clean_source: {clean} }} }}\n  \
             other:\n    from: {{ file: {{ path: in }} }}\nviews:\n  lines: {{ sql: SELECT value FROM t }}\nqueries:\n  a:\n    \
             sql: SELECT value FROM t\n    to: {{ discard: {{}} }}\n  b:\n    sql: SELECT value FROM {second}\n    to: {{ discard: {{}} }}\n"
        ))
    };
    for (clean, second, is_right) in [("delete", "lines", false), ("delete", "other", true), ("off", "t", true)] {
        let folder = file(clean, second);
        fs::create_dir(folder.path("in")).unwrap();
        let ended = folder.run(&["check", "pipeline.yaml"]);
        if is_right {
            assert_eq!(ended.code, 0, "{clean}, {second}: {ended:?}");
        } else {
            ended.failed(2, &["source \"t\" has clean_source and is read by the queries a and b"]);
        }
    }
}
