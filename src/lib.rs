//! Tidemill: Spark Structured Streaming's model in one native binary.
//!
//! The life of a micro-batch: a *trigger* fires, each *source* says how far it may be read, the ranges are *planned* in the
//! checkpoint log, the rows are read and *decoded*, the *plan* runs over them with its *state*, the output is staged and the batch
//! *prepared*: decided. Then each *sink* commits it, the batch is *committed*, and the sources may forget what was read.

pub mod error;
pub mod clock;
pub mod pipeline;
pub mod kafka;
pub mod redis;
pub mod source;
pub mod format;
pub mod plan;
pub mod function;
pub mod operator;
pub mod watermark;
pub mod state;
pub mod sink;
pub mod checkpoint;
pub mod engine;
pub mod maintenance;
pub mod session;
pub mod metrics;
mod procfs;
pub mod service;
pub mod shutdown;

pub use error::{Attempt, Error, ErrorKind, Result};
