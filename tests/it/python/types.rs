//! Values of every type, to Python and back.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Fixture, column};

const SCHEMA: &str = "b BOOLEAN, y TINYINT, h SMALLINT, i INT, l BIGINT, f FLOAT, d DOUBLE, m DECIMAL(12,2), s STRING, x BINARY, \
                      t TIMESTAMP, tn TIMESTAMP_NTZ, dt DATE, a ARRAY<INT>, aa ARRAY<ARRAY<STRING>>, mp MAP<STRING, INT>, \
                      st STRUCT<p: INT, q: ARRAY<STRUCT<r: STRING, u: TIMESTAMP>>>, ms MAP<STRING, STRUCT<v: DECIMAL(5,1)>>";

fn rows() -> Vec<Value> {
    vec![
        json!({
            "b": true, "y": -128, "h": 32767, "i": -2147483648, "l": 9223372036854775807_i64, "f": 0.1, "d": -1e308, "m": "1234567890.12",
            "s": "ünï \u{1F980}", "x": "AP8=", "t": "2024-02-29T23:59:59.123456Z", "tn": "1969-12-31T23:59:59.999999", "dt": "0001-01-01",
            "a": [1, null, 3], "aa": [["x", null], null, []], "mp": { "k": 1, "none": null },
            "st": { "p": 7, "q": [{ "r": "r", "u": "2020-01-01T00:00:00Z" }, null, { "r": null, "u": null }] }, "ms": { "k": { "v": 1.5 }, "n": null }
        }),
        json!({}),
        json!({ "b": false, "f": "NaN", "d": "Infinity", "s": "", "x": "", "a": [], "aa": [], "mp": {}, "st": {}, "ms": {}, "t": "1970-01-01T00:00:00Z" }),
        json!({ "f": "-Infinity", "d": "NaN", "i": 0, "l": -9223372036854775808_i64, "m": -0.01, "dt": "9999-12-31", "t": "9999-12-31T23:59:59.999999Z" }),
    ]
}

fn names() -> Vec<&'static str> {
    vec!["b", "y", "h", "i", "l", "f", "d", "m", "s", "x", "t", "tn", "dt", "a", "aa", "mp", "st", "ms"]
}

#[test]
fn values_come_back_as_they_went() {
    let code = "
def shown(value):
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return f'{type(value).__name__} {value}'

async def echo(context, values):
    for value in values:
        tell(value=shown(value))
        yield value
";
    let function = format!("  echo: {{ args: {SCHEMA:?}, returns: {SCHEMA:?}, python: {{ {{python}} }} }}");
    let all = names().join(", ");
    let sql = format!(
        "SELECT named_struct({}) AS sent, echo({all}) AS back FROM t",
        names().iter().map(|n| format!("'{n}', {n}")).collect::<Vec<_>>().join(", ")
    );
    let fixture = Fixture::new(&function, code, &sql, SCHEMA, &rows());
    fixture.run();
    let rows = fixture.rows();
    assert_eq!(rows.len(), 4);
    assert_eq!(column(&rows, "sent"), column(&rows, "back"));
    assert_eq!(rows[0]["back"]["aa"], json!([["x", null], null, []]));
    let seen = column(&fixture.seen(), "value");
    let none = json!("NoneType None");
    assert!(names().iter().all(|name| seen[1][name] == none), "{}", seen[1]);
    let expected = json!({
        "b": "bool True", "y": "int -128", "h": "int 32767", "i": "int -2147483648", "l": "int 9223372036854775807",
        "f": "float 0.10000000149011612", "d": "float -1e+308", "m": "Decimal 1234567890.12", "s": "str ünï \u{1F980}", "x": "bytes b'\\x00\\xff'",
        "t": "datetime 2024-02-29 23:59:59.123456+00:00", "tn": "datetime 1969-12-31 23:59:59.999999", "dt": "date 0001-01-01",
        "a": ["int 1", none, "int 3"], "aa": [["str x", none], none, []], "mp": { "k": "int 1", "none": none },
        "st": { "p": "int 7", "q": [{ "r": "str r", "u": "datetime 2020-01-01 00:00:00+00:00" }, none, { "r": none, "u": none }] },
        "ms": { "k": { "v": "Decimal 1.5" }, "n": none }
    });
    assert_eq!(seen[0], expected);
    assert_eq!(
        (&seen[2]["f"], &seen[2]["d"], &seen[3]["f"], &seen[3]["d"]),
        (&json!("float nan"), &json!("float inf"), &json!("float -inf"), &json!("float nan"))
    );
}

/// Each row yields what its type does not take, or what it takes in another class.
#[test]
fn a_value_of_another_type_is_refused_by_row_field_and_type() {
    let cases = [
        ("{'i': 1.0}", "field i: expected INT, found float"),
        ("{'i': True}", "field i: expected INT, found bool"),
        ("{'i': '1'}", "field i: expected INT, found str"),
        ("{'i': 2**31}", "field i: does not fit into INT: "),
        ("{'d': '1.5'}", "field d: expected DOUBLE, found str"),
        ("{'d': decimal.Decimal(1)}", "field d: expected DOUBLE, found Decimal"),
        ("{'d': 2**53 + 1}", "field d: does not fit into DOUBLE: "),
        ("{'f': 1e39}", "field f: does not fit into FLOAT"),
        ("{'m': 1.5}", "field m: expected DECIMAL(12,2), found float"),
        ("{'m': decimal.Decimal('0.001')}", "field m: does not fit into DECIMAL(12,2): "),
        ("{'s': b'x'}", "field s: expected STRING, found bytes"),
        ("{'s': '\\ud800'}", "field s: does not fit into STRING: "),
        ("{'x': 'x'}", "field x: expected BINARY, found str"),
        ("{'t': datetime.datetime(2020, 1, 1)}", "field t: expected TIMESTAMP, found a datetime without a zone"),
        ("{'t': 0}", "field t: expected TIMESTAMP, found int"),
        (
            "{'tn': datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)}",
            "field tn: expected TIMESTAMP_NTZ, found an aware datetime",
        ),
        ("{'dt': datetime.datetime(2020, 1, 1)}", "field dt: expected DATE, found a datetime without a zone"),
        ("{'a': [1, 'x']}", "field a[]: expected INT, found str"),
        ("{'a': 'abc'}", "field a: expected ARRAY, found str"),
        ("{'aa': [['x'], [7]]}", "field aa[][]: expected STRING, found int"),
        ("{'mp': {1: 1}}", "field mp{key}: expected STRING, found int"),
        ("{'mp': {'k': 'v'}}", "field mp{value}: expected INT, found str"),
        ("{'mp': {None: 1}}", "field mp: has a key that is None"),
        ("{'mp': [('k', 1)]}", "field mp: expected MAP, found list"),
        ("{'st': {'q': [{'r': 1}]}}", "field st.q[].r: expected STRING, found int"),
        ("{'st': {'z': 1}}", "field st: has a field 'z', which is not declared"),
        ("{'B': True}", "has a field 'B', which is not declared"),
        ("[True]", "expected STRUCT, found list"),
        ("{'d': 3, 'm': 4, 'a': (1, 2), 's': None}", ""),
        ("{'t': datetime.datetime(2020, 1, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))}", ""),
        ("{'x': memoryview(b'x')}", ""),
        ("None", ""),
    ];
    let yields: Vec<&str> = cases.iter().map(|(yields, _)| *yields).collect();
    let code = format!(
        "
ANSWERS = [{}]

async def f(context, values):
    for value in values:
        yield ANSWERS[value['n']] if value['n'] >= 0 else {{}}
",
        yields.join(", ")
    );
    let function = format!(
        "  f: {{ args: \"n INT, twin BOOLEAN\", returns: {SCHEMA:?}, chunk_size: 3, on_error: return_null, python: {{ {{python}} }} }}"
    );
    // Each in the middle of its chunk.
    let rows: Vec<Value> = (0..cases.len()).flat_map(|n| [json!({ "n": -1 }), json!({ "n": n }), json!({ "n": -1 })]).collect();
    let fixture = Fixture::new(&function, &code, "SELECT n, f(n, twin) AS m FROM t", "n INT, twin BOOLEAN", &rows);
    fixture.run();
    let reasons: BTreeSet<String> =
        column(&fixture.dead_letters(), "reason").iter().map(|why| why.as_str().unwrap().to_owned()).collect();
    let refused: Vec<_> = cases.iter().enumerate().filter(|(_, (_, why))| !why.is_empty()).collect();
    assert_eq!(reasons.len(), refused.len(), "{reasons:#?}");
    for (n, (yields, why)) in refused {
        let expected = format!("row {}: {why}", 3 * n + 2);
        assert!(reasons.iter().any(|reason| reason.starts_with(&expected)), "{yields}: {expected:?} is not in {reasons:#?}");
    }
    let answers: Vec<Value> = column(&fixture.rows(), "m").into_iter().skip(1).step_by(3).collect();
    let last = &answers[answers.len() - 4..];
    assert_eq!((&last[0]["d"], &last[0]["a"], &last[0]["i"]), (&json!(3.0), &json!([1, 2]), &Value::Null));
    assert_eq!((&last[1]["t"], &last[3]), (&json!("2020-01-01T00:00:00.000Z"), &Value::Null));
}
