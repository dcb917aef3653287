//! Values one by one, both ways: `from_json` and `to_json`. Every expectation is Spark 4.3.0's answer.

use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationMicrosecondArray, Float32Array, Float64Array, Int32Array,
    IntervalYearMonthArray, StringArray, TimestampMicrosecondArray,
};

use super::*;
use crate::format::json::write::{WriteOptions, to_json, write_rows, write_value};

fn read(text: &str, data_type: &DataType, options: &ValueOptions<'_>) -> Result<Value> {
    decode_values(&StringArray::from(vec![None, Some(text)]), data_type, options).map(|array| {
        assert!(array.is_null(0));
        show(&array, 1)
    })
}

#[test]
fn texts_become_structs_arrays_and_maps() {
    let struct_a = record(vec![field("a", DataType::Int32)]);
    let structs = list(struct_a.clone());
    let corrupt = record(vec![field("a", DataType::Int32), field(CORRUPT_RECORD, DataType::Utf8)]);
    for (text, data_type, expected) in [
        ("{\"a\":1}", &struct_a, json!({"a": 1})),
        ("", &struct_a, json!(null)),
        (" \t", &struct_a, json!(null)),
        ("null", &struct_a, json!({"a": null})),
        ("[{\"a\":1}]", &struct_a, json!({"a": null})),
        ("{\"a\":\"x\"}", &corrupt, json!({"a": null, "_corrupt_record": "{\"a\":\"x\"}"})),
        ("", &corrupt, json!(null)),
        ("[1,2]", &list(DataType::Int32), json!([1, 2])),
        ("[1,null]", &list(DataType::Int32), json!([1, null])),
        ("[1] junk", &list(DataType::Int32), json!([1])),
        ("[1,\"x\"]", &list(DataType::Int32), json!(null)),
        ("[1", &list(DataType::Int32), json!(null)),
        ("5", &list(DataType::Int32), json!(null)),
        ("null", &list(DataType::Int32), json!(null)),
        ("", &list(DataType::Int32), json!(null)),
        ("{\"a\":1}", &list(DataType::Int32), json!(null)),
        ("[[1],[\"x\"]]", &list(list(DataType::Int32)), json!(null)),
        ("{\"a\":1}", &structs, json!([{"a": 1}])),
        ("{\"a\":\"x\"}", &structs, json!([{"a": null}])),
        ("[{\"a\":1},{\"a\":\"x\"}]", &structs, json!([{"a": 1}, {"a": null}])),
        ("[{\"a\":1},null]", &structs, json!([{"a": 1}, null])),
        ("[{\"a\":1},5]", &structs, json!(null)),
        ("{\"a\":1}", &map(DataType::Int32), json!({"a": 1})),
        ("{\"a\":null}", &map(DataType::Int32), json!({"a": null})),
        ("{\"a\":\"x\"}", &map(DataType::Int32), json!(null)),
        ("[]", &map(DataType::Int32), json!(null)),
        ("{\"a\":{\"x\":1},\"b\":{\"x\":\"q\"}}", &map(only_x()), json!({"a": {"x": 1}, "b": {"x": null}})),
    ] {
        let found = read(text, data_type, &ValueOptions::default()).expect("permissive");
        assert_eq!(found, expected, "{text} as {data_type}");
    }
}

#[test]
fn failfast_fails_on_what_permissive_forgives() {
    let struct_a = record(vec![field("a", DataType::Int32)]);
    let failing = ValueOptions { on_malformed: OnMalformed::Fail, ..ValueOptions::default() };
    let condition =
        |text: &str, data_type: &DataType| read(text, data_type, &failing).map_err(|e| e.condition().map(str::to_owned));
    let malformed = Err(Some("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION".to_owned()));
    assert_eq!(condition("{\"a\":\"x\"}", &struct_a), malformed);
    assert_eq!(condition("{\"a\":1", &struct_a), malformed);
    assert_eq!(condition("null", &struct_a), malformed);
    assert_eq!(condition("[1,\"x\"]", &list(DataType::Int32)), malformed);
    assert_eq!(condition("{\"a\":\"x\"}", &map(DataType::Int32)), malformed);
    let array = Err(Some("MALFORMED_RECORD_IN_PARSING.CANNOT_PARSE_JSON_ARRAYS_AS_STRUCTS".to_owned()));
    assert_eq!(condition("[]", &struct_a), array);
    assert_eq!(condition("", &struct_a), Ok(json!(null)));
    assert_eq!(condition("{\"a\":1}", &struct_a), Ok(json!({"a": 1})));
}

#[test]
fn what_cannot_be_read_into_is_refused() {
    let refused = |data_type: &DataType, options: &ValueOptions<'_>| {
        read("", data_type, options).expect_err("refused").condition().map(str::to_owned)
    };
    let default = ValueOptions::default();
    assert_eq!(refused(&DataType::Int32, &default).as_deref(), Some("DATATYPE_MISMATCH.INVALID_JSON_SCHEMA"));
    let entry = Fields::from(vec![Field::new("key", DataType::Int32, false), field("value", DataType::Int32)]);
    let by_number = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false);
    assert_eq!(refused(&by_number, &default).as_deref(), Some("DATATYPE_MISMATCH.INVALID_JSON_MAP_KEY_TYPE"));
    let dropping = ValueOptions { on_malformed: OnMalformed::Drop, ..default };
    assert_eq!(refused(&only_x(), &dropping).as_deref(), Some("PARSE_MODE_UNSUPPORTED"));
}

#[test]
fn zones_and_corrupt_columns_are_by_option() {
    let time = record(vec![field("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))]);
    let rome = ValueOptions { time_zone: "Europe/Rome", ..ValueOptions::default() };
    assert_eq!(read("{\"t\":\"2026-01-01\"}", &time, &rome).expect("read"), json!({"t": 1_767_222_000_000_000_i64}));
    let nowhere = ValueOptions { time_zone: "Nowhere/X", ..ValueOptions::default() };
    assert_eq!(read("", &time, &nowhere).expect_err("refused").kind(), ErrorKind::Config);
    let own = record(vec![field("a", DataType::Int32), field("cr", DataType::Utf8)]);
    let named = ValueOptions { corrupt_column: "cr", ..ValueOptions::default() };
    assert_eq!(read("{\"a\":true}", &own, &named).expect("read"), json!({"a": null, "cr": "{\"a\":true}"}));
}

/// The `to_json` of a struct with one field `v`.
fn written(value: ArrayRef, options: &WriteOptions<'_>) -> String {
    let fields = Fields::from(vec![field("v", value.data_type().clone())]);
    let array: ArrayRef = Arc::new(arrow::array::StructArray::new(fields, vec![value], None));
    to_json(&array, options).expect("written").value(0).to_owned()
}

#[test]
fn values_are_written_as_spark_writes_them() {
    let utc = |us| TimestampMicrosecondArray::from(vec![us]).with_timezone("UTC");
    let decimal = |unscaled, scale| Decimal128Array::from(vec![unscaled]).with_precision_and_scale(38, scale).expect("fits");
    let values: Vec<(ArrayRef, &str)> = vec![
        (Arc::new(Int32Array::from(vec![-7])), "-7"),
        (Arc::new(BooleanArray::from(vec![true])), "true"),
        (Arc::new(Float64Array::from(vec![1e10])), "1.0E10"),
        (Arc::new(Float64Array::from(vec![1e-5])), "1.0E-5"),
        (Arc::new(Float64Array::from(vec![f64::NAN])), "\"NaN\""),
        (Arc::new(Float32Array::from(vec![f32::NEG_INFINITY])), "\"-Infinity\""),
        (Arc::new(Float32Array::from(vec![0.1])), "0.1"),
        (Arc::new(decimal(150, 2)), "1.50"),
        (Arc::new(decimal(1, 10)), "1E-10"),
        (Arc::new(decimal(100_000_000_000, 5)), "1000000.00000"),
        (Arc::new(utc(1_767_225_600_123_456)), "\"2026-01-01T00:00:00.123Z\""),
        (Arc::new(utc(-1)), "\"1969-12-31T23:59:59.999Z\""),
        (Arc::new(TimestampMicrosecondArray::from(vec![1_767_225_600_000_000])), "\"2026-01-01T00:00:00.000\""),
        (Arc::new(Date32Array::from(vec![20_454])), "\"2026-01-01\""),
        (Arc::new(Date32Array::from(vec![3_663_382])), "\"+12000-01-01\""),
        (Arc::new(BinaryArray::from(vec![&[1, 2, 3][..]])), "\"AQID\""),
        (Arc::new(BinaryArray::from(vec![&[255][..]])), "\"/w==\""),
        (Arc::new(DurationMicrosecondArray::from(vec![93_784_500_000])), "\"INTERVAL '1 02:03:04.5' DAY TO SECOND\""),
        (Arc::new(IntervalYearMonthArray::from(vec![14])), "\"INTERVAL '1-2' YEAR TO MONTH\""),
        (
            Arc::new(StringArray::from(vec!["q\"\\/\n\t\u{8}\u{c}\r\u{1}\u{7f}\u{2028}é😀"])),
            "\"q\\\"\\\\/\\n\\t\\b\\f\\r\\u0001\u{7f}\u{2028}é😀\"",
        ),
    ];
    for (value, text) in values {
        assert_eq!(written(value, &WriteOptions::default()), format!("{{\"v\":{text}}}"));
    }
    let rome = WriteOptions { time_zone: "Europe/Rome", ..WriteOptions::default() };
    assert_eq!(written(Arc::new(utc(1_767_222_000_123_456)), &rome), "{\"v\":\"2026-01-01T00:00:00.123+01:00\"}");
}

#[test]
fn null_fields_are_left_out_and_other_nulls_stay() {
    let inner = record(vec![field("b", DataType::Int32)]);
    let all = record(vec![field("a", DataType::Int32), field("l", list(inner.clone())), field("m", map(inner))]);
    let text = "{\"l\":[{},null],\"m\":{\"k\":{},\"n\":null}}";
    let array = decode_values(&StringArray::from(vec![Some(text), None]), &all, &ValueOptions::default()).expect("read");
    let short = to_json(&array, &WriteOptions::default()).expect("written");
    assert_eq!(short.value(0), text);
    assert!(short.is_null(1));
    let long = to_json(&array, &WriteOptions { ignore_null_fields: false, ..WriteOptions::default() }).expect("written");
    assert_eq!(long.value(0), "{\"a\":null,\"l\":[{\"b\":null},null],\"m\":{\"k\":{\"b\":null},\"n\":null}}");
}

#[test]
fn keys_of_maps_are_strings() {
    let keyed = |keys: ArrayRef| -> ArrayRef {
        let value: ArrayRef = Arc::new(Int32Array::from(vec![2]));
        let entry = Fields::from(vec![Field::new("key", keys.data_type().clone(), false), field("value", DataType::Int32)]);
        let entries = arrow::array::StructArray::new(entry.clone(), vec![keys, value], None);
        let field = Arc::new(Field::new("entries", DataType::Struct(entry), false));
        Arc::new(arrow::array::MapArray::new(field, arrow::buffer::OffsetBuffer::from_lengths([1]), entries, None, false))
    };
    let keys: Vec<(ArrayRef, &str)> = vec![
        (Arc::new(StringArray::from(vec!["a\""])), "a\\\""),
        (Arc::new(Int32Array::from(vec![1])), "1"),
        (Arc::new(Float64Array::from(vec![1.5])), "1.5"),
        (Arc::new(BooleanArray::from(vec![true])), "true"),
        (Arc::new(Date32Array::from(vec![20_454])), "20454"),
        (Arc::new(TimestampMicrosecondArray::from(vec![1_767_225_600_000_000]).with_timezone("UTC")), "1767225600000000"),
    ];
    for (key, text) in keys {
        assert_eq!(to_json(&keyed(key), &WriteOptions::default()).expect("written").value(0), format!("{{\"{text}\":2}}"));
    }
}

#[test]
fn rows_are_lines_and_values_may_be_null() {
    let a: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let b: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
    let batch = RecordBatch::try_from_iter_with_nullable([("a", a, true), ("b \"q\"", b, true)]).expect("rows");
    let mut out = b"before\n".to_vec();
    write_rows(&batch, "UTC", &mut out).expect("written");
    assert_eq!(String::from_utf8(out).expect("text"), "before\n{\"a\":1,\"b \\\"q\\\"\":\"x\"}\n{}\n");
    let mut out = Vec::new();
    write_value(batch.column(1), 1, &WriteOptions::default(), &mut out).expect("written");
    write_value(batch.column(1), 0, &WriteOptions::default(), &mut out).expect("written");
    assert_eq!(out, b"null\"x\"");
    let strings: ArrayRef = Arc::clone(batch.column(1));
    let error = to_json(&strings, &WriteOptions::default()).expect_err("refused");
    assert_eq!(error.condition(), Some("DATATYPE_MISMATCH.INVALID_JSON_SCHEMA"));
}
