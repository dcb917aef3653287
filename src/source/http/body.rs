//! A request's body: how it is unpacked and what of it are lines.

use std::io::Read;

use axum::http::{HeaderMap, header};
use flate2::read::MultiGzDecoder;

use crate::source::LineEnd;
use crate::source::ingest::RequestKey;
use crate::source::lines::{LastReturn, LineSplitter};

/// How many times its packed size a body may have. Deflate gets to a thousand with nothing but zeros, rows stay far below.
const RATIO_MAX: usize = 100;
/// A body may always unpack to so many bytes.
const UNPACKED_MIN: usize = 64 << 10;
/// Longest key of a request, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// Names a request, so that it can be sent again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What it holds is not what it says, or its headers are wrong.
    Bad(&'static str),
    /// It went to another path.
    Elsewhere,
    /// It is no POST.
    NotPosted,
    /// It did not arrive in time.
    Slow,
    /// It, or a line of it, is too large.
    TooLarge(String),
    /// It is packed in a way that we do not know.
    Packed,
    /// Its key was that of another.
    OtherLines,
    /// There is no room for it in the log.
    Full,
    /// There is no room for it in memory.
    TooMany,
    /// Its lines did not get to the disk so far.
    Unwritten,
}

/// What a request's headers say about its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) is_gzip: bool,
    pub(super) key: Option<Vec<u8>>,
}

impl Head {
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
        let is_gzip = match (encodings.next().map(|value| value.as_bytes().trim_ascii()), encodings.next()) {
            (None, _) => false,
            (Some(one), None) if one.is_empty() || one.eq_ignore_ascii_case(b"identity") => false,
            (Some(one), None) if one.eq_ignore_ascii_case(b"gzip") || one.eq_ignore_ascii_case(b"x-gzip") => true,
            _ => return Err(Refusal::Packed),
        };
        let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
        let key = match (keys.next().map(|value| value.as_bytes()), keys.next()) {
            (None, _) => None,
            (Some(key), None) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Some(key.to_vec()),
            _ => return Err(Refusal::Bad("expected one Idempotency-Key of 1 to 255 bytes")),
        };
        Ok(Self { is_gzip, key })
    }
}

/// The lines of a request, ready for the log.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    pub(super) key: Option<RequestKey>,
}

/// How many bytes a packed body may unpack to.
pub(super) fn unpacked_max(packed: usize, request_bytes_max: usize) -> usize {
    packed.saturating_mul(RATIO_MAX).max(UNPACKED_MIN).min(request_bytes_max)
}

/// Unpacks and checks a body.
pub(super) fn lines(head: &Head, body: Vec<u8>, request_bytes_max: usize, line_bytes_max: usize) -> Result<Lines, Refusal> {
    let mut bytes = if head.is_gzip { unpack(&body, unpacked_max(body.len(), request_bytes_max))? } else { body };
    let key = head.key.as_ref().map(|key| RequestKey::new(key, &bytes));
    let mut splitter = LineSplitter::new(line_bytes_max, LastReturn::Waits);
    let mut pieces = Vec::new();
    let done = splitter.split(&mut bytes, &mut pieces);
    splitter.finish(&mut bytes[done..], LineEnd::Clean, &mut pieces);
    if pieces.iter().any(|piece| piece.end == LineEnd::TooLong) {
        return Err(Refusal::TooLarge(format!("a line is longer than {line_bytes_max} bytes (limits.line)")));
    }
    Ok(Lines { bytes, key })
}

fn unpack(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(packed).take(bytes_max as u64 + 1).read_to_end(&mut unpacked);
    if unpacked.len() > bytes_max {
        return Err(Refusal::TooLarge(format!("the body unpacks to more than {bytes_max} bytes")));
    }
    read.map_err(|_| Refusal::Bad("the body is no whole gzip stream"))?;
    Ok(unpacked)
}
