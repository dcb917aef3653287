//! What goes between the engine and a worker: frames of a length, a letter, the number of a call and what belongs to it.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Deserialize;
use tokio_util::codec::LengthDelimitedCodec;

use crate::function::{CallError, CallErrorKind};

/// Bytes of a letter and a call's number.
const HEAD: usize = 9;

/// What a worker says.
#[derive(Debug)]
pub(super) enum Told {
    /// It has started.
    Ready,
    /// The function cannot be called, for this reason.
    Failed(String),
    /// What a call answers, as an Arrow stream.
    Answer(u64, Bytes),
    /// A call that failed.
    Error(u64, CallError),
    /// A call that was cancelled has ended.
    Cancelled(u64),
    /// A line for the log.
    Log(LogLine),
}

/// A line for the log.
#[derive(Debug, Deserialize)]
pub(super) struct LogLine {
    /// As Python counts: 10 is debug, 20 info.
    pub(super) level: i64,
    pub(super) logger: String,
    pub(super) message: String,
    /// The call during which it was written, if it was during one.
    pub(super) query: Option<String>,
    pub(super) batch: Option<u64>,
    pub(super) chunk: Option<u64>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    kind: String,
    message: String,
}

/// Cuts what a worker says into frames of at most so many bytes.
pub(super) fn codec(frame_bytes_max: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_length(4)
        .max_frame_length(frame_bytes_max.saturating_add(HEAD))
        .new_codec()
}

/// The frame that sets a worker up.
pub(super) fn setup(payload: &[u8]) -> Bytes {
    frame(b'S', 0, payload)
}

/// The frame of a call.
pub(super) fn call(number: u64, payload: &[u8]) -> Bytes {
    frame(b'C', number, payload)
}

/// The frame that cancels a call.
pub(super) fn cancel(number: u64) -> Bytes {
    frame(b'X', number, &[])
}

fn frame(kind: u8, number: u64, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(4 + HEAD + payload.len());
    frame.put_u32_le(u32::try_from(HEAD + payload.len()).expect("what is sent was measured"));
    frame.put_u8(kind);
    frame.put_u64_le(number);
    frame.put_slice(payload);
    frame.freeze()
}

impl Told {
    /// What a frame says; `None` if it is none of a worker's.
    pub(super) fn read(mut frame: BytesMut) -> Option<Self> {
        if frame.len() < HEAD {
            return None;
        }
        let (kind, number) = (frame.get_u8(), frame.get_u64_le());
        Some(match kind {
            b'R' => Self::Ready,
            b'F' => Self::Failed(serde_json::from_slice::<Failure>(&frame).ok()?.message),
            b'A' => Self::Answer(number, frame.freeze()),
            b'E' => {
                let failure: Failure = serde_json::from_slice(&frame).ok()?;
                let kind = match failure.kind.as_str() {
                    "unavailable" => CallErrorKind::Unavailable,
                    "rejected" => CallErrorKind::Rejected,
                    "bad_answer" => CallErrorKind::BadAnswer,
                    _ => return None,
                };
                Self::Error(number, CallError::new(kind, failure.message))
            }
            b'D' => Self::Cancelled(number),
            b'L' => Self::Log(serde_json::from_slice(&frame).ok()?),
            _ => return None,
        })
    }
}

/// How long a worker may take to end a call that was cancelled. One that does not is busy with something that never awaits.
pub(super) const GRACE: Duration = Duration::from_secs(2);
