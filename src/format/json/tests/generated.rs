//! Properties of any line: no panic, no influence on neighbours, the same verdict whatever is asked for, and agreement with another
//! parser on what is plain JSON.

use proptest::prelude::*;

use super::*;

fn object() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-300..300_i32).prop_map(Value::from),
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Value::from),
        (-1_000_000..1_000_000_i64, 0..7_u32).prop_map(|(m, e)| Value::from(m as f64 / 10_f64.powi(e as i32))),
        any::<String>().prop_map(Value::from),
        "[0-9T:.Z -]{0,24}".prop_map(Value::from),
        Just(Value::from("2026-01-01T00:00:00.5Z")),
    ];
    let value = scalar.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..4).prop_map(|entries| entries.into_iter().collect()),
        ]
    });
    prop::collection::vec((key(), value), 0..8).prop_map(|entries| entries.into_iter().collect())
}

fn key() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "a", "b", "d", "t", "f", "n", "l", "i8", "i64", "fl", "dt", "nt", "c", "bin", "m", "ls", "ms", "ll", "p", "q", "x", "é\"",
    ];
    prop::sample::select(NAMES).prop_map(str::to_owned)
}

/// Cuts, replaces and repeats bytes of a line.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![Just(b"\"\\{}[]:,'ntfNI+-.eE019u \t\r\xff\xc3\x00".to_vec()), Just((0..=255).collect::<Vec<u8>>())];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8), 1..6);
    (object(), bytes, edits).prop_map(|(object, bytes, edits)| {
        let mut line = object.to_string().into_bytes();
        for (at, byte, kind) in edits {
            let (at, byte) = (at.index(line.len()), bytes[byte.index(bytes.len())]);
            match kind {
                0 => line[at] = byte,
                1 => line.insert(at, byte),
                2 if line.len() > 1 => drop(line.remove(at)),
                _ => line.extend_from_within(at..),
            }
            line.retain(|b| *b != b'\n');
            line.push(b' ');
        }
        line
    })
}

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => mutated(),
        2 => object().prop_map(|object| object.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>().prop_filter("no line end", |b| *b != b'\n'), 0..40),
    ]
}

fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| line.iter().chain(b"\n").copied()).collect()
}

/// What a batch shows, NaN included.
/// Field, reason and bytes of a malformed line.
type Fault = (Option<Arc<str>>, Arc<str>, Vec<u8>);

fn verdicts(decoded: &Decoded) -> (Vec<Value>, Vec<Fault>) {
    let malformed = decoded.malformed.iter().map(|m| (m.field.clone(), Arc::clone(&m.reason), m.raw.clone()));
    (rows(decoded), malformed.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_line_means_the_same_among_any_neighbours(lines in prop::collection::vec(any_line(), 1..40)) {
        let schema = with_corrupt(&every_type());
        let together = decode(request(schema.clone()), &chunk(joined(&lines))).expect("decodes");
        let mut rows = Vec::new();
        let mut malformed = Vec::new();
        for line in &lines {
            let mut alone = chunk(joined(std::slice::from_ref(line)));
            alone.received_at_us = Some(0);
            let (row, fault) = verdicts(&decode(request(schema.clone()), &alone).expect("decodes"));
            rows.extend(row);
            malformed.extend(fault);
        }
        // The first line of a file may lose its byte order mark, which random bytes do not begin with.
        prop_assert_eq!(verdicts(&together), (rows, malformed));
    }

    #[test]
    fn projection_changes_neither_verdicts_nor_values(lines in prop::collection::vec(any_line(), 1..20), wanted in any::<u32>()) {
        let schema = every_type();
        let all = decode(request(schema.clone()), &chunk(joined(&lines))).expect("decodes");
        let mut some = request(schema.clone());
        some.projection.retain(|at| wanted & 1 << at != 0);
        let names: Vec<&String> = some.projection.iter().map(|at| schema.field(*at).name()).collect();
        let part = decode(some.clone(), &chunk(joined(&lines))).expect("decodes");
        prop_assert_eq!(&part.malformed, &all.malformed);
        let expected: Vec<Value> = rows(&all)
            .iter()
            .map(|row| names.iter().filter(|n| !row[n.as_str()].is_null()).map(|n| ((*n).clone(), row[n.as_str()].clone())).collect())
            .collect();
        prop_assert_eq!(rows(&part), expected);
        some.on_malformed = OnMalformed::Drop;
        let dropped = decode(some, &chunk(joined(&lines))).expect("decodes");
        prop_assert_eq!(rows(&dropped).len() as u64, part.lines_read - part.lines_malformed);
        prop_assert_eq!(dropped.lines_dropped, part.lines_malformed);
    }

    #[test]
    fn plain_json_has_the_values_that_another_parser_finds(object in object()) {
        let text = object.to_string();
        let decoded = decode(request(every_type()), &chunk(text.clone())).expect("decodes");
        let row = rows(&decoded).remove(0);
        for (name, fits) in [
            ("a", (|v: &Value| v.as_i64().is_some_and(|v| i32::try_from(v).is_ok())) as fn(&Value) -> bool),
            ("i64", Value::is_i64),
            ("d", Value::is_number),
            ("f", Value::is_boolean),
            ("b", Value::is_string),
        ] {
            let expected = match &object[name] {
                value if !fits(value) => None,
                value if name == "d" => value.as_f64().map(Value::from),
                value => Some(value.clone()),
            };
            match expected {
                Some(expected) => prop_assert_eq!(&row[name], &expected, "{}", text),
                None if name == "b" => {}
                None => prop_assert_eq!(&row[name], &Value::Null, "{}", text),
            }
        }
    }

    #[test]
    fn what_is_written_reads_back(object in object()) {
        let schema = every_type();
        let all: DataType = DataType::Struct(schema.fields().clone());
        let texts = arrow::array::StringArray::from(vec![object.to_string()]);
        let values = decode_values(&texts, &all, &ValueOptions::default()).expect("reads");
        let written = write::to_json(&values, &write::WriteOptions::default()).expect("writes");
        let again = decode_values(&written, &all, &ValueOptions::default()).expect("reads");
        let plain: Value = serde_json::from_str(written.value(0)).expect("plain JSON");
        prop_assert!(plain.is_object());
        let (mut before, mut after) = (show(&values, 0), show(&again, 0));
        for time in ["t", "nt"] {
            // Written to the millisecond.
            for side in [&mut before, &mut after] {
                side[time] = side[time].as_i64().map_or(Value::Null, |us| us.div_euclid(1000).into());
            }
        }
        prop_assert_eq!(before, after, "{}", written.value(0));
    }
}
