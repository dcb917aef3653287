//! What a person does with a checkpoint root while no process has it open, and with what lies beside it.
//!
//! The checkpoint knows logs and blobs but no offsets, the sources their own files but no log: what needs both is put together here.

mod accept;
mod copy;
mod offsets;
mod redrive;
mod verify;

pub use accept::{Acceptance, plan_accept};
pub use copy::{Copied, Copy, plan_copy};
pub use offsets::{Move, SourceOffset, Target, ask_kafka, offsets, plan_move};
pub use redrive::{Counts, Redrive, Redriving, plan_redrive};
pub use verify::{Verified, verify};

#[cfg(test)]
mod tests {
    //! What the tests of several commands start from.

    use crate::checkpoint::{BatchId, Checkpoint, PlannedBatch, PreparedBatch, StagedOutput};

    /// Batches 0, 1 and 2, each with these bytes as commit `n` of the sink `out`; the last one is committed only if `is_whole`.
    pub(super) fn run_three(mut checkpoint: Checkpoint, bytes: &[u8], is_whole: bool) {
        for n in 0..3 {
            let plan = PlannedBatch {
                batch: BatchId(n),
                batch_time_us: 7,
                sources: Default::default(),
                watermark_ms: 0,
                late_watermark_ms: 0,
                seed: 1,
            };
            checkpoint.planned(&plan).unwrap();
            let outputs = vec![StagedOutput { sink: "out".to_owned(), number: n, bytes: bytes.to_vec().into() }];
            let (summary, inputs) = (serde_json::Value::Null, Default::default());
            let prepared = PreparedBatch { batch: BatchId(n), outputs, state: Vec::new(), next_watermark_ms: 0, summary, inputs };
            checkpoint.prepared(&prepared).unwrap();
            if n < 2 || is_whole {
                checkpoint.committed(BatchId(n), serde_json::Value::Null).unwrap();
            }
        }
        checkpoint.sync().unwrap();
    }
}
