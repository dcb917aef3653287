//! Card transactions as JSON lines, for Tidemill's demo, tests and benchmarks.
//!
//! [`Transactions`] makes the lines; [`write_to`] paces them into anything that takes bytes; [`serve()`] listens and gives every
//! client a stream of its own, from its first line; [`send()`] makes them messages of a Kafka topic.

// A producer at a set rate waits; the rule against waiting is the engine's.
#![allow(clippy::disallowed_methods)]

mod options;
mod transactions;
mod pace;
mod serve;
mod kafka;

pub use kafka::{Topic, send};
pub use options::{Amounts, Options};
pub use pace::write_to;
pub use serve::{connect, serve};
pub use transactions::{Line, NAMED_USERS_MAX, Transactions};
