//! Dates and timestamps as a function's options say they are written, where that is not the usual way.
//!
//! The patterns are Spark's and belong to its dialect; here they are functions.

use std::fmt;
use std::sync::Arc;

/// Reads a text: days since 1970 for a date, microseconds for a timestamp; `None` if it is none.
pub type ReadTime = Arc<dyn Fn(&str) -> Option<i64> + Send + Sync>;

/// Appends the text of a date (days since 1970) or timestamp (microseconds).
pub type WriteTime = Arc<dyn Fn(i64, &mut String) + Send + Sync>;

/// What to do with values of the three types; `None`: as usual.
#[derive(Clone)]
pub struct Times<F> {
    /// DATE.
    pub date: Option<F>,
    /// TIMESTAMP.
    pub timestamp: Option<F>,
    /// TIMESTAMP_NTZ.
    pub timestamp_ntz: Option<F>,
}

impl<F> Default for Times<F> {
    fn default() -> Self {
        Self { date: None, timestamp: None, timestamp_ntz: None }
    }
}

impl<F> fmt::Debug for Times<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = [&self.date, &self.timestamp, &self.timestamp_ntz].map(Option::is_some);
        f.debug_tuple("Times").field(&given).finish()
    }
}

/// The text read as given, or as usual.
pub(super) fn read(by: Option<&ReadTime>, text: &[u8], usual: impl FnOnce(&[u8]) -> Option<i64>) -> Option<i64> {
    match by {
        Some(by) => by(std::str::from_utf8(text).ok()?),
        None => usual(text),
    }
}

/// The time written as given, or as usual.
pub(super) fn write(by: Option<&WriteTime>, time: i64, out: &mut Vec<u8>, usual: impl FnOnce(&mut Vec<u8>)) {
    match by {
        Some(by) => {
            let mut text = String::new();
            by(time, &mut text);
            out.extend_from_slice(text.as_bytes());
        }
        None => usual(out),
    }
}
