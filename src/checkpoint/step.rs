//! What the frames of the log say, as types.
//!
//! A payload is a JSON head, followed for prepared batches and snapshots by the bytes that are small enough to be kept in the frame.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::frame::{Kind, u32_at};
use super::{BatchId, InputChecksum, PlannedBatch};

/// A step in the life of the query.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Epoch(EpochHead),
    Planned(PlannedBatch),
    Prepared(PreparedHead),
    Committed(CommittedHead),
    Snapshot(SnapshotHead),
    Retained(RetainedHead),
    Sealed,
    Accepted(AcceptedHead),
}

/// An opening of the checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochHead {
    /// Where the log of the epoch before ends.
    pub(super) previous_end: u64,
}

/// Where the bytes of an output, a state change or a snapshot are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Blob {
    pub(super) bytes: u64,
    pub(super) crc: u32,
    pub(super) place: Place,
}

/// Where a [`Blob`] is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// In the frame, so many bytes after its JSON.
    Inline(u64),
    /// In a file under the query's folder.
    File(String),
}

/// A batch is decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PreparedHead {
    pub(super) batch: BatchId,
    /// Unique per execution of the batch.
    pub(super) attempt: String,
    pub(super) outputs: Vec<OutputHead>,
    pub(super) state: Vec<StateHead>,
    pub(super) next_watermark_ms: i64,
    pub(super) summary: Value,
    pub(super) inputs: BTreeMap<String, InputChecksum>,
}

/// One staged output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OutputHead {
    pub(super) sink: String,
    pub(super) number: u64,
    pub(super) blob: Blob,
}

/// One state change: the roots before and after chain it to the version it changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StateHead {
    pub(super) operator: String,
    pub(super) parent: u64,
    pub(super) root: u64,
    pub(super) blob: Blob,
}

/// Every sink has the batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CommittedHead {
    pub(super) batch: BatchId,
    pub(super) receipts: Value,
}

/// An operator's whole state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SnapshotHead {
    pub(super) batch: BatchId,
    pub(super) operator: String,
    pub(super) root: u64,
    pub(super) blob: Blob,
}

/// Segments before `first_segment` may be gone; what of them is still needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RetainedHead {
    pub(super) first_segment: u64,
    /// The next commit number per sink.
    pub(super) sink_numbers: BTreeMap<String, u64>,
    /// What a person has said about sinks that have not committed since.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) accepted: BTreeMap<String, u64>,
}

/// A person says where a sink stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AcceptedHead {
    pub(super) sink: String,
    /// Commits below this one count as in, whatever the sink's mark is; it comes next.
    pub(super) number: u64,
}

impl Step {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Epoch(_) => Kind::Epoch,
            Self::Planned(_) => Kind::Planned,
            Self::Prepared(_) => Kind::Prepared,
            Self::Committed(_) => Kind::Committed,
            Self::Snapshot(_) => Kind::Snapshot,
            Self::Retained(_) => Kind::Retained,
            Self::Sealed => Kind::Sealed,
            Self::Accepted(_) => Kind::Accepted,
        }
    }

    /// The batch it is about; 0 where it is about none.
    pub(super) fn batch(&self) -> u64 {
        match self {
            Self::Planned(plan) => plan.batch.0,
            Self::Prepared(head) => head.batch.0,
            Self::Committed(head) => head.batch.0,
            Self::Snapshot(head) => head.batch.0,
            Self::Epoch(_) | Self::Retained(_) | Self::Sealed | Self::Accepted(_) => 0,
        }
    }

    /// The head as JSON: what a frame holds and `inspect` shows.
    pub(super) fn to_json(&self) -> Value {
        let json = match self {
            Self::Epoch(head) => serde_json::to_value(head),
            Self::Planned(plan) => serde_json::to_value(plan),
            Self::Prepared(head) => serde_json::to_value(head),
            Self::Committed(head) => serde_json::to_value(head),
            Self::Snapshot(head) => serde_json::to_value(head),
            Self::Retained(head) => serde_json::to_value(head),
            Self::Sealed => Ok(Value::Null),
            Self::Accepted(head) => serde_json::to_value(head),
        };
        json.expect("a step is plain data")
    }

    /// The payload up to where inline bytes begin.
    pub(super) fn encode(&self) -> Vec<u8> {
        let json = self.to_json().to_string();
        let mut bytes = Vec::with_capacity(4 + json.len());
        bytes.extend_from_slice(&u32::try_from(json.len()).expect("a step is far below 4 GiB").to_le_bytes());
        bytes.extend_from_slice(json.as_bytes());
        bytes
    }

    /// The step in a payload, and where its inline bytes begin; `None` if it is of another format.
    pub(super) fn decode(kind: Kind, payload: &[u8]) -> Option<(Self, usize)> {
        let end = 4 + u32_at(payload, 0)? as usize;
        let json = payload.get(4..end)?;
        let step = match kind {
            Kind::Epoch => serde_json::from_slice(json).map(Self::Epoch),
            Kind::Planned => serde_json::from_slice(json).map(Self::Planned),
            Kind::Prepared => serde_json::from_slice(json).map(Self::Prepared),
            Kind::Committed => serde_json::from_slice(json).map(Self::Committed),
            Kind::Snapshot => serde_json::from_slice(json).map(Self::Snapshot),
            Kind::Retained => serde_json::from_slice(json).map(Self::Retained),
            Kind::Sealed => Ok(Self::Sealed),
            Kind::Accepted => serde_json::from_slice(json).map(Self::Accepted),
        };
        Some((step.ok()?, end))
    }
}
