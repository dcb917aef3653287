//! A record of the ingest log: lines of one connection that arrived together, with where they came from and when.
//!
//! ```text
//! tag 4 | crc 4 | payload length 4 | rows 4 | first row 8 | received at 8 | durable to 8 | end 1 | origin length 1 | origin | key | payload
//! ```
//! The key of a request is there (32 bytes) when the highest bit of `end` says so.
//! All little-endian. The checksum begins from the log session's secret and the record's position, and the tag is part of the
//! secret, so neither bytes that a client made up nor a record in the wrong place can pass for one.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::keys::RequestKey;
use crate::source::LineEnd;

const FIXED: usize = 42;
/// Bytes of the mark that says up to where the log was durable when it was written.
pub(super) const MARK: usize = 16;
/// Longest origin in bytes; connections have at most 60.
const ORIGIN_MAX: usize = u8::MAX as usize;
/// In the byte that says how the last line ends: a request's key follows the origin.
const HAS_KEY: u8 = 0x80;

/// What makes the records of one opening of a log tell from any other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Secret(pub(super) u64);

impl Secret {
    fn tag(self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        // Never what an unwritten part of a segment holds.
        [a | 1, b, c, d]
    }

    fn mark_tag(self) -> [u8; 4] {
        let [.., a, b, c, d] = self.0.to_le_bytes();
        [a & !1, b | 1, c, d]
    }

    fn checksum(self, position: u64, bytes: &[u8]) -> u32 {
        let seed = crc32c::crc32c_append(crc32c::crc32c(&self.0.to_le_bytes()), &position.to_le_bytes());
        crc32c::crc32c_append(seed, bytes)
    }
}

/// What is logged about lines beside their bytes.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) origin: Arc<str>,
    pub(super) received_at_us: i64,
    pub(super) rows: u32,
    /// Rows in the log before this record.
    pub(super) first_row: u64,
    /// The log was durable up to here when the record was made.
    pub(super) durable_to: u64,
    pub(super) end: LineEnd,
    /// The request that brought them, if it is to be known again.
    pub(super) request: Option<RequestKey>,
}

/// A record with its place in the log.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) position: u64,
    pub(super) about: About,
    /// Header, origin, key and payload.
    pub(super) bytes: Bytes,
}

impl Record {
    /// Length that a record will have.
    pub(super) fn length(origin: &str, payload: &[u8], request: Option<&RequestKey>) -> usize {
        FIXED + origin.len().min(ORIGIN_MAX) + request.map_or(0, |_| RequestKey::BYTES) + payload.len()
    }

    /// Appends a record to `block` and splits it off.
    pub(super) fn encode(secret: Secret, position: u64, about: About, payload: &[u8], block: &mut BytesMut) -> Self {
        let origin = &about.origin.as_bytes()[..about.origin.len().min(ORIGIN_MAX)];
        let start = block.len();
        block.put_slice(&secret.tag());
        block.put_u32_le(0);
        block.put_u32_le(u32::try_from(payload.len()).expect("lines are cut at a limit far below 4 GiB"));
        block.put_u32_le(about.rows);
        block.put_u64_le(about.first_row);
        block.put_i64_le(about.received_at_us);
        block.put_u64_le(about.durable_to);
        block.put_u8(end_to_u8(about.end) | if about.request.is_some() { HAS_KEY } else { 0 });
        block.put_u8(u8::try_from(origin.len()).unwrap_or(u8::MAX));
        block.put_slice(origin);
        if let Some(request) = about.request {
            block.put_slice(&request.to_bytes());
        }
        block.put_slice(payload);
        let checksum = secret.checksum(position, &block[start + 8..]);
        block[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
        Self { position, about, bytes: block.split().freeze() }
    }

    /// The record at the front of `bytes`.
    pub(super) fn decode(secret: Secret, position: u64, bytes: &Bytes, known_origin: Option<&Arc<str>>) -> Decoded {
        let Some(header) = bytes.first_chunk::<FIXED>() else { return Decoded::Needs(FIXED) };
        if header[..4] != secret.tag() {
            return Decoded::Bad;
        }
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let origin_end = FIXED + usize::from(header[41]);
        let key_end = origin_end + key_length(header[40]);
        let Some(length) = usize::try_from(u32_at(8)).ok().and_then(|payload| payload.checked_add(key_end)) else {
            return Decoded::Bad;
        };
        if bytes.len() < length {
            return Decoded::Needs(length);
        }
        if secret.checksum(position, &bytes[8..length]) != u32_at(4) {
            return Decoded::Bad;
        }
        let (Ok(origin), Some(end)) = (std::str::from_utf8(&bytes[FIXED..origin_end]), end_from_u8(header[40] & !HAS_KEY)) else {
            return Decoded::Bad;
        };
        let origin = known_origin.filter(|known| known.as_ref() == origin).cloned().unwrap_or_else(|| origin.into());
        let about = About {
            origin,
            received_at_us: i64::from_le_bytes(u64_at(24).to_le_bytes()),
            rows: u32_at(12),
            first_row: u64_at(16),
            durable_to: u64_at(32),
            end,
            request: bytes[origin_end..key_end].first_chunk().map(RequestKey::from_bytes),
        };
        Decoded::Record(Self { position, about, bytes: bytes.slice(..length) })
    }

    /// Position one past the record.
    pub(super) fn end(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }

    /// The lines.
    pub(super) fn payload(&self) -> Bytes {
        self.bytes.slice(self.header_len()..)
    }

    /// Position of the first byte of the lines.
    pub(super) fn payload_position(&self) -> u64 {
        self.position + self.header_len() as u64
    }

    fn header_len(&self) -> usize {
        FIXED + usize::from(self.bytes[41]) + key_length(self.bytes[40])
    }
}

/// What stands at a place of the log.
#[derive(Debug)]
pub(super) enum Decoded {
    Record(Record),
    /// That many bytes are needed to tell.
    Needs(usize),
    /// No record of this log.
    Bad,
}

/// A mark written behind the last record after it was synced, until the next record takes its place.
pub(super) fn encode_mark(secret: Secret, position: u64) -> [u8; MARK] {
    let mut mark = [0; MARK];
    mark[..4].copy_from_slice(&secret.mark_tag());
    mark[4..8].copy_from_slice(&secret.checksum(position, &secret.mark_tag()).to_le_bytes());
    mark[8..].copy_from_slice(&position.to_le_bytes());
    mark
}

/// Up to where any record or mark in `bytes`, the first byte of which is at `position`, says that the log was durable.
pub(super) fn durable_anywhere(secret: Secret, position: u64, bytes: &Bytes) -> u64 {
    let mut durable_to = 0;
    for at in memchr::memmem::find_iter(bytes, &secret.tag()) {
        if let Decoded::Record(record) = Record::decode(secret, position + at as u64, &bytes.slice(at..), None) {
            durable_to = durable_to.max(record.about.durable_to);
        }
    }
    for at in memchr::memmem::find_iter(bytes, &secret.mark_tag()) {
        let here = position + at as u64;
        if bytes[at..].starts_with(&encode_mark(secret, here)) {
            durable_to = durable_to.max(here);
        }
    }
    durable_to
}

/// Bytes of the request's key in a record with this byte at its place.
fn key_length(end: u8) -> usize {
    if end & HAS_KEY == 0 { 0 } else { RequestKey::BYTES }
}

fn end_to_u8(end: LineEnd) -> u8 {
    match end {
        LineEnd::Clean => 0,
        LineEnd::Truncated => 1,
        LineEnd::TooLong => 2,
    }
}

fn end_from_u8(byte: u8) -> Option<LineEnd> {
    [LineEnd::Clean, LineEnd::Truncated, LineEnd::TooLong].into_iter().find(|end| end_to_u8(*end) == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(position: u64) -> Record {
        let about = About {
            origin: "127.0.0.1:5#1".into(),
            received_at_us: -5,
            rows: 2,
            first_row: 1 << 40,
            durable_to: 70,
            end: LineEnd::TooLong,
            request: None,
        };
        Record::encode(Secret(0x0123_4567_89AB_CDEF), position, about, b"one\ntwo\n", &mut BytesMut::new())
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let written = record(99);
        assert_eq!(written.bytes.len(), Record::length("127.0.0.1:5#1", b"one\ntwo\n", None));
        let Decoded::Record(read) = Record::decode(Secret(0x0123_4567_89AB_CDEF), 99, &written.bytes, None) else {
            panic!("a record");
        };
        assert_eq!(format!("{read:?}"), format!("{written:?}"));
        assert_eq!((&read.payload()[..], read.payload_position()), (&b"one\ntwo\n"[..], 99 + 42 + 13));
    }

    #[test]
    fn a_requests_key_comes_back_with_its_lines() {
        let secret = Secret(7);
        let request = RequestKey::new(b"key", b"one\n");
        let about = About { request: Some(request), ..record(99).about };
        let written = Record::encode(secret, 5, about, b"one\n", &mut BytesMut::new());
        assert_eq!(written.bytes.len(), Record::length("127.0.0.1:5#1", b"one\n", Some(&request)));
        let Decoded::Record(read) = Record::decode(secret, 5, &written.bytes, None) else { panic!("a record") };
        assert_eq!(format!("{read:?}"), format!("{written:?}"));
        assert_eq!((&read.payload()[..], read.payload_position()), (&b"one\n"[..], 5 + 42 + 13 + 32));
        assert!(matches!(Record::decode(secret, 5, &written.bytes.slice(..60), None), Decoded::Needs(_)));
    }

    #[test]
    fn no_damage_and_no_other_place_passes() {
        let written = record(99);
        let secret = Secret(0x0123_4567_89AB_CDEF);
        for at in 0..written.bytes.len() {
            let mut damaged = written.bytes.to_vec();
            damaged[at] ^= 4;
            assert!(!matches!(Record::decode(secret, 99, &damaged.into(), None), Decoded::Record(_)), "byte {at}");
            assert!(matches!(Record::decode(secret, 99, &written.bytes.slice(..at), None), Decoded::Needs(_)));
        }
        assert!(matches!(Record::decode(secret, 98, &written.bytes, None), Decoded::Bad));
        assert!(matches!(Record::decode(Secret(0x1123_4567_89AB_CDEF), 99, &written.bytes, None), Decoded::Bad));
    }

    #[test]
    fn marks_and_records_prove_what_was_durable() {
        let secret = Secret(0x0123_4567_89AB_CDEF);
        let mut bytes = b"....".to_vec();
        bytes.extend_from_slice(&record(104).bytes);
        assert_eq!(durable_anywhere(secret, 100, &bytes.clone().into()), 70);
        let mark_at = 100 + bytes.len() as u64;
        bytes.extend_from_slice(&encode_mark(secret, mark_at));
        assert_eq!(durable_anywhere(secret, 100, &bytes.clone().into()), mark_at);
        assert_eq!(durable_anywhere(secret, 101, &bytes.into()), 0);
    }
}
