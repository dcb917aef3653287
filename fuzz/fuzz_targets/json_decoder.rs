//! Any bytes as JSON lines: guessing the lines' shape must give what the strict parser alone gives.
//!
//! The input is decoded in three chunks of the same bytes, so that what was learnt from one is used on the next.

#![no_main]

use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidemill::format::json::strict_decoder;
use tidemill::format::{DecodeRequest, Decoder, FormatOptions, LineLimits, OnMalformed, decoder};
use tidemill::source::{LineChunk, LineEnd};

/// A line that keeps what stands before it away from the end of the chunk, which is left to the strict parser.
const LAST: &str = "\n{\"s\":\"..................................................................................................\"}\n";

fn request(choice: u8) -> DecodeRequest {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let inner = DataType::Struct(vec![field("p", DataType::Int32), field("s", DataType::Utf8)].into());
    let schema = Schema::new(vec![
        field("s", DataType::Utf8),
        field("d", DataType::Float64),
        field("i", DataType::Int32),
        field("l", DataType::Int64),
        field("y", DataType::Int8),
        field("f", DataType::Boolean),
        field("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("n", inner),
        field("a", DataType::List(Arc::new(field("item", DataType::Float64)))),
        field("_corrupt_record", DataType::Utf8),
    ]);
    DecodeRequest {
        projection: (0..schema.fields().len()).filter(|at| choice & 0x80 != 0 || choice >> (at % 7) & 1 == 1).collect(),
        schema: Arc::new(schema),
        metadata: Vec::new(),
        filter: Vec::new(),
        on_malformed: if choice % 3 == 0 { OnMalformed::Drop } else { OnMalformed::Permissive },
        keep_malformed: tidemill::format::KeepMalformed::All,
        source: "fuzz".into(),
        time_zone: "UTC".into(),
        limits: LineLimits { json_depth_max: 4, ..LineLimits::default() },
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, lines)) = input.split_first() else { return };
    let bytes = Bytes::from([lines, LAST.as_bytes()].concat());
    let outcome = |mut decoder: Box<dyn Decoder>| {
        for position in 1..4 {
            let chunk =
                LineChunk { bytes: bytes.clone(), origin: "fuzz".into(), position, received_at_us: None, records: None, end: LineEnd::Clean };
            decoder.push(&chunk).expect("malformed lines are no error here");
        }
        let decoded = decoder.finish().expect("rows");
        let rows = concat_batches(&decoded.rows[0].schema(), &decoded.rows).expect("one schema");
        (rows, decoded.malformed, decoded.lines_read, decoded.lines_dropped)
    };
    let usual = outcome(decoder(&FormatOptions::Json, request(*choice)).expect("a decoder"));
    let strict = outcome(strict_decoder(request(*choice)).expect("a decoder"));
    assert_eq!(usual, strict);
});
