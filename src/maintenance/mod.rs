//! What a person does with a checkpoint root while no process has it open.
//!
//! The checkpoint knows logs and blobs but no offsets, the sources their own files but no log: what needs both is put together here.

mod offsets;
mod verify;

pub use offsets::{Move, SourceOffset, Target, offsets, plan_move};
pub use verify::{Verified, verify};
