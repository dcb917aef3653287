//! The JSON decoder on one thread, from memory: as it is, and beside it the strict parser alone, in turns. Lines of one shape are what
//! the decoder hopes for; the other jobs show what it makes of lines that disappoint it.

use std::fmt::Write;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use tidemill::format::json::strict_decoder;
use tidemill::format::{DecodeRequest, Decoder, FormatOptions, LineLimits, OnMalformed, decoder};
use tidemill::plan::spark::types::parse_schema;
use tidemill::source::{LineChunk, LineEnd};

use crate::data::transactions;
use crate::measure::Figures;
use crate::throughput::COLUMNS;
use crate::{Bench, Outcome};

/// Rows of the shapes that are made up here.
const SHAPE_ROWS: u64 = 100_000;

/// Passes over the text, of which the fastest counts for each piece: others were interrupted.
const PASSES: usize = 12;

/// Bytes handed over at once.
const PIECE_BYTES: usize = 512 << 10;

/// Lines of one kind.
pub(crate) struct Shape {
    columns: &'static str,
    line: fn(&mut StdRng, u64, &mut String) -> std::fmt::Result,
}

/// 15 fields, of which four are declared.
pub(crate) const WIDE: Shape = Shape {
    columns: "id BIGINT, amount DOUBLE, currency STRING, created_at TIMESTAMP",
    line: |rng, row, out| {
        write!(out, "{{\"event_type\":\"transaction.created\",\"id\":{row},\"tenant\":\"{}\",", word(rng))?;
        write!(
            out,
            "\"user_agent\":\"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0 Safari/537.36\",",
            rng.random_range(90..140)
        )?;
        write!(
            out,
            "\"ip\":\"10.{}.{}.7\",\"amount\":{},\"currency\":\"EUR\",",
            rng.random_range(0..255),
            rng.random_range(0..255),
            amount(rng)
        )?;
        write!(
            out,
            "\"merchant\":\"{} {} and partners\",\"category\":\"groceries\",\"approved\":{},",
            word(rng),
            word(rng),
            rng.random::<bool>()
        )?;
        write!(
            out,
            "\"created_at\":\"{}\",\"latitude\":{:.6},\"longitude\":{:.6},",
            time(rng),
            rng.random_range(-90.0..90.0),
            rng.random_range(-180.0..180.0)
        )?;
        write!(
            out,
            "\"description\":\"{}\",\"trace_id\":\"{:032x}\"}}",
            "payment of goods and services, as agreed; ".repeat(7),
            rng.random::<u128>()
        )
    },
};

/// Objects in objects.
pub(crate) const NESTED: Shape = Shape {
    columns: "id BIGINT, user STRUCT<name: STRING, address: STRUCT<city: STRING, zip: INT>>, amount DOUBLE, approved BOOLEAN",
    line: |rng, row, out| {
        write!(
            out,
            "{{\"id\":{row},\"user\":{{\"name\":\"{}\",\"address\":{{\"city\":\"{}\",\"zip\":{}}}}},",
            word(rng),
            word(rng),
            rng.random_range(10_000..99_999)
        )?;
        write!(out, "\"amount\":{},\"approved\":{}}}", amount(rng), rng.random::<bool>())
    },
};

/// Arrays of strings and numbers.
pub(crate) const ARRAYS: Shape = Shape {
    columns: "id BIGINT, tags ARRAY<STRING>, scores ARRAY<DOUBLE>, name STRING",
    line: |rng, row, out| {
        let tags: Vec<String> = (0..rng.random_range(0..5)).map(|_| format!("\"{}\"", word(rng))).collect();
        let scores: Vec<String> = (0..rng.random_range(1..5)).map(|_| amount(rng)).collect();
        write!(out, "{{\"id\":{row},\"tags\":[{}],\"scores\":[{}],\"name\":\"{}\"}}", tags.join(","), scores.join(","), word(rng))
    },
};

/// Three values in ten are null.
pub(crate) const NULLS: Shape =
    Shape { columns: COLUMNS, line: |rng, _, out| transaction(rng, out, |rng, _| rng.random_ratio(3, 10), |_| false) };

/// One key in ten is missing.
pub(crate) const MISSING: Shape =
    Shape { columns: COLUMNS, line: |rng, _, out| transaction(rng, out, |_, _| false, |rng| rng.random_ratio(1, 10)) };

/// The keys stand in another order on every line.
pub(crate) const REORDERED: Shape = Shape {
    columns: COLUMNS,
    line: |rng, _, out| {
        let mut members = members(rng);
        members.shuffle(rng);
        write!(out, "{{{}}}", members.join(", "))
    },
};

/// Two shapes take turns.
pub(crate) const ALTERNATING: Shape = Shape {
    columns: COLUMNS,
    line: |rng, row, out| {
        let mut members = members(rng);
        if row % 2 == 1 {
            members.reverse();
        }
        write!(out, "{{{}}}", members.join(", "))
    },
};

/// Text in other scripts.
pub(crate) const NON_ASCII: Shape = Shape {
    columns: COLUMNS,
    line: |rng, _, out| {
        let names = ["Žofie", "Łukasz", "Мария", "Ελένη", "さくら", "Zoë", "Jürgen", "Renée"];
        let mut members = members(rng);
        for (at, key) in ["name", "surname"].into_iter().enumerate() {
            members[at] = format!("\"{key}\": \"{}\"", names.choose(rng).unwrap_or(&"é"));
        }
        write!(out, "{{{}}}", members.join(", "))
    },
};

fn word(rng: &mut StdRng) -> &'static str {
    ["Andy", "Fisher", "Miller", "Berlin", "Rome", "harbour", "x", "Konstantinopel", "tea", "Montgomery"]
        .choose(rng)
        .unwrap_or(&"")
}

fn amount(rng: &mut StdRng) -> String {
    format!("{:.2}", rng.random_range(0.0..1000.0))
}

fn time(rng: &mut StdRng) -> String {
    let mut two = |end| rng.random_range(0..end);
    format!("2026-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", two(12) + 1, two(28) + 1, two(24), two(60), two(60), two(1000))
}

/// The members of a transaction in the order of the data set.
fn members(rng: &mut StdRng) -> [String; 5] {
    let names = [word(rng), word(rng)];
    [
        format!("\"name\": \"{}\"", names[0]),
        format!("\"surname\": \"{}\"", names[1]),
        format!("\"amount\": {}", amount(rng)),
        format!("\"delta_t\": {:.2}", rng.random_range(0.0..10.0)),
        format!("\"flag\": {}", u8::from(rng.random_ratio(1, 10))),
    ]
}

fn transaction(
    rng: &mut StdRng,
    out: &mut String,
    null: fn(&mut StdRng, usize) -> bool,
    missing: fn(&mut StdRng) -> bool,
) -> std::fmt::Result {
    let mut kept = Vec::new();
    for (at, mut member) in members(rng).into_iter().enumerate() {
        if null(rng, at) {
            member.truncate(member.find(": ").map_or(0, |colon| colon + 2));
            member.push_str("null");
        }
        if !missing(rng) {
            kept.push(member);
        }
    }
    write!(out, "{{{}}}", kept.join(", "))
}

/// All five columns of the data set.
pub(crate) fn data_set(bench: &Bench) -> Outcome {
    let folder = transactions(bench, 64)?;
    measure(COLUMNS, &Bytes::from(fs::read(folder.join("00.json"))?))
}

/// All columns of made-up lines.
pub(crate) fn shape(shape: &Shape) -> Outcome {
    let (mut rng, mut text) = (StdRng::seed_from_u64(1), String::new());
    for row in 0..SHAPE_ROWS {
        (shape.line)(&mut rng, row, &mut text)?;
        text.push('\n');
    }
    measure(shape.columns, &text.into())
}

fn measure(columns: &str, text: &Bytes) -> Outcome {
    let schema = Arc::new(parse_schema(columns)?);
    let request = DecodeRequest {
        projection: (0..schema.fields().len()).collect(),
        schema,
        metadata: Vec::new(),
        filter: Vec::new(),
        on_malformed: OnMalformed::Fail,
        keep_malformed: tidemill::format::KeepMalformed::None,
        source: "bench".into(),
        time_zone: "UTC".into(),
        limits: LineLimits::default(),
    };
    let mut usual = decoder(&FormatOptions::Json, request.clone())?;
    let mut strict = strict_decoder(request)?;
    let (mut wall, mut strict_wall, mut rows) = (Duration::ZERO, Duration::ZERO, 0);
    let mut start = 0;
    while start < text.len() {
        let cut = (start + PIECE_BYTES).min(text.len());
        let end = text[..cut].iter().rposition(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1);
        let piece = LineChunk {
            bytes: text.slice(start..end),
            origin: "bench".into(),
            position: start as u64,
            records: None,
            received_at_us: None,
            end: LineEnd::Clean,
        };
        let (mut fastest, mut strict_fastest) = (Duration::MAX, Duration::MAX);
        for pass in 0..PASSES {
            let (read, took) = decode(usual.as_mut(), &piece)?;
            fastest = fastest.min(took);
            strict_fastest = strict_fastest.min(decode(strict.as_mut(), &piece)?.1);
            rows += if pass == 0 { read } else { 0 };
        }
        (wall, strict_wall) = (wall + fastest, strict_wall + strict_fastest);
        start = end;
    }
    Ok(Figures {
        rows: Some(rows),
        bytes: Some(text.len() as u64),
        wall: Some(wall),
        cpu: Some(wall),
        strict: Some(strict_wall),
        ..Figures::default()
    })
}

/// Decodes one piece: how many rows it has, and how long that took.
fn decode(decoder: &mut dyn Decoder, piece: &LineChunk) -> Result<(u64, Duration), tidemill::Error> {
    let started = Instant::now();
    decoder.push(piece)?;
    let decoded = decoder.finish()?;
    Ok((decoded.lines_read, started.elapsed()))
}
