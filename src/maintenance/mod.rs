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
