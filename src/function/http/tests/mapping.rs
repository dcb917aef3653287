use super::*;

fn map(settings: AnswerSettings, returns: &str) -> Result<AnswerMap, String> {
    AnswerMap::new(&settings, None, &signature("x STRING", returns).returns, "Europe/Rome".into())
}

fn check(settings: AnswerSettings, returns: &str, body: &str, expected: &str) {
    let answer = match map(settings, returns).unwrap().read(body.as_bytes(), None) {
        Ok(answer) => json(answer),
        Err(error) => error.message,
    };
    assert_eq!(answer, expected, "{returns} of {body}");
}

fn fields(named: &[(&str, &str)]) -> AnswerSettings {
    AnswerSettings::Fields(named.iter().map(|(name, at)| ((*name).to_owned(), (*at).to_owned())).collect())
}

fn at(pointer: &str) -> AnswerSettings {
    AnswerSettings::At(pointer.to_owned())
}

#[test]
fn fields_are_found_by_their_pointers() {
    let risk = fields(&[("band", "/data/bands/1"), ("score", "/data/score")]);
    let returns = "score DOUBLE, band STRING";
    let check = |body, expected| check(risk.clone(), returns, body, expected);
    check(r#"{"data": {"score": 0.25, "bands": ["a", "b"]}}"#, r#"{"score":0.25,"band":"b"}"#);
    check(r#" {"x": [1, {"data": 1}], "data": {"bands": [], "score": null}} "#, r#"{"score":null,"band":null}"#);
    check(r#"{"data": {"score": 1, "bands": [1, {"c":[true]}]}}"#, r#"{"score":1.0,"band":"{\"c\":[true]}"}"#);
    check("{}", r#"{"score":null,"band":null}"#);
    check("[]", r#"{"score":null,"band":null}"#);
    check("7", r#"{"score":null,"band":null}"#);
    check("", r#"{"score":null,"band":null}"#);
    check(r#"{"data": 1, "data": {"score": 2}}"#, r#"{"score":2.0,"band":null}"#);
    check(r#"{"data": {"score": "NaN"}}"#, r#"{"score":"NaN","band":null}"#);
    check(r#"{"data": {"score": "high"}}"#, "the answer's /data/score is no DOUBLE");
    check(r#"{"data": {"score": {}}}"#, "the answer's /data/score is no DOUBLE");
    check(r#"{"data": {"score": 1}"#, "the answer is not JSON: EOF while parsing an object at line 1 column 21");
    check("nope", "the answer is not JSON: expected ident at line 1 column 2");
}

#[test]
fn fields_are_found_under_their_own_names() {
    check(AnswerSettings::ByName, "a INT, b ARRAY<STRING>", r#"{"b": ["x", null], "a": 5, "c": 1}"#, r#"{"a":5,"b":["x",null]}"#);
    check(AnswerSettings::ByName, "STRUCT<a: INT>", r#"{"a": 5}"#, r#"{"a":5}"#);
    check(AnswerSettings::ByName, "`a/b~` INT", r#"{"a/b~": 5}"#, r#"{"a/b~":5}"#);
    check(AnswerSettings::ByName, "_corrupt_record STRING", r#"{"_corrupt_record": 5}"#, r#"{"_corrupt_record":"5"}"#);
}

#[test]
fn a_single_value_is_the_answer_or_at_a_pointer() {
    check(AnswerSettings::ByName, "DOUBLE", "0.5", "0.5");
    check(AnswerSettings::ByName, "STRING", "\"x\"", "\"x\"");
    check(AnswerSettings::ByName, "ARRAY<INT>", "[1, 2]", "[1,2]");
    check(AnswerSettings::ByName, "BIGINT", "null", "null");
    check(at("/a/0"), "STRING", r#"{"a": [{"b": 1.50}]}"#, r#""{\"b\":1.5}""#);
    check(at("/a~1b/m~0n"), "INT", r#"{"a/b": {"m~n": 5}}"#, "5");
    check(at("/"), "INT", r#"{"": 5}"#, "5");
    check(AnswerSettings::Text, "STRING", "<a>\n", "\"<a>\\n\"");
    check(AnswerSettings::Text, "STRING", "", "\"\"");
}

#[test]
fn values_are_read_by_the_declared_type() {
    check(at("/v"), "DECIMAL(20,3)", r#"{"v": 12345678901234567.891}"#, "12345678901234567.891");
    check(at("/v"), "BIGINT", r#"{"v": 9007199254740993}"#, "9007199254740993");
    check(at("/v"), "TIMESTAMP", r#"{"v": "2026-07-01T12:00:00"}"#, "\"2026-07-01T10:00:00.000Z\"");
    check(at("/v"), "DATE", r#"{"v": "2026-07-01"}"#, "\"2026-07-01\"");
    check(at("/v"), "MAP<STRING, INT>", r#"{"v": {"a": 1}}"#, "{\"a\":1}");
    check(at("/v"), "BOOLEAN", r#"{"v": true}"#, "true");
    check(at("/v"), "BOOLEAN", r#"{"v": "true"}"#, "the answer's /v is no BOOLEAN");
    check(at("/v"), "INT", r#"{"v": 1.5}"#, "the answer's /v is no INT");
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |settings, returns| map(settings, returns).err().unwrap_or_default();
    assert_eq!(refused(fields(&[("scor", "/a")]), "score INT"), "returns has no field \"scor\"; did you mean score?");
    assert_eq!(refused(fields(&[("a", "/a")]), "a INT, b INT"), "expected a pointer for field \"b\", which is returned");
    assert_eq!(refused(fields(&[("a", "/a"), ("A", "/b")]), "a INT"), "field \"A\" is there twice");
    assert_eq!(refused(fields(&[("a", "data/a")]), "a INT"), "expected a JSON pointer such as /data/score, found \"data/a\"");
    assert_eq!(refused(at("/a~2"), "INT"), "expected a JSON pointer such as /data/score, found \"/a~2\"");
    assert_eq!(refused(at("/a"), "a INT, b INT"), "expected a map from each field that is returned to its pointer");
    assert_eq!(refused(fields(&[("a", "/a")]), "INT"), "expected one pointer, as a single INT is returned");
    assert_eq!(refused(AnswerSettings::Text, "INT"), "text goes with returns: STRING only");
    assert_eq!(refused(fields(&[("a", "$sttus")]), "a INT"), "the envelope has no \"sttus\"; did you mean status?");
    assert_eq!(refused(fields(&[("a", "$status")]), "a STRING"), "status of the envelope is INT or BIGINT, not STRING");
    assert_eq!(refused(AnswerSettings::Envelope, "headers STRING"), "headers of the envelope is MAP<STRING, STRING>, not STRING");
    assert!(refused(AnswerSettings::Envelope, "STRING").starts_with("envelope goes with several fields only"));
    let rows = AnswerMap::new(&AnswerSettings::ByName, Some("/a"), &signature("x INT", "INT").returns, "UTC".into());
    assert_eq!(rows.unwrap_err(), "rows goes with returns: TABLE (…) only");
}
