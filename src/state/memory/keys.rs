//! Keys as comparable bytes, and where they stand in a page.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int8Array};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

/// Turns key columns into comparable bytes and back.
#[derive(Debug)]
pub(super) struct KeyCodec {
    converter: RowConverter,
    unit: bool,
}

impl KeyCodec {
    pub(super) fn new(keys: &[FieldRef]) -> Result<Self, ArrowError> {
        // Without key columns there is one key; a constant column stands for it, since rows of no columns cannot be counted.
        let unit = keys.is_empty();
        let mut fields: Vec<_> = keys.iter().map(|k| SortField::new(k.data_type().clone())).collect();
        if unit {
            fields.push(SortField::new(DataType::Int8));
        }
        Ok(Self { converter: RowConverter::new(fields)?, unit })
    }

    pub(super) fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<Rows, ArrowError> {
        if self.unit {
            let unit: ArrayRef = Arc::new(Int8Array::from_value(0, rows));
            return self.converter.convert_columns(&[unit]);
        }
        self.converter.convert_columns(columns)
    }

    pub(super) fn decode<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, ArrowError> {
        if self.unit {
            return Ok(Vec::new());
        }
        let parser = self.converter.parser();
        self.converter.convert_rows(keys.map(|key| parser.parse(key)))
    }
}

/// The keys of one page, one behind the other.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyPage {
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl KeyPage {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.bytes[start..self.ends[row] as usize]
    }

    /// Whether one more key of `key_bytes` keeps the page below `bytes_max`. An empty page takes any key that it can address.
    pub(super) fn has_room(&self, key_bytes: usize, bytes_max: usize) -> bool {
        let bytes = self.bytes.len() + key_bytes;
        bytes <= bytes_max || (self.ends.is_empty() && u32::try_from(bytes).is_ok())
    }

    /// Adds a key there is room for.
    pub(super) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len() as u32);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    /// Gives back what was reserved for more keys.
    pub(super) fn shrink(&mut self) {
        self.ends.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    /// Memory held.
    pub(super) fn memory(&self) -> usize {
        self.ends.capacity() * size_of::<u32>() + self.bytes.capacity()
    }
}
