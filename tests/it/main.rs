//! Integration tests, one binary: each test binary links all of DataFusion.

// A test that cannot go on fails, and says on standard output what helps to repeat it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod values;
mod files;
mod functions;
mod function_peers;
mod recovery;
mod refresh;
mod session;
mod docs;
mod parity;
mod progress;
mod tidy;
mod watermarks;
mod bad_input;
mod binary;
mod cli;
mod event_time;
mod examples;
mod kill;
mod aggregates;
mod rolling;
mod service;
mod control;
mod operating;
mod page;
mod kafka;
mod redis;
mod http_server;
mod ingest;
mod intervals;
mod http_api;
mod http_scenarios;
mod objects;
mod security;
mod bounded_jobs;
mod python;
mod deploy;
mod monitoring;
mod load;
