//! The kernels of casts.

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;

use super::CastMode;
use crate::error::{Error, ErrorKind, Result};

/// Casts every value of `array`; `zone` is the time zone (IANA name) of values without one.
pub fn cast_array(array: &ArrayRef, to: &DataType, mode: CastMode, _zone: &str) -> Result<ArrayRef> {
    let options = CastOptions { safe: mode == CastMode::Try, ..CastOptions::default() };
    cast_with_options(array, to, &options)
        .map_err(|e| Error::spark(ErrorKind::Data, "CAST_INVALID_INPUT", format!("a value cannot be cast to {to}")).because(e))
}
