//! The elements of many rows below one another, and the evaluation of a body for them.
//!
//! What a body reads of the row is repeated for each of the row's elements. So that memory does not grow with them, that is done for
//! a bounded number of elements and bytes at a time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, RecordBatchOptions, UInt32Array, new_empty_array};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::scalar::ScalarValue;

use super::super::collection::end_of;
use super::super::native::{from_arrow, repeated, within_column};
use crate::error::{Error, ErrorKind, Result, from_datafusion};

/// Elements that a body is evaluated for at once.
const ELEMENTS_MAX: usize = 64 * 1024;

/// Bytes that repeating the row's columns may take at once, unless it is for a single element.
const REPEATED_BYTES_MAX: usize = 16 << 20;

/// One invocation of a higher-order function.
pub(super) struct Input<'a> {
    /// How many rows the result has.
    pub rows: usize,
    /// The values, and whether one stands for all rows.
    pub values: &'a [(ArrayRef, bool)],
    /// The lambda functions.
    pub bodies: &'a [Evaluator<'a>],
    /// The result's type.
    pub returns: &'a DataType,
}

/// A column of the row that a body reads.
pub(super) enum Capture {
    Rows(ArrayRef),
    Constant(ScalarValue),
}

impl From<&ColumnarValue> for Capture {
    fn from(value: &ColumnarValue) -> Self {
        match value {
            ColumnarValue::Array(array) => Self::Rows(Arc::clone(array)),
            ColumnarValue::Scalar(scalar) => Self::Constant(scalar.clone()),
        }
    }
}

/// A body that can be evaluated.
pub(super) struct Evaluator<'a> {
    pub physical: &'a dyn PhysicalExpr,
    /// First the variables that it reads, then the captures.
    pub schema: &'a SchemaRef,
    /// Which variables it reads.
    pub read: &'a [usize],
    pub captures: Vec<&'a Capture>,
}

impl Evaluator<'_> {
    /// What the body reads of all rows.
    pub(super) fn of_all_rows(&self, rows: usize) -> Result<Vec<ArrayRef>> {
        let each = self.captures.iter().map(|capture| match capture {
            Capture::Rows(array) => Ok(Arc::clone(array)),
            Capture::Constant(value) => value.to_array_of_size(rows).map_err(internal),
        });
        each.collect()
    }

    /// What the body reads of these rows, one after the other.
    pub(super) fn of_rows(&self, rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
        let each = self.captures.iter().map(|capture| match capture {
            Capture::Rows(array) => take(array, rows, None).map_err(from_arrow),
            Capture::Constant(value) => value.to_array_of_size(rows.len()).map_err(internal),
        });
        each.collect()
    }

    /// The body's values for `count` elements; `captured` is from [`Evaluator::of_rows`], `variable` gives a variable's column.
    pub(super) fn run(
        &self,
        count: usize,
        captured: &[ArrayRef],
        mut variable: impl FnMut(usize) -> Result<ArrayRef>,
    ) -> Result<ArrayRef> {
        let mut columns = self.read.iter().map(|k| variable(*k)).collect::<Result<Vec<_>>>()?;
        columns.extend(captured.iter().cloned());
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(Arc::clone(self.schema), columns, &options).map_err(from_arrow)?;
        let values = self.physical.evaluate(&batch).map_err(|error| from_datafusion(error, ErrorKind::Data))?;
        match values {
            ColumnarValue::Array(values) => Ok(values),
            ColumnarValue::Scalar(value) => repeated(&value.to_array().map_err(internal)?, &UInt32Array::from_value(0, count)),
        }
    }

    /// The values for all of `elements` of all rows, chunk by chunk; `variable` gives a variable's column for a chunk.
    pub(super) fn each(
        &self,
        lengths: &[u32],
        mut variable: impl FnMut(usize, &Chunk<'_>) -> Result<ArrayRef>,
        mut done: impl FnMut(&Chunk<'_>, ArrayRef) -> Result<()>,
    ) -> Result<()> {
        for chunk in self.chunks(lengths) {
            let captured = if self.captures.is_empty() { Vec::new() } else { self.of_rows(&chunk.rows())? };
            let values = self.run(chunk.count, &captured, |k| variable(k, &chunk))?;
            done(&chunk, values)?;
        }
        Ok(())
    }

    /// [`Evaluator::each`], the values as one column of type `returns`.
    pub(super) fn all(
        &self,
        lengths: &[u32],
        returns: &DataType,
        variable: impl FnMut(usize, &Chunk<'_>) -> Result<ArrayRef>,
    ) -> Result<ArrayRef> {
        let (mut parts, mut bytes) = (Vec::new(), 0);
        self.each(lengths, variable, |_, values| {
            // What the parts take together, or they would be put together too late.
            let more = values.to_data().get_slice_memory_size().map_err(from_arrow)?;
            bytes = within_column(more.saturating_add(bytes))?;
            parts.push(values);
            Ok(())
        })?;
        joined(parts, returns)
    }

    fn chunks<'b>(&'b self, lengths: &'b [u32]) -> Chunks<'b> {
        Chunks { captures: &self.captures, lengths, row: 0, from: 0 }
    }

    /// Bytes that the captures of a row take.
    pub(super) fn weight(&self, row: usize) -> usize {
        weight(&self.captures, row)
    }
}

fn weight(captures: &[&Capture], row: usize) -> usize {
    let each = captures.iter().map(|capture| match capture {
        Capture::Rows(array) => bytes(array, row, row + 1),
        Capture::Constant(value) => value.size(),
    });
    each.sum()
}

/// Whether as many more elements, of so many bytes each, go into what is evaluated at once.
pub(super) fn fits(count: usize, bytes: usize, weight: usize) -> bool {
    count == 0 || (count < ELEMENTS_MAX && bytes.saturating_add(weight) <= REPEATED_BYTES_MAX)
}

/// About how many bytes the rows `from..to` take.
fn bytes(array: &dyn Array, from: usize, to: usize) -> usize {
    let offsets = |offsets: &[i32]| (offsets[from] as usize, offsets[to] as usize);
    match array.data_type() {
        DataType::Utf8 => {
            let (from, to) = offsets(array.as_string::<i32>().value_offsets());
            to - from
        }
        DataType::Binary => {
            let (from, to) = offsets(array.as_binary::<i32>().value_offsets());
            to - from
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (from, to) = offsets(list.value_offsets());
            bytes(list.values(), from, to)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (from, to) = offsets(map.value_offsets());
            bytes(map.entries(), from, to)
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(|column| bytes(column, from, to)).sum(),
        other => other.primitive_width().unwrap_or(1) * (to - from),
    }
}

/// Elements `from..to` of one row.
#[derive(Debug, Clone, Copy)]
struct Piece {
    row: u32,
    from: u32,
    to: u32,
}

/// Elements of some rows, in order.
pub(super) struct Chunk<'a> {
    /// How many elements each row has.
    lengths: &'a [u32],
    /// The first row, and which of its elements is the first.
    first: (usize, u32),
    /// The last row, and where its elements end.
    last: (usize, u32),
    /// How many elements.
    pub count: usize,
}

impl Chunk<'_> {
    fn pieces(&self) -> impl Iterator<Item = Piece> {
        (self.first.0..=self.last.0).map(|row| Piece {
            row: row as u32,
            from: if row == self.first.0 { self.first.1 } else { 0 },
            to: if row == self.last.0 { self.last.1 } else { self.lengths[row] },
        })
    }

    /// Per element, its row.
    pub(super) fn rows(&self) -> UInt32Array {
        let mut rows = Vec::with_capacity(self.count);
        for piece in self.pieces() {
            rows.resize(rows.len() + (piece.to - piece.from) as usize, piece.row);
        }
        rows.into()
    }

    /// Per element, its place in its row, from 0.
    pub(super) fn positions(&self) -> ArrayRef {
        let mut positions = Vec::with_capacity(self.count);
        for piece in self.pieces() {
            positions.extend(piece.from as i32..piece.to as i32);
        }
        Arc::new(Int32Array::from(positions))
    }

    /// Calls `with` with each element's row and place in its row.
    pub(super) fn for_each(&self, mut with: impl FnMut(usize, u32)) {
        for piece in self.pieces() {
            for position in piece.from..piece.to {
                with(piece.row as usize, position);
            }
        }
    }
}

struct Chunks<'a> {
    captures: &'a [&'a Capture],
    lengths: &'a [u32],
    row: usize,
    from: u32,
}

impl Chunks<'_> {
    /// How many more elements of the next row there is room for.
    fn room(&self, count: usize, bytes: &mut usize, left: u32) -> u32 {
        let mut room = ELEMENTS_MAX - count;
        if left > 0 && !self.captures.is_empty() {
            let weight = weight(self.captures, self.row);
            let fitting = REPEATED_BYTES_MAX.saturating_sub(*bytes).checked_div(weight).unwrap_or(usize::MAX);
            room = room.min(fitting).max(usize::from(count == 0));
            *bytes = bytes.saturating_add(weight.saturating_mul(room.min(left as usize)));
        }
        u32::try_from(room).unwrap_or(u32::MAX)
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let first = (self.row, self.from);
        let (mut last, mut count, mut bytes) = (first, 0, 0);
        while let Some(length) = self.lengths.get(self.row) {
            let left = length - self.from;
            let taken = left.min(self.room(count, &mut bytes, left));
            last = (self.row, self.from + taken);
            count += taken as usize;
            if taken < left {
                self.from += taken;
                break;
            }
            self.row += 1;
            self.from = 0;
        }
        (count > 0).then_some(Chunk { lengths: self.lengths, first, last, count })
    }
}

/// Which elements the lists or maps of a column have, row by row. A null row has none, whatever lies behind it.
pub(super) struct Elements<'a> {
    /// Where a row's elements begin in the column's values.
    offsets: &'a OffsetBuffer<i32>,
    /// Whether one value stands for all rows.
    constant: bool,
    /// Whether all that lies between the first and the last element is an element.
    compact: bool,
    /// How many a row has.
    pub lengths: Vec<u32>,
    /// Rows that are null.
    pub nulls: Option<NullBuffer>,
}

impl<'a> Elements<'a> {
    /// Of a LIST or MAP column, or of one value that stands for all of `rows`.
    pub(super) fn of((array, constant): &'a (ArrayRef, bool), rows: usize) -> Result<Self> {
        let offsets = match array.data_type() {
            DataType::List(_) => array.as_list::<i32>().offsets(),
            DataType::Map(..) => array.as_map().offsets(),
            other => return Err(Error::internal(format!("{other} has no elements"))),
        };
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        if *constant {
            let length = if nulls.is_some() { 0 } else { (offsets[1] - offsets[0]) as u32 };
            let nulls = nulls.map(|_| NullBuffer::new_null(rows));
            return Ok(Self { offsets, constant: true, compact: rows == 1, lengths: vec![length; rows], nulls });
        }
        let mut lengths: Vec<u32> = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as u32).collect();
        if let Some(nulls) = nulls {
            lengths.iter_mut().zip(nulls).filter(|(_, valid)| !valid).for_each(|(length, _)| *length = 0);
        }
        let total: usize = lengths.iter().map(|length| *length as usize).sum();
        let compact = total == (offsets[rows] - offsets[0]) as usize;
        Ok(Self { offsets, constant: false, compact, lengths, nulls: nulls.cloned() })
    }

    /// Where element `position` of a row is among the column's values.
    pub(super) fn index(&self, row: usize, position: u32) -> u32 {
        self.offsets[if self.constant { 0 } else { row }] as u32 + position
    }

    /// The elements of a chunk, made of these lengths, out of the column's `values`.
    pub(super) fn pick(&self, values: &ArrayRef, chunk: &Chunk<'_>) -> Result<ArrayRef> {
        if self.compact {
            let (row, position) = chunk.first;
            return Ok(values.slice(self.index(row, position) as usize, chunk.count));
        }
        let mut indices = Vec::with_capacity(chunk.count);
        chunk.for_each(|row, position| indices.push(self.index(row, position)));
        take(values, &UInt32Array::from(indices), None).map_err(from_arrow)
    }

    /// All elements of all rows, one after the other.
    pub(super) fn flattened(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let total: usize = self.lengths.iter().map(|length| *length as usize).sum();
        if self.compact {
            return Ok(values.slice(self.offsets[0] as usize, total));
        }
        let mut indices = Vec::with_capacity(total);
        for (row, length) in self.lengths.iter().enumerate() {
            let start = self.index(row, 0);
            indices.extend(start..start + length);
        }
        take(values, &UInt32Array::from(indices), None).map_err(from_arrow)
    }

    /// Offsets of lists of as many elements.
    pub(super) fn offsets(&self) -> Result<OffsetBuffer<i32>> {
        if self.compact && self.offsets[0] == 0 && self.offsets.len() == self.lengths.len() + 1 {
            return Ok(self.offsets.clone());
        }
        offsets(self.lengths.iter().copied())
    }
}

/// Offsets of lists of these lengths.
pub(super) fn offsets(lengths: impl IntoIterator<Item = u32>) -> Result<OffsetBuffer<i32>> {
    let mut end = 0_usize;
    let mut offsets = vec![0];
    for length in lengths {
        end = end.saturating_add(length as usize);
        offsets.push(end_of(end)?);
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
}

/// Parts of a column as one column.
pub(super) fn joined(parts: Vec<ArrayRef>, data_type: &DataType) -> Result<ArrayRef> {
    match parts.as_slice() {
        [] => Ok(new_empty_array(data_type)),
        [only] => Ok(Arc::clone(only)),
        more => concat(&more.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(from_arrow),
    }
}

pub(super) fn internal(error: datafusion::error::DataFusionError) -> Error {
    from_datafusion(error, ErrorKind::Internal)
}
