//! One page of the log, and the encoding of its keys.

use arrow::array::{Array, ArrayRef, Int8Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use arrow::row::{Row, RowConverter, Rows, SortField};
use std::sync::Arc;

/// What a page costs beside its arrays and keys: its slot, its place in the lists of the compactor.
const PAGE_OVERHEAD_BYTES: usize = 256;

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

    pub(super) fn decode<'a>(&self, rows: impl IntoIterator<Item = Row<'a>>) -> Result<Vec<ArrayRef>, ArrowError> {
        if self.unit { Ok(Vec::new()) } else { self.converter.convert_rows(rows) }
    }

    pub(super) fn empty(&self, rows: usize, bytes: usize) -> Rows {
        self.converter.empty_rows(rows, bytes)
    }
}

/// Rows that were put together: encoded keys, state columns, and which of them are dead.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) keys: Rows,
    pub(super) state: Vec<ArrayRef>,
    /// Tells this page from an earlier one in the same slot.
    pub(super) serial: u64,
    pub(super) live: usize,
    pub(super) bytes: usize,
    pub(super) in_sparse: bool,
    /// A bit per row that was replaced or removed; empty as long as none was.
    dead: Vec<u64>,
}

impl Page {
    pub(super) fn new(keys: Rows, state: Vec<ArrayRef>, serial: u64) -> Result<Self, ArrowError> {
        let state = state.into_iter().map(own).collect::<Result<Vec<_>, _>>()?;
        let rows = keys.num_rows();
        let bytes = keys.size() + state.iter().map(|a| a.get_array_memory_size()).sum::<usize>() + rows / 8 + PAGE_OVERHEAD_BYTES;
        Ok(Self { keys, state, serial, live: rows, bytes, in_sparse: false, dead: Vec::new() })
    }

    pub(super) fn rows(&self) -> usize {
        self.keys.num_rows()
    }

    pub(super) fn kill(&mut self, row: u32) {
        if self.dead.is_empty() {
            self.dead = vec![0; self.keys.num_rows().div_ceil(64)];
        }
        let bit = 1 << (row % 64);
        let word = &mut self.dead[row as usize / 64];
        debug_assert_eq!(*word & bit, 0, "a row dies once");
        *word |= bit;
        self.live -= 1;
    }

    pub(super) fn is_dead(&self, row: u32) -> bool {
        self.dead.get(row as usize / 64).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }
}

/// Copies an array that keeps much more memory alive than it shows, such as a slice or a column of an IPC message.
fn own(array: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let shown = array.to_data().get_slice_memory_size()?;
    if array.get_array_memory_size() > 2 * shown + 1024 { copy(&array, 0, array.len()) } else { Ok(array) }
}

/// A copy of `length` rows from `start`.
pub(super) fn copy(array: &ArrayRef, start: usize, length: usize) -> Result<ArrayRef, ArrowError> {
    take(array, &UInt32Array::from_iter_values(start as u32..(start + length) as u32), None)
}
