//! Integration tests, one binary: each test binary links all of DataFusion.

mod values;
mod recovery;
mod parity;
mod tidy;
