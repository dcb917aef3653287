//! One step of a batch as bytes in the log.
//!
//! A frame carries its own position, the checksum of the frame before it and how far the log was durable when it was written, so
//! that a reader can tell a tail that a crash left unfinished from damage to what was safe.

use std::ops::Range;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An opening of the checkpoint; first in its segment.
    Epoch = 1,
    Planned = 2,
    Prepared = 3,
    Committed = 4,
    Snapshot = 5,
    /// Which segments are still needed, and what the others knew.
    Retained = 6,
    /// Another segment follows.
    Sealed = 7,
    /// A person has said where a sink stands.
    Accepted = 8,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Epoch,
        Self::Planned,
        Self::Prepared,
        Self::Committed,
        Self::Snapshot,
        Self::Retained,
        Self::Sealed,
        Self::Accepted,
    ];

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == code)
    }

    /// As `inspect` shows it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Planned => "planned",
            Self::Prepared => "prepared",
            Self::Committed => "committed",
            Self::Snapshot => "snapshot",
            Self::Retained => "retained",
            Self::Sealed => "sealed",
            Self::Accepted => "accepted",
        }
    }
}

/// Everything of a frame but its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: Kind,
    /// Checksum of the frame before, or of the segment's header.
    pub(super) previous_crc: u32,
    pub(super) batch: u64,
    pub(super) epoch: u64,
    /// Everything before this position was durable when the frame was written.
    pub(super) durable_upto: u64,
    /// Bytes of log before this frame, over all segments there ever were.
    pub(super) position: u64,
}

/// A frame found in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) head: FrameHead,
    /// The payload, as a range of the bytes that were given.
    pub(super) payload: Range<usize>,
    pub(super) crc: u32,
    /// Bytes up to the next frame.
    pub(super) stride: usize,
}

/// Bytes before the payload.
pub(super) const HEAD_BYTES: usize = 48;
const CRC_BYTES: usize = 4;
const ALIGN: usize = 8;
/// First bytes of every frame; a reader that lost its place looks for them.
pub(super) const MAGIC: [u8; 4] = *b"TMFr";

/// Bytes that a frame with that much payload takes in the log.
pub(super) fn stride(payload_bytes: usize) -> usize {
    (HEAD_BYTES + payload_bytes + CRC_BYTES).next_multiple_of(ALIGN)
}

/// The frame's bytes, and its checksum.
pub(super) fn encode(head: &FrameHead, payload: &[&[u8]]) -> (Vec<u8>, u32) {
    let payload_bytes: usize = payload.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(stride(payload_bytes));
    bytes.extend_from_slice(&MAGIC);
    let len = u32::try_from(HEAD_BYTES + payload_bytes + CRC_BYTES).expect("a frame is far below 4 GiB");
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&(head.kind as u32).to_le_bytes());
    bytes.extend_from_slice(&head.previous_crc.to_le_bytes());
    for field in [head.batch, head.epoch, head.durable_upto, head.position] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    for part in payload {
        bytes.extend_from_slice(part);
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.resize(stride(payload_bytes), 0);
    (bytes, crc)
}

/// The frame at `at`, if a whole and undamaged one stands there that was written for `position`.
pub(super) fn decode(bytes: &[u8], at: usize, position: u64) -> Option<Found> {
    let bytes = bytes.get(at..)?;
    if bytes.get(..4)? != MAGIC {
        return None;
    }
    let len = u32_at(bytes, 4)? as usize;
    // Checked before the checksum is computed over `len` bytes: a wrong place costs nothing.
    if u64_at(bytes, 40)? != position || len < HEAD_BYTES + CRC_BYTES || len > bytes.len() {
        return None;
    }
    let crc = u32_at(bytes, len - CRC_BYTES)?;
    if crc32c::crc32c(&bytes[..len - CRC_BYTES]) != crc {
        return None;
    }
    let head = FrameHead {
        kind: Kind::from_code(u32_at(bytes, 8)?)?,
        previous_crc: u32_at(bytes, 12)?,
        batch: u64_at(bytes, 16)?,
        epoch: u64_at(bytes, 24)?,
        durable_upto: u64_at(bytes, 32)?,
        position,
    };
    Some(Found { head, payload: at + HEAD_BYTES..at + len - CRC_BYTES, crc, stride: len.next_multiple_of(ALIGN) })
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
