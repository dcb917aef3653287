use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions as Display};
use bytes::Bytes;

use super::*;
use crate::format::json::CORRUPT_RECORD;
use crate::format::{DecodeRequest, FormatOptions, LineLimits, OnMalformed, decoder, encode, encode_header};
use crate::source::{LineChunk, LineEnd};

/// Decodes `text` and shows each row as `a|b|c`, malformed ones with a `!` behind.
fn decoded(options: CsvOptions, columns: &[(&str, DataType)], text: &str) -> Vec<String> {
    let mut fields: Vec<Field> = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect();
    fields.push(Field::new(CORRUPT_RECORD, DataType::Utf8, true));
    let request = DecodeRequest {
        projection: (0..fields.len()).collect(),
        schema: Arc::new(Schema::new(fields)),
        metadata: Vec::new(),
        filter: Vec::new(),
        on_malformed: OnMalformed::Permissive,
        keep_malformed: crate::format::KeepMalformed::None,
        source: "s".into(),
        time_zone: "UTC".into(),
        limits: LineLimits::default(),
    };
    let mut decoder = decoder(&FormatOptions::Csv(options), request).expect("a decoder");
    let bytes = Bytes::from(text.to_owned());
    let chunk =
        LineChunk { bytes, origin: "f.csv".into(), position: 0, received_at_us: None, records: None, end: LineEnd::Clean };
    decoder.push(&chunk).expect("decodes");
    let rows = decoder.finish().expect("decodes").rows;
    let batch = &rows[0];
    let style = Display::new().with_null("NULL");
    let shown = |at: usize, row| ArrayFormatter::try_new(batch.column(at), &style).expect("shows").value(row).to_string();
    let show = |row| {
        let values: Vec<String> = (0..columns.len()).map(|at| shown(at, row)).collect();
        let corrupt = if batch.column(columns.len()).is_null(row) { "" } else { "!" };
        values.join("|") + corrupt
    };
    (0..batch.num_rows()).map(show).collect()
}

fn three() -> [(&'static str, DataType); 3] {
    [("a", DataType::Int32), ("b", DataType::Utf8), ("d", DataType::Float64)]
}

fn check(options: CsvOptions, columns: &[(&str, DataType)], cases: &[(&str, &str)]) {
    let text: String = cases.iter().map(|(line, _)| format!("{line}\n")).collect();
    let rows = decoded(options, columns, &text);
    let expected: Vec<(&str, String)> = cases.iter().map(|(line, row)| (*line, (*row).to_owned())).collect();
    let found: Vec<(&str, String)> = cases.iter().map(|(line, _)| *line).zip(rows).collect();
    assert_eq!(found, expected);
}

// Every expectation here is Spark 4.3.0's answer, `from_csv` or the CSV file source.

#[test]
fn values_are_taken_apart_as_spark_does() {
    check(
        CsvOptions::default(),
        &three(),
        &[
            ("1,x,1.5", "1|x|1.5"),
            ("1,x", "1|x|NULL!"),
            ("1", "1|NULL|NULL!"),
            ("1,x,1.5,9", "1|x|1.5!"),
            ("", "NULL|NULL|NULL"),
            ("  ", "NULL|NULL|NULL!"),
            (",,", "NULL|NULL|NULL"),
            ("1,\"\",2", "1|NULL|2.0"),
            ("\"1\",x,2", "1|x|2.0"),
            ("1, x ,2", "1| x |2.0"),
            (" 1 ,x,2", "NULL|x|2.0!"),
            ("1,\"x,y\",2", "1|x,y|2.0"),
            ("1,\"x\"\"y\",2", "1|\"x\"\"y\"|2.0"),
            ("1,\"x\\\"y\",2", "1|x\"y|2.0"),
            ("1,\"x\\\\y\",2", "1|x\\y|2.0"),
            ("1,x\\,y,2", "1|x\\|NULL!"),
            ("1,x\"y,2", "1|x\"y|2.0"),
            ("1,\"x\"y,2", "1|\"x\"y|2.0"),
            ("1,\"x,2", "1|x,2|NULL!"),
            ("1,\"x\"  ,2", "1|x|2.0"),
            ("1,  \"x\",2", "1|  \"x\"|2.0"),
            ("bad,x,2", "NULL|x|2.0!"),
            ("1,x,bad", "1|x|NULL!"),
            ("1.0,x,2", "NULL|x|2.0!"),
            ("+1,null,2", "1|null|2.0"),
            ("1,x,NaN", "1|x|NaN"),
            ("1,x,-Inf", "1|x|-inf"),
            ("1,x,inf", "1|x|NULL!"),
            ("1,x,1e3", "1|x|1000.0"),
            ("1,x,1d", "1|x|1.0"),
            ("1,x, 1.5", "1|x|1.5"),
            ("1,x,1\r", "1|x|1.0"),
            ("1;x;2", "NULL|NULL|NULL!"),
            ("1,x,\"\",\"z\"", "1|x|NULL!"),
            ("1,x,1_0", "1|x|NULL!"),
            ("1,x,.5", "1|x|0.5"),
            ("1,x,5.", "1|x|5.0"),
            ("1,\"a\\nb\",2", "1|a\\nb|2.0"),
            ("1,\\,2", "1|\\|2.0"),
            ("01,x,+1", "1|x|1.0"),
            ("1,x,\"1,5\"", "1|x|NULL!"),
        ],
    );
}

#[test]
fn settings_change_the_signs() {
    let other = CsvOptions { separator: b';', quote: b'\'', ..CsvOptions::default() };
    check(other, &three(), &[("1;x;2", "1|x|2.0"), ("1;'x;y';2", "1|x;y|2.0")]);
    let null = CsvOptions { null_value: "N".into(), ..CsvOptions::default() };
    check(
        null,
        &three(),
        &[("1,N,2", "1|NULL|2.0"), ("N,x,N", "NULL|x|NULL"), ("1,\"N\",2", "1|NULL|2.0"), ("1,,2", "1|NULL|2.0")],
    );
    let doubled = CsvOptions { escape: b'"', ..CsvOptions::default() };
    check(doubled, &three(), &[("1,\"x\"\"y\",2", "1|x\"y|2.0")]);
    let header = CsvOptions { header: true, ..CsvOptions::default() };
    assert_eq!(decoded(header.clone(), &three(), "a,b,d\n1,x,2\n"), ["1|x|2.0"]);
    assert_eq!(decoded(header.clone(), &three(), "\u{feff}a,b,d\n1,x,2\n"), ["1|x|2.0"]);
    assert_eq!(decoded(header, &three(), "a,b,d"), [""; 0]);
    assert_eq!(decoded(CsvOptions::default(), &three(), "\u{feff}1,x,2\n"), ["1|x|2.0"]);
}

#[test]
fn every_type_reads_as_in_spark() {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let ntz = DataType::Timestamp(TimeUnit::Microsecond, None);
    for (data_type, cases) in [
        (
            utc,
            &[("2026-01-01T01:00:00+01:00,", "2026-01-01T00:00:00Z"), ("2026-1-2,", "2026-01-02T00:00:00Z"), ("17,", "NULL!")][..],
        ),
        (ntz, &[("2026-01-01,", "2026-01-01T00:00:00"), ("2026-01-01T00:00:00Z,", "NULL!")]),
        (
            DataType::Date32,
            &[("2026-1-2,", "2026-01-02"), ("20260101,", "NULL!"), ("5,", "NULL!"), ("2026-01-01T00:00:00,", "2026-01-01")],
        ),
        (DataType::Boolean, &[("TRUE,", "true"), ("false,", "false"), ("t,", "NULL!"), ("1,", "NULL!")]),
        (
            DataType::Decimal128(10, 2),
            &[("1.005,", "1.01"), ("99999999.995,", "NULL!"), ("\"1,234.5\",", "1234.50"), ("+1,", "1.00"), (" 1,", "NULL!")],
        ),
        (DataType::Int8, &[("-128,", "-128"), ("128,", "NULL!")]),
        (DataType::Int16, &[("1.0,", "NULL!"), ("32767,", "32767")]),
        (DataType::Int64, &[("9223372036854775807,", "9223372036854775807"), ("9223372036854775808,", "NULL!")]),
        (DataType::Float32, &[("1e39,", "inf"), ("16777217,", "16777216.0"), ("1f,", "1.0")]),
        (DataType::Binary, &[("AQID,", "41514944")]),
    ] {
        let cases: Vec<(&str, String)> = cases
            .iter()
            .map(|(line, row)| (*line, row.strip_suffix('!').map_or(format!("{row}|NULL"), |r| format!("{r}|NULL!"))))
            .collect();
        let cases: Vec<(&str, &str)> = cases.iter().map(|(line, row)| (*line, row.as_str())).collect();
        check(CsvOptions::default(), &[("v", data_type), ("z", DataType::Utf8)], &cases);
    }
}

#[test]
fn rows_are_written_as_spark_writes_them() {
    let text = |values: &[&str]| -> Vec<ArrayRef> {
        values.iter().map(|v| Arc::new(StringArray::from(vec![(*v != "NULL").then_some(*v)])) as ArrayRef).collect()
    };
    let mut columns =
        text(&["#x", "x,y", "NULL", "", " sp ", "q\"q", "back\\slash", "tab\tx", "\\", "a\\,b", "c\\\"d", "#y", "l\nb", "  "]);
    columns.push(Arc::new(TimestampMicrosecondArray::from(vec![1_767_225_600_123_456]).with_timezone("UTC")));
    columns.push(Arc::new(Float64Array::from(vec![f64::NEG_INFINITY])));
    columns.push(Arc::new(BinaryArray::from(vec![&b"AB"[..]])));
    let names: Vec<String> = (0..columns.len()).map(|at| format!("c{at}")).collect();
    let batch = RecordBatch::try_from_iter_with_nullable(names.iter().zip(columns).map(|(n, c)| (n, c, true))).expect("rows");
    let mut out = Vec::new();
    encode(&FormatOptions::Csv(CsvOptions::default()), &batch, "UTC", &mut out).expect("encodes");
    assert_eq!(
        String::from_utf8(out).expect("text"),
        "\"#x\",\"x,y\",,\"\",sp,\"q\\\"q\",back\\slash,tab\tx,\\,\"a\\\\,b\",\"c\\\\\\\"d\",#y,\"l\nb\",\"\",2026-01-01T00:00:00.123Z,-Infinity,[41 42]\n"
    );
}

#[test]
fn a_header_is_written_if_asked_for_and_nested_columns_are_refused() {
    let schema = Schema::new(vec![Field::new("a", DataType::Int32, true), Field::new("b c", DataType::Utf8, true)]);
    let mut out = Vec::new();
    let header = FormatOptions::Csv(CsvOptions { header: true, ..CsvOptions::default() });
    encode_header(&header, &schema, &mut out).expect("encodes");
    assert_eq!(out, b"a,b c\n");
    out.clear();
    encode_header(&FormatOptions::Csv(CsvOptions::default()), &schema, &mut out).expect("encodes");
    assert!(out.is_empty());
    let nested = Schema::new(vec![Field::new("l", DataType::new_list(DataType::Int32, true), true)]);
    let error = encode(&header, &RecordBatch::new_empty(Arc::new(nested)), "UTC", &mut out).expect_err("refused");
    assert_eq!(error.condition(), Some("UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE"));
}
