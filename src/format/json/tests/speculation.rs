//! Whatever the lines are: guessing their shape gives what the strict parser gives.

use arrow::compute::concat_batches;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::*;
use crate::format::{Comparison, Condition, Literal, MetadataColumn, Test};

/// Everything that a decoder tells, rows in one batch.
fn outcome(one: &DecodeRequest, level: Option<Level>, chunks: &[LineChunk]) -> (RecordBatch, Decoded) {
    let mut decoder = guessing_decoder(one.clone(), level).expect("a decoder");
    for chunk in chunks {
        decoder.push(chunk).expect("decodes");
    }
    let mut decoded = decoder.finish().expect("decodes");
    let rows = std::mem::take(&mut decoded.rows);
    (concat_batches(&rows[0].schema(), &rows).expect("one schema"), decoded)
}

/// Checks that every way to decode `text`, cut into chunks behind the lines in `cuts`, tells the same.
#[track_caller]
fn check(one: &DecodeRequest, text: &[u8], cuts: &[usize], about: &str) {
    let mut chunks = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([text.len()]) {
        // Exactly as long as its bytes: what lies behind them is not to be looked at.
        let mut piece = chunk(text[start..end].to_vec().into_boxed_slice().into_vec());
        piece.position = start as u64;
        piece.received_at_us = Some(1);
        chunks.push(piece);
        start = end;
    }
    let (rows, told) = outcome(one, None, &chunks);
    for level in [Level::detect(), Level::Portable] {
        let (guessed, guessed_told) = outcome(one, Some(level), &chunks);
        assert_eq!(guessed_told.malformed, told.malformed, "{about}");
        let counts = |d: &Decoded| (d.lines_read, d.lines_malformed, d.lines_dropped, d.rows_filtered);
        assert_eq!(counts(&guessed_told), counts(&told), "{about}");
        assert_eq!(guessed.num_rows(), rows.num_rows(), "{about}");
        if guessed != rows {
            let differing = (0..rows.num_rows()).find(|at| guessed.slice(*at, 1) != rows.slice(*at, 1));
            let shown = differing.map(|at| (at, row(&guessed, at).to_string(), row(&rows, at).to_string()));
            panic!("{about}: row, guessed and strict: {shown:?}");
        }
    }
}

/// Values of every kind, plain ones most often.
struct Lines(StdRng);

impl Lines {
    fn one_in(&mut self, times: u32) -> bool {
        self.0.random_ratio(1, times)
    }

    fn pick(&mut self, from: &[&str]) -> String {
        (*from.choose(&mut self.0).expect("a choice")).to_owned()
    }

    fn number(&mut self) -> String {
        match self.0.random_range(0..12) {
            0..4 => self.0.random_range(-300..300).to_string(),
            4..7 => format!("{:.*}", self.0.random_range(0..6), self.0.random_range(-2000.0..2000.0)),
            7 => (self.0.random::<i64>() >> self.0.random_range(0..64)).to_string(),
            8 => self.0.random::<f64>().to_string(),
            9 => f64::from_bits(self.0.random()).to_string(),
            _ => self.pick(&[
                "0",
                "-0",
                "-0.0",
                "0.0",
                "00",
                "01",
                "-01",
                "1.",
                ".5",
                "-",
                "1e5",
                "1E-3",
                "1.5e300",
                "1e999",
                "+1",
                "NaN",
                "-INF",
                "Infinity",
                "127",
                "128",
                "255",
                "256",
                "-128",
                "-129",
                "32767",
                "32768",
                "2147483647",
                "2147483648",
                "-2147483648",
                "999999999",
                "9999999999",
                "99999999999999",
                "999999999999999",
                "1234567890123456",
                "9223372036854775807",
                "9223372036854775808",
                "0.1234567890123",
                "0.12345678901234",
                "123456789012.345",
                "1.0000000000000000000001",
                "1.5 ",
                "1 2",
                "1-2",
                "1.2.3",
                "--1",
                "0x10",
                "1_0",
            ]),
        }
    }

    fn text(&mut self) -> String {
        let letters = ["a", "Z", "0", " ", "-", ":", ",", "}", "{", "]", "é", "漢", "😀", "\u{7f}", "'"];
        let odd = ["\\\"", "\\\\", "\\n", "\\u00e9", "\\ud83d\\ude00", "\\ud83d", "\\x", "\\", "\"", "\t", "\u{1}", "\\u12"];
        let len = *[0, 1, 3, 7, 15, 30, 31, 32, 33, 64, 100].choose(&mut self.0).expect("a choice");
        let strange = self.one_in(12);
        let pieces = (0..len).map(|_| if strange && self.one_in(8) { self.pick(&odd) } else { self.pick(&letters) });
        let content: String = pieces.collect();
        format!("\"{content}\"")
    }

    fn time(&mut self) -> String {
        if self.one_in(4) {
            return self.pick(&[
                "\"2026-02-29T00:00:00Z\"",
                "\"2024-02-29T23:59:59.999Z\"",
                "\"2026-01-01T24:00:00Z\"",
                "\"2026-01-01T00:60:00Z\"",
                "\"2026-1-1\"",
                "\"2026-01-01\"",
                "\"2026-01-01 10:00:00\"",
                "\"2026-01-01T10:00:00+01:00\"",
                "\"2026\"",
                "1767225600",
                "\"2026-01-01T00:00:00.12Z\"",
                "\"2026-01-01T00:00:00.1234567Z\"",
                "\"2026-01-01T00:00:00,123Z\"",
                "\"0000-01-01T00:00:00Z\"",
                "\"2026-13-01T00:00:00Z\"",
                "\"2026-01-00T00:00:00.000Z\"",
                "\"2026-01-01T00:00:00.000z\"",
                "\"\"",
                "\"2026-01-01T0a:00:00Z\"",
                "\" 2026-01-01T00:00:00Z\"",
                "\"2026-01-01T00:00:0\\u0030Z\"",
                "\"20454\"",
            ]);
        }
        if self.one_in(2) {
            // A minute that others share, and all that can follow it.
            let minute = self.pick(&["2026-01-01T00:00", "2026-01-01T00:00", "2026-01-01T00:01", "1969-12-31T23:59"]);
            let second = self.pick(&["00", "05", "59", "60", "99", "5", "0a", "a0", ":0", "0/"]);
            let tail = self.pick(&[
                ".000Z",
                ".123Z",
                ".999Z",
                ".123456Z",
                "Z",
                "",
                ".123",
                ".12Z",
                ".1234Z",
                ".a23Z",
                ".1:3Z",
                ".12/Z",
                ":123Z",
                ".123z",
                ".123Z ",
                ".123+01:00",
                ".\\u0031Z",
            ]);
            return format!("\"{minute}:{second}{tail}\"");
        }
        let (month, day) = (self.0.random_range(1..13), self.0.random_range(1..29));
        let (year, hour, second) = (self.0.random_range(1..9999), self.0.random_range(0..24), self.0.random_range(0..60));
        let fraction = self.pick(&["", ".5", ".123", ".000", ".123456", ".999999"]);
        format!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{second:02}:{second:02}{fraction}Z\"")
    }

    /// A value for a column of `data_type`, now and then one of another type.
    fn value(&mut self, data_type: &DataType) -> String {
        if self.one_in(40) {
            return "null".to_owned();
        }
        if self.one_in(60) {
            return self.pick(&[
                "{}",
                "[]",
                "{\"p\":1}",
                "[1,2]",
                "true",
                "\"x\"",
                "5",
                "1.5",
                "[{\"x\":1}]",
                "nul",
                "",
                "{\"p\":",
                "[[]]",
            ]);
        }
        match data_type {
            DataType::Boolean => self.pick(&["true", "false", "true", "false", "tru", "False", "trueish"]),
            DataType::Utf8 if self.one_in(30) => self.number(),
            DataType::Utf8 => self.text(),
            DataType::Binary => self.pick(&["\"AQID\"", "\"\"", "\"!\"", "\"/w==\""]),
            DataType::Timestamp(..) | DataType::Date32 => self.time(),
            DataType::Struct(fields) => {
                let shape: Vec<(String, DataType)> = fields.iter().map(|f| (f.name().clone(), f.data_type().clone())).collect();
                self.object(&shape, ",", ":")
            }
            DataType::List(item) => {
                let items: Vec<String> = (0..self.0.random_range(0..4)).map(|_| self.value(item.data_type())).collect();
                format!("[{}]", items.join(","))
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(entry) = entries.data_type() else { return "{}".to_owned() };
                format!("{{\"k\":{}}}", self.value(entry[1].data_type()))
            }
            _ => self.number(),
        }
    }

    fn object(&mut self, shape: &[(String, DataType)], comma: &str, colon: &str) -> String {
        let members: Vec<String> =
            shape.iter().map(|(name, data_type)| format!("\"{name}\"{colon}{}", self.value(data_type))).collect();
        format!("{{{}}}", members.join(comma))
    }

    /// Keys with their types: some declared, some not, in any order.
    fn shape(&mut self, schema: &Schema) -> Vec<(String, DataType)> {
        let declared = schema.fields().iter().filter(|f| f.name() != CORRUPT_RECORD || self.one_in(20));
        let mut shape: Vec<_> = declared.map(|f| (f.name().clone(), f.data_type().clone())).collect();
        shape.shuffle(&mut self.0);
        shape.truncate(self.0.random_range(0..10));
        for name in ["other", "z", "é", "a_rather_long_name_of_a_field_that_nobody_has_declared_and_nobody_will_ever_need"] {
            if self.one_in(3) {
                let kinds = [DataType::Int32, DataType::Utf8, DataType::Boolean, list(DataType::Utf8), only_x()];
                let kind = kinds.choose(&mut self.0).expect("a kind").clone();
                shape.insert(self.0.random_range(0..=shape.len()), (name.to_owned(), kind));
            }
        }
        shape
    }

    /// A line that mostly has this shape.
    fn line(&mut self, shape: &[(String, DataType)], (comma, colon): (&str, &str)) -> Vec<u8> {
        let mut shape = shape.to_vec();
        match self.0.random_range(0..40) {
            0 => shape.shuffle(&mut self.0),
            1..3 => drop((!shape.is_empty()).then(|| shape.remove(self.0.random_range(0..shape.len())))),
            3 => shape.retain(|_| self.0.random()),
            4 => shape.extend_from_within(..),
            _ => {}
        }
        let mut line = self.object(&shape, comma, colon).into_bytes();
        match self.0.random_range(0..60) {
            0 => line.clear(),
            1 => line.truncate(self.0.random_range(0..=line.len())),
            2 => line.extend_from_slice(b" junk"),
            3 => line.push(b'\r'),
            4 => line.insert(0, b' '),
            5..9 => {
                for _ in 0..self.0.random_range(1..4) {
                    let at = self.0.random_range(0..line.len());
                    let byte = *b"\"\\{}[]:,'ntfNI+-.eE019u \t\r\xff\xc3\x00".choose(&mut self.0).expect("a byte");
                    match self.0.random_range(0..3) {
                        0 => line[at] = byte,
                        1 => line.insert(at, byte),
                        _ if line.len() > 1 => drop(line.remove(at)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        line
    }

    fn filter(&mut self, schema: &Schema) -> Vec<Condition> {
        use Comparison::*;
        let literals = [
            Literal::Integer(self.0.random_range(-5..100)),
            Literal::Double(*[0.0, -0.0, 1.5, f64::NAN, f64::INFINITY].choose(&mut self.0).expect("a number")),
            Literal::String(self.pick(&["", "a", "Z"]).into()),
            Literal::Boolean(self.0.random()),
        ];
        let count = self.0.random_range(0..3);
        let columns: Vec<usize> = (0..count).map(|_| self.0.random_range(0..schema.fields().len())).collect();
        let condition = |column: usize| {
            let comparison = *[Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual].choose(&mut self.0).expect("one");
            let literal = literals.iter().find(|literal| literal.fits(schema.field(column).data_type()));
            let test = literal.map_or(Test::NotNull, |literal| Test::Compare(comparison, literal.clone()));
            Condition { column, test }
        };
        columns.into_iter().map(condition).collect()
    }
}

#[test]
fn guessing_gives_what_the_strict_parser_gives() {
    let schema = with_corrupt(&every_type());
    for seed in 0..80 {
        let mut lines = Lines(StdRng::seed_from_u64(seed));
        let mut one = request(schema.clone());
        if lines.0.random() {
            one.projection.shuffle(&mut lines.0);
            one.projection.truncate(lines.0.random_range(0..8));
            one.metadata = vec![MetadataColumn::Position];
        }
        one.filter = lines.filter(&schema);
        one.on_malformed = if lines.one_in(3) { OnMalformed::Drop } else { OnMalformed::Permissive };
        one.limits.json_depth_max = if lines.one_in(5) { 2 } else { 64 };
        let style = *[(",", ":"), (", ", ": "), (" ,\t", " : "), (",  ", ":")].choose(&mut lines.0).expect("a style");
        let shapes: Vec<_> = (0..lines.0.random_range(1..4)).map(|_| lines.shape(&schema)).collect();
        let (mut text, mut cuts) = (Vec::new(), Vec::new());
        for nth in 0..200 {
            let shape = if lines.one_in(10) { &shapes[nth % shapes.len()] } else { &shapes[nth / 70 % shapes.len()] };
            text.extend(lines.line(shape, style).into_iter().filter(|byte| *byte != b'\n'));
            text.push(b'\n');
            if lines.one_in(30) {
                cuts.push(text.len());
            }
        }
        check(&one, &text, &cuts, &format!("seed {seed}"));
    }
}

#[test]
fn every_case_of_the_table_is_the_same_among_lines_of_one_shape() {
    let schema = with_corrupt(&every_type());
    for case in cases() {
        let line = case["line"].as_str().expect("a line");
        let padding = "{\"b\":\"so that the lines before it are far enough from the end of the chunk, which is left to the strict parser\"}\n";
        let first = format!("{line}\n{line}\n{line}\n{padding}");
        check(&request(schema.clone()), format!("{first}{first}{first}").as_bytes(), &[first.len(), 2 * first.len()], line);
    }
}

#[test]
fn a_field_that_only_some_lines_have_is_null_in_the_others() {
    let schema =
        Arc::new(Schema::new(vec![field("a", DataType::Int32), field("b", DataType::Utf8), field("l", list(DataType::Int32))]));
    let full = "{\"a\":1,\"b\":\"x\",\"l\":[1],\"z\":{\"b\":\"no\",\"l\":[9]}}\n".repeat(64);
    let rest =
        "{\"a\":2,\"l\":[2],\"z\":{\"b\":\"no\",\"l\":[9]}}\n{\"a\":3,\"z\":{\"l\":[9]}}\n{\"z\":{\"b\":\"no\",\"l\":[9]}}\n{}\n"
            .repeat(40);
    check(&request(schema), format!("{full}{rest}{full}").as_bytes(), &[], "missing fields");
}

#[test]
fn fields_of_one_name_are_left_to_the_strict_parser() {
    let schema =
        Arc::new(Schema::new(vec![field("a", DataType::Int32), field("a", DataType::Int32), field("b", DataType::Int32)]));
    let text = "{\"a\":1,\"b\":2}\n{\"b\":1,\"a\":2}\n{\"a\":1,\"a\":2}\n".repeat(100);
    check(&request(schema), text.as_bytes(), &[], "two fields of one name");
}
