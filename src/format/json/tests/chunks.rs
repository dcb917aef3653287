//! Chunks of lines: where lines end, what is malformed whatever it says, and what becomes of it.

use super::*;
use crate::format::{Malformed, MetadataColumn};

fn two_columns() -> SchemaRef {
    with_corrupt(&Schema::new(vec![field("a", DataType::Int32), field("b", DataType::Utf8)]))
}

fn malformed(position: u64, field: Option<&str>, reason: &str, raw: &[u8]) -> Malformed {
    Malformed { origin: "file.json".into(), position, field: field.map(Arc::from), reason: reason.into(), raw: raw.to_vec() }
}

#[test]
fn lines_end_where_they_end() {
    for (text, expected) in [
        ("", json!([])),
        ("\n", json!([{}])),
        ("{\"a\":1}", json!([{"a": 1}])),
        ("{\"a\":1}\r\n\n{\"a\":2}\n", json!([{"a": 1}, {}, {"a": 2}])),
        ("\u{feff}{\"a\":1}\n", json!([{"a": 1}])),
        ("{\"a\":1}\n\u{feff}{\"a\":2}\n", json!([{"a": 1}, {"_corrupt_record": "\u{feff}{\"a\":2}"}])),
    ] {
        let decoded = decode(request(two_columns()), &chunk(text)).expect("decodes");
        assert_eq!(Value::from(rows(&decoded)), expected, "{text:?}");
        assert_eq!(decoded.lines_read, expected.as_array().expect("rows").len() as u64);
    }
}

#[test]
fn a_byte_order_mark_is_left_out_of_files_only() {
    let mut received = chunk("\u{feff}{\"a\":1}\n");
    received.received_at_us = Some(5);
    assert_eq!(decode(request(two_columns()), &received).expect("decodes").lines_malformed, 1);
}

#[test]
fn malformed_lines_are_told_with_field_reason_and_bytes() {
    let text = b"{\"a\":\"x\",\"b\":\"kept\"}\n{\"a\":1}\n{\"a\":\n{\"b\":\"\xff\",\"a\":3}\n[]\n{\"z\":[[1]]}";
    let mut one = request(two_columns());
    one.limits.json_depth_max = 2;
    let decoded = decode(one, &chunk(*text)).expect("decodes");
    assert_eq!(
        decoded.malformed,
        [
            malformed(0, Some("a"), "expected INT", b"{\"a\":\"x\",\"b\":\"kept\"}"),
            malformed(29, None, "not valid JSON", b"{\"a\":"),
            malformed(35, None, "invalid UTF-8", b"{\"b\":\"\xff\",\"a\":3}"),
            malformed(51, None, "not a JSON object", b"[]"),
            malformed(54, None, "nested too deep", b"{\"z\":[[1]]}"),
        ]
    );
    assert_eq!(
        rows(&decoded),
        [
            json!({"b": "kept", "_corrupt_record": "{\"a\":\"x\",\"b\":\"kept\"}"}),
            json!({"a": 1}),
            json!({"_corrupt_record": "{\"a\":"}),
            json!({"a": 3, "b": "\u{fffd}", "_corrupt_record": "{\"b\":\"\u{fffd}\",\"a\":3}"}),
            json!({"_corrupt_record": "[]"}),
            json!({"_corrupt_record": "{\"z\":[[1]]}"}),
        ]
    );
    assert_eq!((decoded.lines_read, decoded.lines_malformed, decoded.lines_dropped), (6, 5, 0));
}

#[test]
fn malformed_lines_can_be_dropped_among_good_ones() {
    let mut one = request(two_columns());
    one.on_malformed = OnMalformed::Drop;
    one.metadata = vec![MetadataColumn::Position];
    let decoded = decode(one, &chunk(*b"{\"a\":1}\n{\"a\":\"x\",\"b\":\"y\"}\n{\"b\":\n\xff\n{\"b\":\"z\"}\n")).expect("decodes");
    assert_eq!(rows(&decoded), [json!({"a": 1, "_position": 0}), json!({"b": "z", "_position": 34})]);
    assert_eq!((decoded.lines_read, decoded.lines_malformed, decoded.lines_dropped), (5, 3, 3));
    assert_eq!(decoded.malformed.len(), 3);
}

#[test]
fn a_query_can_fail_on_a_malformed_line_without_showing_its_values() {
    let mut one = request(two_columns());
    one.on_malformed = OnMalformed::Fail;
    let error = decode(one.clone(), &chunk("{\"a\":1}\n{\"a\":\"secret\"}\n")).expect_err("fails");
    assert_eq!(error.condition(), Some("MALFORMED_RECORD_IN_PARSING"));
    assert_eq!(error.message(), "malformed line at byte 8 of file.json, field \"a\": expected INT");
    assert!(decode(one, &chunk("{\"a\":1}\n\n")).is_ok());
}

#[test]
fn a_decoder_that_failed_starts_anew() {
    let mut one = request(two_columns());
    one.on_malformed = OnMalformed::Fail;
    let mut decoder = crate::format::decoder(&FormatOptions::Json, one).expect("a decoder");
    decoder.push(&chunk("{\"a\":1}\n{\"a\":\n")).expect_err("fails");
    decoder.push(&chunk("{\"a\":2}\n")).expect("decodes");
    let decoded = decoder.finish().expect("decodes");
    assert_eq!((rows(&decoded), decoded.lines_read), (vec![json!({"a": 2})], 1));
}

#[test]
fn broken_off_and_overlong_lines_are_malformed_even_if_they_read_well() {
    for (end, reason) in [(LineEnd::Truncated, "truncated"), (LineEnd::TooLong, "too long")] {
        let mut last = chunk("{\"a\":1}\n{\"a\":2}");
        last.end = end;
        let decoded = decode(request(two_columns()), &last).expect("decodes");
        assert_eq!(rows(&decoded), [json!({"a": 1}), json!({"_corrupt_record": "{\"a\":2}"})]);
        assert_eq!(decoded.malformed, [malformed(8, None, reason, b"{\"a\":2}")]);
        let mut terminated = chunk("{\"a\":1}\n");
        terminated.end = end;
        assert_eq!(decode(request(two_columns()), &terminated).expect("decodes").lines_malformed, 0);
    }
    let mut one = request(two_columns());
    one.limits.line_bytes_max = 8;
    let decoded = decode(one, &chunk("{\"a\":1}\n{\"a\":22}\n{\"a\":333}\n{\"b\":\"é\"}\n")).expect("decodes");
    assert_eq!(
        decoded.malformed,
        [malformed(17, None, "too long", b"{\"a\":333"), malformed(27, None, "too long", b"{\"b\":\"\xc3\xa9")]
    );
    assert_eq!(rows(&decoded)[1], json!({"a": 22}));
}

#[test]
fn metadata_comes_after_the_columns() {
    let mut one = request(two_columns());
    one.projection = vec![1];
    one.metadata = vec![MetadataColumn::File, MetadataColumn::Position, MetadataColumn::ReceivedAt, MetadataColumn::Source];
    let mut decoder = crate::format::decoder(&FormatOptions::Json, one).expect("a decoder");
    let mut first = chunk("{\"b\":\"x\"}\n\n");
    first.position = 100;
    let mut second = chunk("\n");
    second.received_at_us = Some(7);
    decoder.push(&first).expect("decodes");
    decoder.push(&second).expect("decodes");
    let decoded = decoder.finish().expect("decodes");
    assert_eq!(
        rows(&decoded),
        [
            json!({"b": "x", "_file": "file.json", "_position": 100, "_source": "s"}),
            json!({"_file": "file.json", "_position": 110, "_source": "s"}),
            json!({"_position": 0, "_received_at": 7, "_source": "s"}),
        ]
    );
}

#[test]
fn batches_are_bounded_and_there_is_always_one() {
    let mut decoder = crate::format::decoder(&FormatOptions::Json, request(two_columns())).expect("a decoder");
    let lines: String = (0..20_000).map(|n| format!("{{\"a\":{n}}}\n")).collect();
    decoder.push(&chunk(lines)).expect("decodes");
    let decoded = decoder.finish().expect("decodes");
    assert!(decoded.rows.iter().all(|batch| batch.num_rows() <= 8192));
    let numbers: Vec<Value> = rows(&decoded).iter().map(|row| row["a"].clone()).collect();
    assert_eq!(numbers, (0..20_000).map(Value::from).collect::<Vec<_>>());
    let nothing = decoder.finish().expect("decodes");
    assert_eq!((nothing.rows.len(), nothing.rows[0].num_rows(), nothing.lines_read), (1, 0, 0));
    assert_eq!(nothing.rows[0].schema().fields().len(), 3);
}

#[test]
fn hostile_lines_neither_overflow_the_stack_nor_touch_their_neighbours() {
    let schema = Arc::new(Schema::new(vec![
        field("a", DataType::Int32),
        field("b", DataType::Utf8),
        field("ll", list(list(DataType::Int32))),
    ]));
    let mut one = request(schema);
    one.limits.line_bytes_max = 1 << 27;
    one.limits.json_depth_max = 1000;
    let hostile = [
        "[".repeat(50_000),
        "{\"b\":".repeat(50_000),
        format!("{{\"ll\":{}", "[".repeat(50_000)),
        format!("{{\"z\":{}", "[{\"a\":".repeat(50_000)),
        format!("{{\"b\":{}", "[".repeat(50_000)),
        format!("{{\"d\":{}}}", "9".repeat(50_000)),
        format!("{{\"b\":\"{}", "\\u12".repeat(50_000)),
        format!("{{\"b\":\"{}", "x".repeat(5 << 20)),
        "\"".repeat(50_000),
        "{\"a\":1,".repeat(50_000),
    ];
    for line in hostile {
        let text = format!("{{\"a\":1}}\n{line}\n{{\"a\":2}}\n");
        let decoded = decode(one.clone(), &chunk(text)).expect("decodes");
        assert_eq!(rows(&decoded), [json!({"a": 1}), json!({}), json!({"a": 2})]);
        assert_eq!(decoded.lines_malformed, 1);
    }
}

#[test]
fn numbers_of_more_than_a_thousand_digits_are_malformed_wherever_they_stand() {
    let schema = Arc::new(Schema::new(vec![field("d", DataType::Float64), field("b", DataType::Utf8)]));
    for (text, right) in [
        (format!("{{\"d\":{}}}", "1".repeat(1000)), true),
        (format!("{{\"d\":{}}}", "1".repeat(1001)), false),
        (format!("{{\"d\":0.{}}}", "1".repeat(999)), true),
        (format!("{{\"d\":0.{}}}", "1".repeat(1000)), false),
        (format!("{{\"z\":{}}}", "1".repeat(1001)), false),
        (format!("{{\"b\":{}}}", "1".repeat(1001)), false),
    ] {
        let decoded = decode(request(schema.clone()), &chunk(text)).expect("decodes");
        assert_eq!(decoded.lines_malformed == 0, right);
    }
}

#[test]
fn only_a_string_can_hold_malformed_lines() {
    let schema = Arc::new(Schema::new(vec![field(CORRUPT_RECORD, DataType::Int32)]));
    let error = decode(request(schema), &chunk("")).expect_err("refused");
    assert_eq!(error.condition(), Some("INVALID_CORRUPT_RECORD_TYPE"));
    let schema = Arc::new(Schema::new(vec![field("u", DataType::UInt64)]));
    assert_eq!(decode(request(schema), &chunk("")).expect_err("refused").kind(), ErrorKind::Config);
}
