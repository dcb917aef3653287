use arrow::array::{Array, AsArray};
use arrow::datatypes::Fields;
use expect_test::{Expect, expect};

use super::read::Found;
use super::*;
use crate::format::json::write::{WriteOptions, write_value};
use crate::plan::spark::types::{parse_ddl, parse_schema};

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn values(data_type: &str) -> Values {
    Values::new(&crate::format::nullable(&parse_ddl(data_type).unwrap()), "UTC".into()).unwrap()
}

/// What each text is read as, or why it is not.
fn check(data_type: &str, texts: &[&str], expected: Expect) {
    let found = texts.iter().map(|text| Found::One(text.as_bytes().to_vec())).collect();
    check_found(data_type, found, expected);
}

fn check_found(data_type: &str, found: Vec<Found>, expected: Expect) {
    let (array, failed) = values(data_type).decode(found).unwrap();
    let shown = (0..array.len()).map(|row| match failed.iter().find(|(at, _)| *at == row) {
        Some((_, error)) => format!("! {}", error.message),
        None => {
            let mut json = Vec::new();
            write_value(array.as_ref(), row, &WriteOptions::default(), &mut json).unwrap();
            String::from_utf8(json).unwrap()
        }
    });
    expected.assert_eq(&shown.collect::<Vec<_>>().join("\n"));
}

#[test]
fn texts_are_read_as_the_declared_type() {
    check(
        "INT",
        &["7", "-7", "07", "7.5", "", "seven", "7,\"v\":8", "99999999999"],
        expect![[r#"
        7
        -7
        ! what is there is no INT
        ! what is there is no INT
        ! what is there is no INT
        ! what is there is no INT
        ! what is there is no INT
        ! what is there is no INT"#]],
    );
    check(
        "DOUBLE",
        &["7", "-0.5", "1e3", "NaN", "Infinity", "x"],
        expect![[r#"
        7.0
        -0.5
        1000.0
        "NaN"
        "Infinity"
        ! what is there is no DOUBLE"#]],
    );
    check(
        "BOOLEAN",
        &["true", "false", "1", "0", "TRUE", "2"],
        expect![[r#"
        true
        false
        true
        false
        ! what is there is no BOOLEAN
        ! what is there is no BOOLEAN"#]],
    );
    check(
        "STRING",
        &["", "a \"b\" \u{1}", "{\"a\":1}"],
        expect![[r#"
        ""
        "a \"b\" \u0001"
        "{\"a\":1}""#]],
    );
    check(
        "DATE",
        &["2026-01-02", "yesterday"],
        expect![[r#"
        "2026-01-02"
        ! what is there is no DATE"#]],
    );
    check(
        "STRUCT<a: INT, b: STRING>",
        &["{\"a\":1,\"b\":\"x\"}", "{}", "null", "[]", "{\"a\":\"x\"}", "{", "{}}"],
        expect![[r#"
        {"a":1,"b":"x"}
        {}
        null
        ! what is there is no STRUCT<a: INT, b: STRING>
        ! what is there is no STRUCT<a: INT, b: STRING>
        ! what is there is no STRUCT<a: INT, b: STRING>
        ! what is there is no STRUCT<a: INT, b: STRING>"#]],
    );
    check(
        "ARRAY<INT>",
        &["[1,2]", "[]", "1", "[\"x\"]"],
        expect![[r#"
        [1,2]
        []
        ! what is there is no ARRAY<INT>
        ! what is there is no ARRAY<INT>"#]],
    );
}

#[test]
fn bytes_are_text_or_binary() {
    let bytes = || vec![Found::One(vec![0xff, 0xfe]), Found::Nothing];
    check_found(
        "STRING",
        bytes(),
        expect![[r#"
        ! what is there is no STRING
        null"#]],
    );
    let (array, failed) = values("BINARY").decode(bytes()).unwrap();
    assert!(failed.is_empty() && array.is_null(1));
    assert_eq!(array.as_binary::<i32>().value(0), [0xff, 0xfe]);
}

#[test]
fn hashes_and_sets_are_read_field_by_field() {
    let text = |text: &str| text.as_bytes().to_vec();
    let fields = |a: Option<&str>, b: Option<&str>| Found::Fields(vec![a.map(text), b.map(text)]);
    let found = vec![fields(Some("1"), Some("x")), fields(None, Some("7")), fields(Some("x"), None), Found::Nothing];
    check_found(
        "STRUCT<a: INT, b: STRING>",
        found,
        expect![[r#"
        {"a":1,"b":"x"}
        {"b":"7"}
        ! what is there is no STRUCT<a: INT, b: STRING>
        null"#]],
    );
    let pairs = vec![Found::Pairs(vec![(text("a\"b"), text("1")), (text("c"), text("2"))]), Found::Nothing];
    check_found(
        "MAP<STRING, INT>",
        pairs,
        expect![[r#"
        {"a\"b":1,"c":2}
        null"#]],
    );
    check_found(
        "ARRAY<INT>",
        vec![Found::Members(vec![text("1"), text("2")]), Found::Members(vec![text("x")])],
        expect![[r#"
        [1,2]
        ! what is there is no ARRAY<INT>"#]],
    );
}

fn mistakes(read: Read, args: &str, returns: &str) -> String {
    let returns = match returns.strip_prefix("TABLE ") {
        Some(columns) => Returns::Rows(Arc::new(parse_schema(columns).unwrap())),
        None => Returns::Value(crate::format::nullable(&parse_ddl(returns).unwrap())),
    };
    let args: Fields = parse_schema(args).unwrap().fields;
    let signature = Signature { name: "f".into(), args, returns };
    let settings = RedisSettings { connection: RedisConnection::new("localhost:6379".parse().unwrap()), read };
    let mistakes = settings.mistakes(&signature).into_iter().map(|mistake| format!("{}: {}", mistake.setting, mistake.message));
    mistakes.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_cannot_be_read_is_refused_before_anything_is_asked() {
    let get = |key: &str| Read::Get(template(key));
    assert_eq!(mistakes(get("a:{id}"), "id INT", "STRING"), "");
    expect!["get: there is no argument \"idd\"; did you mean {id}?"].assert_eq(&mistakes(get("a:{idd}"), "id INT", "STRING"));
    expect!["get: a key cannot have the name of the call in it"].assert_eq(&mistakes(get("{$request_id}"), "id INT", "STRING"));
    expect!["hash: returns columns, which are fields of the hash, or a MAP; for a single STRING name its field too"]
        .assert_eq(&mistakes(Read::Hash(template("a")), "id INT", "STRING"));
    expect!["members: returns an ARRAY, not STRING"].assert_eq(&mistakes(Read::Members(template("a")), "id INT", "STRING"));
    expect!["get: returns one value for each row, not TABLE (…); explode makes rows of an ARRAY or a MAP"].assert_eq(&mistakes(
        get("a"),
        "id INT",
        "TABLE a INT",
    ));
}
