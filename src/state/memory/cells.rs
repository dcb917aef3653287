//! State columns of fixed width: one value per row of a page, changed in place.
//!
//! Values are kept by width, not by type: what a column means is known to whoever reads it as an Arrow array. A row is addressed by
//! its *slot*, the number of its page followed by its number within the page.

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, IntervalUnit, i256};
use arrow::error::ArrowError;

/// Bits of a slot that number the row within its page.
const ROW_BITS: u32 = 12;
/// Rows of a full page: a column of 8-byte values takes 32 KiB, little enough to be copied for one changed row.
pub(super) const PAGE_ROWS: usize = 1 << ROW_BITS;
/// Pages that slots can name: the largest number of all is no slot.
pub(super) const PAGES_MAX: usize = (1 << (u32::BITS - ROW_BITS)) - 1;

/// The slot of a row.
pub(super) fn slot_of(page: usize, row: usize) -> u32 {
    (page as u32) << ROW_BITS | row as u32
}

/// The page of a slot.
pub(super) fn page_of(slot: u32) -> usize {
    (slot >> ROW_BITS) as usize
}

/// The row of a slot within its page.
pub(super) fn row_of(slot: u32) -> usize {
    slot as usize & (PAGE_ROWS - 1)
}

/// Values of one column in one page.
#[derive(Debug, Clone)]
enum Values {
    W1(Vec<u8>),
    W2(Vec<u16>),
    W4(Vec<u32>),
    W8(Vec<u64>),
    W16(Vec<i128>),
    W32(Vec<i256>),
}

/// Calls `$do` with the vector inside a [`Values`].
macro_rules! each_width {
    ($values:expr, $vector:ident => $do:expr) => {
        match $values {
            Values::W1($vector) => $do,
            Values::W2($vector) => $do,
            Values::W4($vector) => $do,
            Values::W8($vector) => $do,
            Values::W16($vector) => $do,
            Values::W32($vector) => $do,
        }
    };
}

/// A type that stands for all types of its width.
trait Cell: ArrowNativeType {
    fn of(values: &Values) -> &[Self];
    fn of_mut(values: &mut Values) -> &mut [Self];
}

macro_rules! cell {
    ($($native:ty => $width:ident),*) => {$(
        impl Cell for $native {
            fn of(values: &Values) -> &[Self] {
                match values {
                    Values::$width(values) => values,
                    _ => unreachable!("a column keeps its width"),
                }
            }
            fn of_mut(values: &mut Values) -> &mut [Self] {
                match values {
                    Values::$width(values) => values,
                    _ => unreachable!("a column keeps its width"),
                }
            }
        }
    )*};
}

cell!(u8 => W1, u16 => W2, u32 => W4, u64 => W8, i128 => W16, i256 => W32);

/// Bytes per value of a type that is kept here; `None` for types of no fixed width.
pub(super) fn width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(1),
        // Structures of several numbers: their arrays are not aligned as one number of that width would be.
        DataType::Interval(IntervalUnit::DayTime | IntervalUnit::MonthDayNano) => None,
        other => other.primitive_width(),
    }
}

/// One column of one page.
#[derive(Debug, Clone)]
struct Column {
    values: Values,
    /// One per row, 0 for null; empty as long as none was.
    valid: Vec<u8>,
}

/// The columns of fixed width of one page, and which of its rows are dead.
#[derive(Debug, Clone, Default)]
pub(super) struct Cells {
    columns: Vec<Column>,
    rows: usize,
    /// A bit per row that was removed; empty as long as none was.
    dead: Vec<u64>,
}

impl Cells {
    /// No rows of columns that are `widths` bytes wide.
    pub(super) fn new(widths: &[usize]) -> Self {
        let values = |width: &usize| match width {
            1 => Values::W1(Vec::new()),
            2 => Values::W2(Vec::new()),
            4 => Values::W4(Vec::new()),
            8 => Values::W8(Vec::new()),
            16 => Values::W16(Vec::new()),
            _ => Values::W32(Vec::new()),
        };
        let columns = widths.iter().map(|width| Column { values: values(width), valid: Vec::new() });
        Self { columns: columns.collect(), rows: 0, dead: Vec::new() }
    }

    /// Cuts it off or fills it up with zeros, so that there are `rows` rows.
    pub(super) fn resize(&mut self, rows: usize) {
        if rows == self.rows {
            return;
        }
        for Column { values, valid } in &mut self.columns {
            each_width!(values, values => values.resize(rows, Default::default()));
            if !valid.is_empty() {
                valid.resize(rows, 1);
            }
        }
        self.rows = rows;
    }

    pub(super) fn is_dead(&self, row: usize) -> bool {
        self.dead.get(row / 64).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    pub(super) fn set_dead(&mut self, row: usize, is_dead: bool) {
        if self.dead.is_empty() {
            self.dead = vec![0; PAGE_ROWS / 64];
        }
        let bit = 1 << (row % 64);
        let word = &mut self.dead[row / 64];
        *word = if is_dead { *word | bit } else { *word & !bit };
    }

    /// The value at `row` of a column of 8-byte values.
    pub(super) fn word(&self, column: usize, row: usize) -> Option<u64> {
        u64::of(&self.columns[column].values).get(row).copied()
    }

    /// Memory held.
    pub(super) fn memory(&self) -> usize {
        let column = |column: &Column| {
            let values = each_width!(&column.values, values => values.capacity() * size_of_val(&values[..1.min(values.len())]));
            values + column.valid.capacity() + size_of::<Column>()
        };
        self.columns.iter().map(column).sum::<usize>() + self.dead.capacity() * 8
    }
}

/// Sets `column` at `slots` to the values of `array`, in order. `pages` holds at least the pages of the slots.
pub(super) fn scatter(
    pages: &mut [Option<&mut Cells>],
    column: usize,
    slots: &[u32],
    array: &dyn Array,
) -> Result<(), ArrowError> {
    if let Some(booleans) = array.as_boolean_opt() {
        let bytes: Vec<u8> = booleans.values().iter().map(u8::from).collect();
        scatter_values(pages, column, slots, &bytes);
    } else {
        let data = array.to_data();
        match width(array.data_type()) {
            Some(1) => scatter_values::<u8>(pages, column, slots, values_of(&data)),
            Some(2) => scatter_values::<u16>(pages, column, slots, values_of(&data)),
            Some(4) => scatter_values::<u32>(pages, column, slots, values_of(&data)),
            Some(8) => scatter_values::<u64>(pages, column, slots, values_of(&data)),
            Some(16) => scatter_values::<i128>(pages, column, slots, values_of(&data)),
            Some(32) => scatter_values::<i256>(pages, column, slots, values_of(&data)),
            _ => return Err(ArrowError::InvalidArgumentError(format!("{} has no fixed width", array.data_type()))),
        }
    }
    scatter_validity(pages, column, slots, array.nulls().filter(|nulls| nulls.null_count() > 0));
    Ok(())
}

fn values_of<T: Cell>(data: &ArrayData) -> &[T] {
    &data.buffers()[0].typed_data::<T>()[data.offset()..data.offset() + data.len()]
}

fn scatter_values<T: Cell>(pages: &mut [Option<&mut Cells>], column: usize, slots: &[u32], values: &[T]) {
    let mut targets: Vec<&mut [T]> = pages.iter_mut().map(|page| values_mut(page, column)).collect();
    for (slot, value) in slots.iter().zip(values) {
        targets[page_of(*slot)][row_of(*slot)] = *value;
    }
}

fn values_mut<'a, T: Cell>(page: &'a mut Option<&mut Cells>, column: usize) -> &'a mut [T] {
    page.as_mut().map_or(&mut [], |cells| T::of_mut(&mut cells.columns[column].values))
}

fn scatter_validity(pages: &mut [Option<&mut Cells>], column: usize, slots: &[u32], nulls: Option<&NullBuffer>) {
    let mut has_any = false;
    for cells in pages.iter_mut().flatten() {
        let (rows, valid) = (cells.rows, &mut cells.columns[column].valid);
        if nulls.is_some() {
            valid.resize(rows, 1);
        }
        has_any |= !valid.is_empty();
    }
    if !has_any {
        return;
    }
    let valid = |page: &mut Option<&mut Cells>| page.as_mut().map(|cells| std::mem::take(&mut cells.columns[column].valid));
    let mut targets: Vec<Vec<u8>> = pages.iter_mut().map(|page| valid(page).unwrap_or_default()).collect();
    for (position, slot) in slots.iter().enumerate() {
        // A page without nulls stays without.
        if let Some(cell) = targets[page_of(*slot)].get_mut(row_of(*slot)) {
            *cell = u8::from(nulls.is_none_or(|nulls| nulls.is_valid(position)));
        }
    }
    for (page, valid) in pages.iter_mut().zip(targets) {
        if let Some(cells) = page {
            cells.columns[column].valid = valid;
        }
    }
}

/// The values of `column` at `slots`, as an array of `data_type`. `pages` holds at least the pages of the slots.
pub(super) fn gather(
    pages: &[Option<&Cells>],
    column: usize,
    slots: &[u32],
    data_type: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let nulls = gather_validity(pages, column, slots);
    let values = match (data_type, width(data_type)) {
        (DataType::Boolean, _) => {
            let bytes = gather_values::<u8>(pages, column, slots);
            BooleanBuffer::collect_bool(bytes.len(), |row| bytes[row] != 0).into_inner()
        }
        (_, Some(1)) => Buffer::from_vec(gather_values::<u8>(pages, column, slots)),
        (_, Some(2)) => Buffer::from_vec(gather_values::<u16>(pages, column, slots)),
        (_, Some(4)) => Buffer::from_vec(gather_values::<u32>(pages, column, slots)),
        (_, Some(8)) => Buffer::from_vec(gather_values::<u64>(pages, column, slots)),
        (_, Some(16)) => Buffer::from_vec(gather_values::<i128>(pages, column, slots)),
        (_, Some(32)) => Buffer::from_vec(gather_values::<i256>(pages, column, slots)),
        _ => return Err(ArrowError::InvalidArgumentError(format!("{data_type} has no fixed width"))),
    };
    let data = ArrayData::builder(data_type.clone()).len(slots.len()).add_buffer(values).nulls(nulls);
    data.build().map(make_array)
}

fn gather_values<T: Cell>(pages: &[Option<&Cells>], column: usize, slots: &[u32]) -> Vec<T> {
    let sources: Vec<&[T]> =
        pages.iter().map(|page| page.map_or(&[][..], |cells| T::of(&cells.columns[column].values))).collect();
    slots.iter().map(|slot| sources[page_of(*slot)][row_of(*slot)]).collect()
}

fn gather_validity(pages: &[Option<&Cells>], column: usize, slots: &[u32]) -> Option<NullBuffer> {
    let sources: Vec<&[u8]> = pages.iter().map(|page| page.map_or(&[][..], |cells| &cells.columns[column].valid)).collect();
    if sources.iter().all(|valid| valid.is_empty()) {
        return None;
    }
    let is_valid = |position: usize| {
        let slot = slots[position];
        sources[page_of(slot)].get(row_of(slot)).is_none_or(|valid| *valid != 0)
    };
    Some(NullBuffer::new(BooleanBuffer::collect_bool(slots.len(), is_valid))).filter(|nulls| nulls.null_count() > 0)
}
