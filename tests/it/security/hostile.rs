//! Text that clients and rows bring: it cannot forge a line of a log, move a terminal's cursor, or fill a disk.

use super::super::binary::Folder;

/// Moves the cursor, forges a line, turns the direction of writing, and does not end.
fn hostile() -> String {
    format!("\u{1b}[2J\u{1b}]0;owned\u{7}\r\n2026-01-01 ERROR forged\u{202e}{}", "x".repeat(100_000))
}

#[track_caller]
fn is_harmless(text: &str) {
    for line in text.lines() {
        let shown: String = line.chars().take(500).collect();
        let bad = line.chars().find(|c| c.is_control() || *c == '\u{202e}');
        assert!(bad.is_none(), "{bad:?} in {shown:?}");
        assert!(!line.starts_with("2026-01-01 ERROR forged"), "{shown:?}");
    }
}

/// No more of it than 256 bytes.
#[track_caller]
fn is_short(text: &str) {
    let at = text.find(&"x".repeat(257));
    assert!(at.is_none(), "too much of it: {:?}", text.chars().take(1000).collect::<String>());
}

#[test]
fn rows_and_files_cannot_speak_through_errors_and_logs() {
    for (sql, sink) in [
        ("SELECT CAST(v AS INT) AS n FROM t", "file: { path: out }"),
        ("SELECT to_date(v) AS n FROM t", "file: { path: out }"),
        ("SELECT v AS n, raise_error(v) AS e FROM t", "file: { path: out }"),
        ("SELECT v FROM t", "metric: { name: m, labels: [v], value: w }"),
    ] {
        let folder = Folder::with(&format!(
            "name: hostile\ncheckpoint: checkpoint\nsources:\n  t:\n    from: {{ file: {{ path: in }} }}\n    \
             format: {{ json: {{ schema: \"v STRING, w BIGINT\" }} }}\nqueries:\n  q:\n    sql: {sql:?}\n    trigger: available_now\n    \
             to: {{ {sink}, format: json }}\n"
        ));
        let row = serde_json::json!({ "v": hostile(), "w": 1 });
        folder.write("in/a.json", format!("{row}\n{{\"v\": \"{}\n", hostile().replace('\n', "")));
        for format in ["text", "json"] {
            let ended = folder.start_pipeline(&["--log-level", "trace", "--log-format", format]).end();
            assert!(!ended.stderr.is_empty());
            is_harmless(&ended.stderr);
            is_short(&ended.stderr);
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_shown_escaped() {
    let quoted = serde_json::json!(hostile());
    for text in
        [hostile(), format!("name: {quoted}\n"), format!("{{ {quoted}: 1 }}\n"), format!("sources: {{ {quoted}: {{}} }}\n")]
    {
        let ended = Folder::with(&text).run(&["check", "pipeline.yaml"]);
        assert_eq!(ended.code, 2, "{ended:?}");
        is_harmless(&ended.stderr);
    }
}
