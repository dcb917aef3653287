//! Integration tests, one binary: each test binary links all of DataFusion.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod values;
mod functions;
mod recovery;
mod session;
mod docs;
mod parity;
mod tidy;
mod bad_input;
mod binary;
mod cli;
mod examples;
mod kill;
mod service;
