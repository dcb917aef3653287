//! Intervals of every range at every place where values leave the engine or come back: as Spark has them, or refused by name.

use super::binary::Folder;

/// One row of each kind of interval.
const COLUMNS: &str = "CAST(n AS INTERVAL HOUR) AS h, CAST(n AS INTERVAL YEAR) AS y, CAST(n AS INTERVAL DAY) AS d, \
     CAST(CAST(n AS INTERVAL MINUTE) AS INTERVAL DAY TO MINUTE) AS dm, INTERVAL '1-2' YEAR TO MONTH AS ym, \
     ARRAY(CAST(n AS INTERVAL SECOND)) AS s";

fn pipeline(rest: &str) -> Folder {
    let folder = Folder::with(&format!(
        "version: 1\nname: intervals\ncheckpoint: checkpoint\nsources:\n  t:\n    from: {{ file: {{ path: in, max_files_per_trigger: 1 }} }}\n    \
         format: {{ json: {{ schema: \"n INT\" }} }}\n{rest}"
    ));
    folder.write("in/1.json", "{\"n\":3}\n{\"n\":null}\n");
    folder
}

fn run(folder: &Folder) -> String {
    let ended = folder.run(&["run", "pipeline.yaml"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.stdout
}

fn query(sql: &str, to: &str) -> String {
    format!("queries:\n  q:\n    sql: {sql:?}\n    trigger: available_now\n    to: {to}\n")
}

/// All lines of the files in a folder.
fn lines(folder: &Folder, name: &str) -> Vec<String> {
    folder.lines(name).into_keys().collect()
}

const AS_JSON: &str = r#"{"h":"INTERVAL '03' HOUR","y":"INTERVAL '3' YEAR","d":"INTERVAL '3' DAY","dm":"INTERVAL '0 00:03' DAY TO MINUTE","ym":"INTERVAL '1-2' YEAR TO MONTH","s":["INTERVAL '03' SECOND"]}"#;

#[test]
fn text_has_them_as_spark_writes_them() {
    let folder = pipeline(&query(&format!("SELECT {COLUMNS} FROM t WHERE n = 3"), "{ file: { path: out }, format: json }"));
    run(&folder);
    assert_eq!(lines(&folder, "out"), [AS_JSON]);
    let columns = COLUMNS.split(", ARRAY").next().unwrap();
    let folder = pipeline(&query(&format!("SELECT {columns} FROM t"), "{ file: { path: out }, format: csv }"));
    run(&folder);
    let expected =
        "INTERVAL '03' HOUR,INTERVAL '3' YEAR,INTERVAL '3' DAY,INTERVAL '0 00:03' DAY TO MINUTE,INTERVAL '1-2' YEAR TO MONTH";
    assert_eq!(lines(&folder, "out"), [",,,,INTERVAL '1-2' YEAR TO MONTH", expected]);
    let folder = pipeline(&query(&format!("SELECT {COLUMNS} FROM t"), "{ console: { truncate: false } }"));
    let shown = run(&folder);
    for text in ["|INTERVAL '03' HOUR|INTERVAL '3' YEAR|INTERVAL '3' DAY|", "[INTERVAL '03' SECOND]", "|NULL "] {
        assert!(shown.contains(text), "no {text:?} in:\n{shown}");
    }
}

#[test]
fn parquet_holds_numbers_and_what_they_are() {
    let folder = pipeline(&query(&format!("SELECT {COLUMNS}, n FROM t WHERE n = 3"), "{ file: { path: out }, format: parquet }"));
    run(&folder);
    folder.write("first/1.json", "{\"n\":3}\n");
    folder.write(
        "pipeline.yaml",
        "version: 1\nname: reader\ncheckpoint: other\nsources:\n  one:\n    from: { file: { path: first } }\n    \
         format: { json: { schema: \"n INT\" } }\ntables:\n  kept: { from: { file: { path: out } }, format: parquet }\nqueries:\n  q:\n    \
         sql: SELECT h, y, d, dm, ym, s, typeof(h) AS of FROM one JOIN kept USING (n)\n    trigger: available_now\n    \
         to: { file: { path: back }, format: json }\n",
    );
    run(&folder);
    assert_eq!(lines(&folder, "back"), [AS_JSON.replace("]}", "],\"of\":\"interval hour\"}")]);
}

#[test]
fn state_keeps_them_over_batches_and_restarts() {
    let sql = "SELECT n % 2 AS k, max(CAST(n AS INTERVAL HOUR)) AS h, sum(CAST(n AS INTERVAL YEAR)) AS y, \
               collect_list(CAST(n AS INTERVAL MINUTE)) AS m, CAST(n % 2 AS INTERVAL HOUR) AS g \
               FROM t WHERE n IS NOT NULL GROUP BY n % 2, CAST(n % 2 AS INTERVAL HOUR)";
    let rest = query(sql, "{ console: {}, format: json }").replace("trigger", "output_mode: update\n    trigger");
    let folder = pipeline(&rest);
    let first = run(&folder);
    folder.write("in/2.json", "{\"n\":5}\n");
    let second = run(&folder);
    for (shown, expected) in [
        (first, r#""h":"INTERVAL '03' HOUR","y":"INTERVAL '3' YEAR","m":["INTERVAL '03' MINUTE"],"g":"INTERVAL '01' HOUR"}"#),
        (
            second,
            r#""h":"INTERVAL '05' HOUR","y":"INTERVAL '8' YEAR","m":["INTERVAL '03' MINUTE","INTERVAL '05' MINUTE"],"g":"INTERVAL '01' HOUR"}"#,
        ),
    ] {
        assert!(shown.contains(expected), "no {expected} in:\n{shown}");
    }
}

#[test]
fn a_number_they_are_not() {
    let sql = "SELECT CAST(n AS INTERVAL HOUR) AS h, 'x' AS k FROM t";
    for (to, told) in [
        ("{ metric: { name: hours, labels: [k], value: h } }", "must be a number, not INTERVAL HOUR"),
        ("{ metric: { name: hours, labels: [h], value: h } }", "not INTERVAL HOUR"),
        ("{ redis: { connection: store, key: \"{k}\", operation: atomic_add, amount: h } }", "is no number but INTERVAL HOUR"),
        ("{ kafka: { bootstrap_servers: \"127.0.0.1:1\", topic: t, key: h }, format: json }", "not INTERVAL HOUR"),
        ("{ kafka: { bootstrap_servers: \"127.0.0.1:1\", topic: t } }", "Required attribute 'value' not found"),
    ] {
        let store = "connections:\n  store: { redis: { address: \"127.0.0.1:1\" } }\n";
        let folder = pipeline(&format!("{}{}", query(sql, to), if to.contains("store") { store } else { "" }));
        let ended = folder.run(&["check", "pipeline.yaml"]);
        assert!(ended.code != 0 && ended.stderr.contains(told), "{to}: {ended:?}");
    }
    let of_lines = Folder::with(
        "version: 1\nname: intervals\ncheckpoint: checkpoint\nsources:\n  t:\n    from: { file: { path: in } }\n    \
         format: { json: { schema: \"h INTERVAL HOUR\" } }\nqueries:\n  q:\n    sql: SELECT h FROM t\n    trigger: available_now\n    to: { discard: {} }\n",
    );
    of_lines.write("in/1.json", "{}\n");
    let ended = of_lines.run(&["run", "pipeline.yaml"]);
    assert!(ended.code != 0 && ended.stderr.contains("INTERVAL HOUR"), "{ended:?}");
}
