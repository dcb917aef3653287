//! The calls that are measured, by family.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, ListArray, MapArray, PrimitiveArray, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow_json::LineDelimitedWriter;
use chrono::{DateTime, Offset, TimeZone};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator, binary_expr, cast, col, lambda, lambda_var, lit, when};
use md5::{Digest, Md5};
use serde_json::Value;

use super::peers::{Pair, column, f, lambda_f, text_loop, texts};

/// A family's name and its calls.
pub(crate) type Family = (&'static str, &'static [Pair]);

/// Scalar functions.
pub(crate) const FAMILIES: &[Family] = &[
    ("arithmetic", ARITHMETIC),
    ("conditions", CONDITIONS),
    ("text", TEXT),
    ("regular expressions", REGEX),
    ("dates and times", TIMES),
    ("casts", CASTS),
    ("mathematics", MATHS),
    ("json", JSON),
    ("hashes, encodings", HASHES),
    ("arrays, maps", COLLECTIONS),
    ("lambda functions", LAMBDAS),
    ("number formats", FORMATS),
    ("urls", URLS),
    ("random", RANDOM),
];

const ARITHMETIC: &[Pair] = &[
    Pair::same("i + n", || col("i") + col("n")),
    Pair::same("d * 1.5D - d", || col("d") * lit(1.5) - col("d")),
    Pair::same("d / 3.0D", || col("d") / lit(3.0)),
    Pair::same("n % 7", || col("n") % lit(7_i64)),
    Pair::near("c * c", || col("c") * col("c")),
    Pair::same("c + 1.50BD", || col("c") + lit(ScalarValue::Decimal128(Some(150), 3, 2))),
];

const CONDITIONS: &[Pair] = &[
    Pair::same("i > 10 AND d < 50000.0D", || col("i").gt(lit(10)).and(col("d").lt(lit(50000.0)))),
    Pair::same("name = 'Eve'", || col("name").eq(lit("Eve"))),
    Pair::same("CASE WHEN i < -500 THEN 'low' WHEN i < 500 THEN 'mid' ELSE 'high' END", || {
        when(col("i").lt(lit(-500)), lit("low")).when(col("i").lt(lit(500)), lit("mid")).otherwise(lit("high")).expect("a CASE")
    }),
    Pair::same("coalesce(name, t, '')", || f("coalesce", [col("name"), col("t"), lit("")])),
    Pair::same("greatest(i, k, 100)", || f("greatest", [col("i"), col("k"), lit(100)])),
    Pair::same("nullif(i, 5)", || f("nullif", [col("i"), lit(5)]))
        .because("a CASE over an equality in which nulls and NaN are equal: 1.4 ns more"),
    Pair::same("t LIKE '%lazy dog%'", || col("t").like(lit("%lazy dog%"))),
    Pair::same("name IN ('Eve', 'Li Wei', 'Zoë Ångström')", || {
        col("name").in_list(vec![lit("Eve"), lit("Li Wei"), lit("Zoë Ångström")], false)
    }),
];

const TEXT: &[Pair] = &[
    Pair::same("upper(name)", || f("upper", [col("name")])),
    Pair::same("lower(t)", || f("lower", [col("t")])),
    Pair::near("initcap(t)", || f("initcap", [col("t")])),
    Pair::same("length(t)", || f("character_length", [col("t")])),
    Pair::same("substring(t, 5, 10)", || f("substr", [col("t"), lit(5_i64), lit(10_i64)])),
    Pair::same("left(name, 3)", || f("left", [col("name"), lit(3_i64)])),
    Pair::same("trim(t)", || f("btrim", [col("t")])),
    Pair::same("lpad(digits, 12, '0')", || f("lpad", [col("digits"), lit(12_i64), lit("0")])),
    Pair::same("replace(t, 'o', '00')", || f("replace", [col("t"), lit("o"), lit("00")])),
    Pair::same("translate(t, 'abc', 'xy')", || f("translate", [col("t"), lit("abc"), lit("xy")])),
    Pair::same("concat(name, '-', csv)", || joined([col("name"), lit("-"), col("csv")])),
    Pair::same("concat_ws(', ', name, csv, digits)", || f("concat_ws", [lit(", "), col("name"), col("csv"), col("digits")])),
    Pair::same("instr(t, 'fox')", || f("strpos", [col("t"), lit("fox")])),
    Pair::same("contains(t, 'lazy dog')", || f("contains", [col("t"), lit("lazy dog")])),
    Pair::same("startswith(name, 'Ju')", || f("starts_with", [col("name"), lit("Ju")])),
    Pair::same("split_part(csv, ',', 3)", || f("split_part", [col("csv"), lit(","), lit(3_i64)])),
    Pair::same("substring_index(csv, ',', 2)", || f("substr_index", [col("csv"), lit(","), lit(2_i64)])),
    Pair::same("reverse(t)", || f("reverse", [col("t")])),
    Pair::same("repeat(name, 3)", || f("repeat", [col("name"), lit(3_i64)])),
    Pair::same("levenshtein(name, 'Jurgen Muller')", || f("levenshtein", [col("name"), lit("Jurgen Muller")])),
];

const REGEX: &[Pair] = &[
    Pair::same("t RLIKE '(fox|dog)s? jump'", || f("regexp_like", [col("t"), lit("(fox|dog)s? jump")])),
    Pair::same("regexp_replace(t, '[aeiou]+', '_')", || f("regexp_replace", [col("t"), lit("[aeiou]+"), lit("_"), lit("g")])),
    Pair::same("regexp_replace(url, 'https://([^/]+)/.*', '$1')", || {
        f("regexp_replace", [col("url"), lit("https://([^/]+)/.*"), lit("$1"), lit("g")])
    }),
    Pair::near("regexp_extract(url, 'id=([0-9]+)', 1)", || {
        f("array_element", [f("regexp_match", [col("url"), lit("id=([0-9]+)")]), lit(1_i64)])
    }),
    Pair::same("regexp_count(t, 'o[a-z]')", || f("regexp_count", [col("t"), lit("o[a-z]")])),
    Pair::same("regexp_instr(t, 'l[a-z]+')", || f("regexp_instr", [col("t"), lit("l[a-z]+")])),
    Pair::near("split(csv, ',')", || f("string_to_array", [col("csv"), lit(",")])),
];

const TIMES: &[Pair] = &[
    Pair::same("year(dt)", || f("date_part", [lit("year"), col("dt")])),
    Pair::same("dayofweek(dt)", || f("date_part", [lit("dow"), col("dt")]) + lit(1)),
    Pair::same("hour(ts)", || f("date_part", [lit("hour"), col("ts")])),
    Pair::same("date_trunc('HOUR', ts)", || f("date_trunc", [lit("hour"), col("ts")])),
    Pair::same("date_trunc('MONTH', ts)", || f("date_trunc", [lit("month"), col("ts")])),
    Pair::same("date_add(dt, 7)", || cast(cast(col("dt"), DataType::Int32) + lit(7), DataType::Date32)),
    Pair::same("datediff(dt, CAST(ts AS DATE))", || {
        cast(col("dt"), DataType::Int32) - cast(cast(col("ts"), DataType::Date32), DataType::Int32)
    }),
    Pair::near("add_months(dt, 1)", || col("dt") + lit(ScalarValue::IntervalYearMonth(Some(1)))),
    Pair::same("ts + INTERVAL 90 MINUTES", || col("ts") + lit(ScalarValue::DurationMicrosecond(Some(5_400_000_000)))),
    Pair::same("unix_timestamp(ts)", || f("to_unixtime", [col("ts")])),
    Pair::same("make_date(2020 + k % 10, 1 + k % 12, 3)", || {
        f("make_date", [lit(2020) + col("k") % lit(10), lit(1) + col("k") % lit(12), lit(3)])
    }),
    Pair::same("date_format(ts, 'yyyy-MM-dd HH:mm:ss')", || f("to_char", [col("ts"), lit("%Y-%m-%d %H:%M:%S")])),
    Pair::same("date_format(ts, 'EEE, d MMM yyyy')", || f("to_char", [col("ts"), lit("%a, %-d %b %Y")])),
    Pair::near("to_timestamp(time, 'yyyy-MM-dd HH:mm:ss')", || f("to_timestamp_micros", [col("time"), lit("%Y-%m-%d %H:%M:%S")])),
    Pair::same("to_date(day, 'yyyy-MM-dd')", || f("to_date", [col("day"), lit("%Y-%m-%d")])),
    Pair::beside("from_utc_timestamp(ts, 'Europe/Berlin')", "chrono-tz, row by row", |rows| {
        let shifted = column(rows, "ts").as_primitive::<TimestampMicrosecondType>().unary(|us| {
            let instant = DateTime::from_timestamp_micros(us).expect("a time").naive_utc();
            us + i64::from(chrono_tz::Europe::Berlin.offset_from_utc_datetime(&instant).fix().local_minus_utc()) * 1_000_000
        });
        Arc::new(PrimitiveArray::<TimestampMicrosecondType>::with_timezone(shifted, "UTC"))
    }),
];

const CASTS: &[Pair] = &[
    Pair::same("CAST(digits AS INT)", || cast(col("digits"), DataType::Int32)),
    Pair::same("CAST(digits AS DOUBLE)", || cast(col("digits"), DataType::Float64)),
    Pair::same("CAST(day AS DATE)", || cast(col("day"), DataType::Date32)),
    Pair::near("CAST(time AS TIMESTAMP)", || cast(col("time"), DataType::Timestamp(TimeUnit::Microsecond, None))),
    Pair::same("CAST(digits AS DECIMAL(12,2))", || cast(col("digits"), DataType::Decimal128(12, 2))),
    Pair::same("CAST(n AS STRING)", || cast(col("n"), DataType::Utf8)),
    Pair::near("CAST(d AS STRING)", || cast(col("d"), DataType::Utf8)),
    Pair::same("CAST(c AS STRING)", || cast(col("c"), DataType::Utf8)),
    Pair::near("CAST(ts AS STRING)", || cast(col("ts"), DataType::Utf8)),
    Pair::same("CAST(dt AS STRING)", || cast(col("dt"), DataType::Utf8)),
    Pair::same("CAST(d AS INT)", || cast(col("d"), DataType::Int32)),
    Pair::same("CAST(n AS DECIMAL(20,2))", || cast(col("n"), DataType::Decimal128(20, 2))),
    Pair::near("CAST(d AS DECIMAL(12,2))", || cast(col("d"), DataType::Decimal128(12, 2))),
];

const MATHS: &[Pair] = &[
    Pair::same("sqrt(d)", || f("sqrt", [col("d")])),
    Pair::near("ln(d)", || f("ln", [col("d")]))
        .because("fdlibm's logarithm, to the last bit as Java has it, where the peer has that of the C library"),
    Pair::near("pow(d, 1.5D)", || f("power", [col("d"), lit(1.5)]))
        .because("fdlibm's pow, to the last bit as Java has it, where the peer has that of the C library"),
    Pair::near("sin(d)", || f("sin", [col("d")])),
    Pair::same("abs(n)", || f("abs", [col("n")])),
    Pair::near("round(d, 2)", || f("round", [col("d"), lit(2)]))
        .because("rounds the shortest decimal digits, as Spark does, not the binary value: finding four decimals, two divisions"),
    Pair::near("round(c, 1)", || f("round", [col("c"), lit(1)])),
    Pair::near("floor(d)", || f("floor", [col("d")])),
    Pair::near("hex(k)", || f("to_hex", [col("k")])),
];

const JSON: &[Pair] = &[
    Pair::beside("get_json_object(j, '$.user.name')", "serde_json::Value, row by row", |rows| {
        text_loop(rows, "j", |text| Some(serde_json::from_str::<Value>(text).ok()?["user"]["name"].as_str()?.to_owned()))
    }),
    Pair::beside("from_json(j, 'user STRUCT<id: INT, name: STRING>, score DOUBLE')", "arrow-json's reader", from_json),
    Pair::beside("to_json(st)", "arrow-json's writer", |rows| {
        let structs = column(rows, "st").as_struct();
        let mut writer = LineDelimitedWriter::new(Vec::new());
        writer
            .write(&RecordBatch::from(StructArray::new(structs.fields().clone(), structs.columns().to_vec(), None)))
            .expect("JSON");
        let text = String::from_utf8(writer.into_inner()).expect("UTF-8");
        Arc::new(text.lines().enumerate().map(|(row, line)| structs.is_valid(row).then_some(line)).collect::<StringArray>())
    }),
    Pair::beside("json_object_keys(j)", "serde_json::Value, row by row", |rows| {
        let mut lists = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new())
            .with_field(Field::new_list_field(DataType::Utf8, true));
        for text in texts(rows, "j") {
            match text.map(serde_json::from_str::<Value>) {
                Some(Ok(Value::Object(fields))) => lists.append_value(fields.keys().map(Some)),
                _ => lists.append_null(),
            }
        }
        Arc::new(lists.finish())
    }),
];

fn from_json(rows: &RecordBatch) -> ArrayRef {
    let user = DataType::Struct(vec![Field::new("id", DataType::Int32, true), Field::new("name", DataType::Utf8, true)].into());
    let fields = vec![Field::new("user", user, true), Field::new("score", DataType::Float64, true)];
    let mut lines = String::new();
    for text in texts(rows, "j") {
        lines.push_str(text.unwrap_or("{}"));
        lines.push('\n');
    }
    let builder =
        arrow_json::ReaderBuilder::new(Arc::new(arrow::datatypes::Schema::new(fields))).with_batch_size(rows.num_rows());
    let decoded = builder.build(lines.as_bytes()).expect("a reader").next().expect("rows").expect("JSON");
    let nulls = column(rows, "j").nulls().cloned();
    Arc::new(StructArray::new(decoded.schema().fields().clone(), decoded.columns().to_vec(), nulls))
}

const HASHES: &[Pair] = &[
    Pair::beside("md5(t)", "a loop over the same crate", |rows| {
        text_loop(rows, "t", |text| {
            Some(Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            }))
        })
    }),
    Pair::beside_near("xxhash64(t)", "a loop over twox-hash", |rows| {
        let hashed =
            texts(rows, "t").iter().map(|text| text.map(|text| twox_hash::XxHash64::oneshot(42, text.as_bytes()) as i64));
        Arc::new(hashed.collect::<arrow::array::Int64Array>())
    }),
    Pair::beside_near("hash(n, k)", "a loop over twox-hash", |rows| {
        let (n, k) = (column(rows, "n").as_primitive::<Int64Type>(), column(rows, "k").as_primitive::<Int32Type>());
        let hashed = n.iter().zip(k).map(|(n, k)| {
            let seed = n.map_or(42, |n| twox_hash::XxHash64::oneshot(42, &n.to_le_bytes()));
            Some(twox_hash::XxHash64::oneshot(seed, &k?.to_le_bytes()) as i32)
        });
        Arc::new(hashed.collect::<Int32Array>())
    }),
    Pair::near("base64(CAST(t AS BINARY))", || f("encode", [col("t"), lit("base64")])),
    Pair::near("lower(hex(t))", || f("encode", [col("t"), lit("hex")])),
];

const COLLECTIONS: &[Pair] = &[
    Pair::near("size(a)", || f("array_length", [col("a")])),
    Pair::near("array_contains(a, 7)", || f("array_has", [col("a"), lit(7)]))
        .because("null if a null is there and the value is not; the peer compares all elements with one constant at once"),
    Pair::same("try_element_at(l, 2)", || f("array_element", [col("l"), lit(2_i64)])),
    Pair::same("get(a, 1)", || f("array_element", [col("a"), lit(2_i64)])),
    Pair::same("array_max(a)", || f("array_max", [col("a")])),
    Pair::same("sort_array(a)", || f("array_sort", [col("a")])),
    Pair::near("array_distinct(l)", || f("array_distinct", [col("l")])),
    Pair::near("array_union(l, array('mill', 'sea'))", || {
        f("array_union", [col("l"), f("make_array", [lit("mill"), lit("sea")])])
    }),
    Pair::same("array_join(l, '/')", || f("array_to_string", [col("l"), lit("/")])),
    Pair::near("slice(a, 2, 3)", || f("array_slice", [col("a"), lit(2_i64), lit(4_i64)])),
    Pair::near("array_position(l, 'tide')", || f("array_position", [col("l"), lit("tide")])),
    Pair::near("concat(a, array(k))", || f("array_append", [col("a"), col("k")]))
        .because("any number of arrays of any type; the peer appends one value"),
    Pair::same("array(i, k)", || f("make_array", [col("i"), col("k")])),
    Pair::near("sequence(0, k % 10)", || f("range", [lit(0_i64), col("k") % lit(10)])),
    Pair::same("map_keys(m)", || f("map_keys", [col("m")])),
    Pair::near("m['k']", || f("map_extract", [col("m"), lit("k")])),
    Pair::near("named_struct('a', i, 'b', name)", || f("named_struct", [lit("a"), col("i"), lit("b"), col("name")])),
];

const LAMBDAS: &[Pair] = &[
    Pair::same("transform(a, x -> x + 1)", || lambda_f("array_transform", [col("a"), lambda(["x"], lambda_var("x") + lit(1))])),
    Pair::same("filter(a, x -> x > 50)", || lambda_f("array_filter", [col("a"), lambda(["x"], lambda_var("x").gt(lit(50)))])),
    Pair::near("exists(a, x -> x = 7)", || lambda_f("array_any_match", [col("a"), lambda(["x"], lambda_var("x").eq(lit(7)))])),
    Pair::same("transform(l, x -> upper(x))", || {
        lambda_f("array_transform", [col("l"), lambda(["x"], f("upper", [lambda_var("x")]))])
    }),
    Pair::beside("aggregate(a, 0, (s, x) -> s + coalesce(x, 0))", "a loop of wrapping additions", |rows| {
        let lists = column(rows, "a").as_list::<i32>();
        let sum = |list: ArrayRef| list.as_primitive::<Int32Type>().iter().flatten().fold(0, i32::wrapping_add);
        Arc::new(lists.iter().map(|list| list.map(sum)).collect::<Int32Array>())
    }),
    Pair::beside("transform_values(m, (k, v) -> v + 1)", "arrow's add_wrapping over all values", |rows| {
        let maps = column(rows, "m").as_map();
        let values = arrow::compute::kernels::numeric::add_wrapping(maps.values(), &Int32Array::new_scalar(1)).expect("a sum");
        let DataType::Map(field, sorted) = maps.data_type().clone() else { panic!("no map") };
        let entries = StructArray::new(maps.entries().fields().clone(), vec![maps.keys().clone(), values], None);
        Arc::new(MapArray::new(field, maps.offsets().clone(), entries, maps.nulls().cloned(), sorted))
    })
    .because("7 ns a map, most of them for its offsets, lengths and chunks; the loop adds to all values as they lie, and wraps"),
];

const FORMATS: &[Pair] = &[
    Pair::beside_near("format_number(d, 2)", "format! without thousands, row by row", |rows| {
        let numbers = column(rows, "d").as_primitive::<Float64Type>();
        Arc::new(numbers.iter().map(|d| d.map(|d| format!("{d:.2}"))).collect::<StringArray>())
    })
    .because("thousands; and half of the time goes into the number's exact digits, as halves are decided by them"),
    Pair::beside("printf('%05d %s', k, name)", "format!, row by row", |rows| {
        let k = column(rows, "k").as_primitive::<Int32Type>();
        let both = k.iter().zip(texts(rows, "name"));
        Arc::new(both.map(|(k, name)| Some(format!("{:05} {}", k?, name.unwrap_or("null")))).collect::<StringArray>())
    })
    .because("the format is not known when the program is compiled, and writes its fields one by one"),
    Pair::beside_near("to_char(c, '9,999,999.99')", "arrow's cast to text", |rows| {
        arrow::compute::cast(column(rows, "c"), &DataType::Utf8).expect("texts")
    }),
    Pair::beside_near("to_number(digits, '99999999')", "arrow's cast to a decimal", |rows| {
        arrow::compute::cast(column(rows, "digits"), &DataType::Decimal128(8, 0)).expect("numbers")
    }),
    Pair::beside("conv(digits, 10, 16)", "str::parse and format!, row by row", |rows| {
        text_loop(rows, "digits", |text| Some(format!("{:X}", text.parse::<u64>().ok()?)))
    }),
];

const URLS: &[Pair] = &[
    Pair::beside_near("parse_url(url, 'HOST')", "the crate url, row by row", |rows| {
        text_loop(rows, "url", |text| Some(reqwest::Url::parse(text).ok()?.host_str()?.to_owned()))
    }),
    Pair::beside("parse_url(url, 'QUERY', 'id')", "a search for `id=`, row by row", |rows| {
        text_loop(rows, "url", |text| Some(text.split_once("id=")?.1.split('&').next()?.to_owned()))
    })
    .because("three quarters of the time the URL is parsed and each part checked; the loop only searches"),
    Pair::beside_near("url_encode(t)", "a loop over bytes", |rows| {
        text_loop(rows, "t", |text| {
            Some(text.bytes().fold(String::new(), |mut out, byte| {
                if byte.is_ascii_alphanumeric() {
                    out.push(char::from(byte));
                } else {
                    let _ = write!(out, "%{byte:02X}");
                }
                out
            }))
        })
    }),
];

const RANDOM: &[Pair] = &[
    Pair::near("rand(7)", || f("random", [])),
    Pair::near("uuid()", || f("uuid", [])),
    Pair::beside_near("shuffle(a, 7)", "the same lists as they are", |rows| {
        let lists = column(rows, "a").as_list::<i32>();
        let taken = Int32Array::from_iter_values(0..lists.len() as i32);
        let taken = arrow::compute::take(lists, &taken, None).expect("lists");
        Arc::new(taken.as_list::<i32>().clone()) as Arc<ListArray>
    }),
];

/// Texts one behind another, null if one is null: DataFusion's function leaves nulls out, its operator does not.
fn joined<const N: usize>(texts: [Expr; N]) -> Expr {
    let behind = |all, next| binary_expr(all, Operator::StringConcat, next);
    texts.into_iter().reduce(behind).expect("texts")
}
