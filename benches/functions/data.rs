//! The rows that functions are called over: made up by a seed, one value in ten null, one name in five not ASCII.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use tidemill::format::json::{ValueOptions, decode_values};
use tidemill::plan::spark::types::parse_schema;

/// Rows of a batch, as sources hand them on.
const BATCH_ROWS: usize = 8192;

const SCHEMA: &str = "one INT, k INT, i INT, n BIGINT, d DOUBLE, c DECIMAL(12,2), b BOOLEAN, name STRING, t STRING, csv STRING, \
     digits STRING, dt DATE, ts TIMESTAMP, day STRING, time STRING, j STRING, url STRING, a ARRAY<INT>, l ARRAY<STRING>, \
     m MAP<STRING,INT>, st STRUCT<x:INT,y:STRING>";

const NAMES: [&str; 10] = [
    "Anna Berg",
    "Jürgen Müller",
    "John Smith",
    "maria LOPEZ",
    "Zoë Ångström",
    "Ivan Petrov",
    "Li Wei",
    "Omar Haddad",
    "Eve",
    "bob stone",
];
const WORDS: [&str; 16] = [
    "the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "river", "mill", "tide", "grain", "stone", "wheel", "naïve",
    "water",
];
const HOSTS: [&str; 4] = ["shop.example.com", "www.example.org", "example.net:8080", "api.example.com"];

/// `count` rows, in batches.
pub(crate) fn rows(count: usize) -> Result<Vec<RecordBatch>, Box<dyn std::error::Error>> {
    let schema = Arc::new(parse_schema(SCHEMA)?);
    let mut random = Random(7);
    let mut batches = Vec::new();
    let mut left = count;
    while left > 0 {
        let lines: StringArray = (0..left.min(BATCH_ROWS)).map(|_| Some(line(&mut random))).collect();
        let decoded = decode_values(&lines, &DataType::Struct(schema.fields().clone()), &ValueOptions::default())?;
        batches.push(RecordBatch::try_new(schema.clone(), decoded.as_struct().columns().to_vec())?);
        left -= lines.len();
    }
    Ok(batches)
}

/// One row as a line of JSON.
fn line(random: &mut Random) -> String {
    let mut line = format!("{{\"one\":1,\"k\":{}", random.below(10_000));
    let mut put = |random: &mut Random, name: &str, value: &dyn Fn(&mut Random) -> String| {
        if random.below(10) > 0 {
            let _ = write!(line, ",\"{name}\":{}", value(random));
        }
    };
    put(random, "i", &|r| (r.below(2000) as i64 - 1000).to_string());
    put(random, "n", &|r| (r.below(2_000_000_000_000) as i64 - 1_000_000_000_000).to_string());
    put(random, "d", &|r| format!("{}.{:03}", r.below(100_000), r.below(1000)));
    put(random, "c", &|r| format!("{}.{:02}", r.below(1_000_000), r.below(100)));
    put(random, "b", &|r| (r.below(2) == 0).to_string());
    put(random, "name", &|r| format!("\"{}\"", NAMES[r.below(10) as usize]));
    put(random, "t", &|r| {
        let count = 6 + r.below(6);
        format!("\" {} \"", words(r, count, " "))
    });
    put(random, "csv", &|r| format!("\"{}\"", words(r, 5, ",")));
    put(random, "digits", &|r| format!("\"{}\"", r.below(10_000_000)));
    put(random, "dt", &|r| format!("\"{}\"", day(r)));
    put(random, "ts", &|r| format!("\"{}T{}.{:06}Z\"", day(r), clock(r), r.below(1_000_000)));
    put(random, "day", &|r| format!("\"{}\"", day(r)));
    put(random, "time", &|r| format!("\"{} {}\"", day(r), clock(r)));
    put(random, "j", &|r| {
        let (id, score) = (r.below(100_000), r.below(1000));
        format!(
            r#""{{\"user\":{{\"id\":{id},\"name\":\"{}\"}},\"tags\":[\"a\",\"b\",{score}],\"score\":{score}.5,\"ok\":true}}""#,
            NAMES[r.below(10) as usize]
        )
    });
    put(random, "url", &|r| {
        format!("\"https://{}/a/{}?id={}&q=x%20y#top\"", HOSTS[r.below(4) as usize], WORDS[r.below(14) as usize], r.below(1000))
    });
    put(random, "a", &|r| list(r, &|r| if r.below(10) > 0 { r.below(100).to_string() } else { "null".to_owned() }));
    put(random, "l", &|r| list(r, &|r| format!("\"{}\"", WORDS[r.below(16) as usize])));
    put(random, "m", &|r| format!("{{\"k\":{},\"{}\":{}}}", r.below(100), WORDS[r.below(16) as usize], r.below(100)));
    put(random, "st", &|r| format!("{{\"x\":{},\"y\":\"{}\"}}", r.below(100), NAMES[r.below(10) as usize]));
    line.push('}');
    line
}

fn words(random: &mut Random, count: u64, between: &str) -> String {
    (0..count).map(|_| WORDS[random.below(16) as usize]).collect::<Vec<_>>().join(between)
}

fn day(random: &mut Random) -> String {
    format!("{}-{:02}-{:02}", 2000 + random.below(30), 1 + random.below(12), 1 + random.below(28))
}

fn clock(random: &mut Random) -> String {
    format!("{:02}:{:02}:{:02}", random.below(24), random.below(60), random.below(60))
}

/// Up to nine elements.
fn list(random: &mut Random, element: &dyn Fn(&mut Random) -> String) -> String {
    let count = random.below(10);
    format!("[{}]", (0..count).map(|_| element(random)).collect::<Vec<_>>().join(","))
}

/// A generator of numbers that any bench can afford (splitmix64).
struct Random(u64);

impl Random {
    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
