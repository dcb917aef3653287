//! State columns of no fixed width (texts, lists): pages of what was put together, never changed.
//!
//! A row here belongs to a slot of the page table, which knows its *place*. Rows that were replaced leave holes; small and sparse
//! pages are rewritten as larger ones, at a cost in proportion to what was put.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::compaction::{Compactor, PAGE_ROWS_MAX};

/// What a page costs beside its arrays.
const PAGE_OVERHEAD_BYTES: usize = 256;

/// Rows are not measured one by one in a page where they take no more than this on average.
const ROW_BYTES_SMALL: usize = 256;

/// Where a row is: its page, then its number in it.
pub(super) fn place_of(page: u32, row: usize) -> u64 {
    u64::from(page) << 32 | row as u64
}

fn page_of(place: u64) -> u32 {
    (place >> 32) as u32
}

/// Rows that were put or rewritten together.
#[derive(Debug)]
pub(super) struct LogPage {
    columns: Vec<ArrayRef>,
    /// The slot of each row when it was written.
    slots: Vec<u32>,
    /// Tells this page from an earlier one under the same number.
    pub(super) serial: u64,
    /// Rows that are some slot's.
    pub(super) live: usize,
    pub(super) bytes: usize,
    /// Bytes of each row; none if rows are so small that their number tells enough.
    sizes: Vec<u32>,
    /// How many that were at first, and how many of them are of rows that are no slot's any more.
    sizes_all: usize,
    sizes_dead: usize,
    pub(super) in_sparse: bool,
}

impl LogPage {
    pub(super) fn rows(&self) -> usize {
        self.slots.len()
    }

    /// Whether less than half of it is alive, by rows or by bytes: one large row among small ones must not be kept for them.
    pub(super) fn is_sparse(&self) -> bool {
        self.live * 2 < self.rows() || self.sizes_dead * 2 > self.sizes_all
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Log {
    fields: Vec<FieldRef>,
    pages: Vec<Option<LogPage>>,
    free: Vec<u32>,
    bytes: usize,
    serial: u64,
    compactor: Compactor,
}

impl Log {
    /// An empty log of the columns `fields`.
    pub(super) fn new(fields: Vec<FieldRef>) -> Self {
        Self { fields, pages: Vec::new(), free: Vec::new(), bytes: 0, serial: 0, compactor: Compactor::default() }
    }

    /// Bytes that [`Self::append`] will take for these columns.
    pub(super) fn memory_for(columns: &[ArrayRef]) -> usize {
        let shown = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(0) + 1024;
        columns.iter().map(shown).sum::<usize>() + columns.first().map_or(0, |column| column.len() * size_of::<u32>())
    }

    /// Adds rows for `slots`; the places they get.
    pub(super) fn append(&mut self, columns: &[ArrayRef], slots: &[u32]) -> Result<Vec<u64>, ArrowError> {
        let mut places = Vec::with_capacity(slots.len());
        for start in (0..slots.len()).step_by(PAGE_ROWS_MAX) {
            let length = PAGE_ROWS_MAX.min(slots.len() - start);
            let part = columns.iter().map(|column| own(&column.slice(start, length))).collect::<Result<_, _>>()?;
            let page = self.insert(part, slots[start..start + length].to_vec());
            places.extend((0..length).map(|row| place_of(page, row)));
        }
        Ok(places)
    }

    fn insert(&mut self, columns: Vec<ArrayRef>, slots: Vec<u32>) -> u32 {
        self.serial += 1;
        let arrays = columns.iter().map(|column| column.get_array_memory_size()).sum::<usize>();
        let bytes = arrays + slots.len() * size_of::<u32>() + PAGE_OVERHEAD_BYTES;
        let sizes = if arrays > ROW_BYTES_SMALL * slots.len() { row_sizes(&columns, slots.len()) } else { Vec::new() };
        let bytes = bytes + sizes.len() * size_of::<u32>();
        let sizes_all = sizes.iter().map(|size| *size as usize).sum();
        let (serial, live) = (self.serial, slots.len());
        let page = LogPage { columns, live, slots, serial, bytes, sizes, sizes_all, sizes_dead: 0, in_sparse: false };
        self.bytes += bytes;
        match self.free.pop() {
            Some(number) => {
                self.pages[number as usize] = Some(page);
                number
            }
            None => {
                self.pages.push(Some(page));
                self.pages.len() as u32 - 1
            }
        }
    }

    /// The rows that [`Self::append`] put at `places` have come to stay.
    pub(super) fn keep(&mut self, places: &[u64]) {
        self.compactor.earn(places.len());
        for place in places.iter().filter(|place| **place as u32 == 0) {
            if let Some(page) = &self.pages[page_of(*place) as usize] {
                self.compactor.added(page_of(*place), page);
            }
        }
    }

    /// The rows that [`Self::append`] put at `places` were never there.
    pub(super) fn forget(&mut self, places: &[u64]) {
        for place in places.iter().filter(|place| **place as u32 == 0) {
            self.drop_page(page_of(*place));
        }
    }

    /// Rows that no slot names any more.
    pub(super) fn release(&mut self, places: &[u64]) {
        for place in places {
            let number = page_of(*place);
            let Some(page) = &mut self.pages[number as usize] else { continue };
            page.live -= 1;
            page.sizes_dead += page.sizes.get(*place as u32 as usize).map_or(0, |size| *size as usize);
            if page.live == 0 {
                self.drop_page(number);
            } else {
                self.compactor.thinned(number, page);
            }
        }
    }

    /// The columns of the rows at `places`.
    pub(super) fn get(&self, places: &[u64]) -> Result<Vec<ArrayRef>, ArrowError> {
        gather(&self.fields, |number| self.pages[number as usize].as_ref().map(|page| page.columns.as_slice()), places)
    }

    /// The pages to rewrite next, as slots and places of all their rows, dead ones included; `None` when there are none.
    pub(super) fn next_rewrite(&mut self) -> Option<Rewrite> {
        let pages = self.compactor.next(&self.pages)?;
        let mut rewrite = Rewrite { slots: Vec::new(), places: Vec::new(), pages };
        for number in &rewrite.pages {
            let Some(page) = &self.pages[*number as usize] else { continue };
            rewrite.slots.extend_from_slice(&page.slots);
            rewrite.places.extend((0..page.rows()).map(|row| place_of(*number, row)));
        }
        Some(rewrite)
    }

    /// Writes the rows at `places` of `slots` as one page in the place of `pages`; their new places.
    pub(super) fn rewrite(&mut self, pages: &[u32], slots: Vec<u32>, places: &[u64]) -> Result<Vec<u64>, ArrowError> {
        let columns = self.get(places)?;
        for page in pages {
            self.drop_page(*page);
        }
        if slots.is_empty() {
            return Ok(Vec::new());
        }
        let rows = slots.len();
        let number = self.insert(columns, slots);
        if let Some(page) = &self.pages[number as usize] {
            self.compactor.added(number, page);
        }
        Ok((0..rows).map(|row| place_of(number, row)).collect())
    }

    /// The row at `place` is now that of another slot.
    pub(super) fn moved(&mut self, place: u64, slot: u32) {
        if let Some(page) = &mut self.pages[page_of(place) as usize] {
            page.slots[place as u32 as usize] = slot;
        }
    }

    /// The arrays as they are now.
    pub(super) fn freeze(&self) -> FrozenLog {
        let pages = self.pages.iter().map(|page| page.as_ref().map(|page| page.columns.clone()));
        FrozenLog { fields: self.fields.clone(), pages: pages.collect() }
    }

    /// Memory held.
    pub(super) fn memory(&self) -> usize {
        self.bytes
    }

    fn drop_page(&mut self, number: u32) {
        if let Some(page) = self.pages[number as usize].take() {
            self.bytes -= page.bytes;
            self.free.push(number);
        }
    }
}

/// What [`Log::next_rewrite`] chose.
pub(super) struct Rewrite {
    pub(super) slots: Vec<u32>,
    pub(super) places: Vec<u64>,
    pub(super) pages: Vec<u32>,
}

/// A log as it was at one moment.
pub(super) struct FrozenLog {
    fields: Vec<FieldRef>,
    pages: Vec<Option<Vec<ArrayRef>>>,
}

impl FrozenLog {
    /// The columns of the rows at `places`.
    pub(super) fn get(&self, places: &[u64]) -> Result<Vec<ArrayRef>, ArrowError> {
        gather(&self.fields, |number| self.pages[number as usize].as_deref(), places)
    }
}

fn gather<'a>(
    fields: &[FieldRef],
    columns_of: impl Fn(u32) -> Option<&'a [ArrayRef]>,
    places: &[u64],
) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut sources: HashMap<u32, usize> = HashMap::new();
    let mut pages: Vec<&[ArrayRef]> = Vec::new();
    let mut indices = Vec::with_capacity(places.len());
    for place in places {
        let source = match sources.entry(page_of(*place)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let missing = || ArrowError::InvalidArgumentError("a state row has no page".to_owned());
                pages.push(columns_of(*new.key()).ok_or_else(missing)?);
                *new.insert(pages.len() - 1)
            }
        };
        indices.push((source, *place as u32 as usize));
    }
    let column = |(at, field): (usize, &FieldRef)| {
        if pages.is_empty() {
            return Ok(arrow::array::new_empty_array(field.data_type()));
        }
        let sources: Vec<&dyn Array> = pages.iter().map(|columns| columns[at].as_ref()).collect();
        interleave(&sources, &indices)
    };
    fields.iter().enumerate().map(column).collect()
}

/// Bytes of each row of the columns, about.
fn row_sizes(columns: &[ArrayRef], rows: usize) -> Vec<u32> {
    let size = |row: usize| columns.iter().map(|column| bytes_of(column.as_ref(), row, row + 1)).sum::<usize>();
    (0..rows).map(|row| size(row).try_into().unwrap_or(u32::MAX)).collect()
}

/// Bytes that the rows from `start` to `end` take, about.
fn bytes_of(array: &dyn Array, start: usize, end: usize) -> usize {
    let span = |offsets: &[i32]| (offsets[start] as usize, offsets[end] as usize);
    let own = (end - start) * size_of::<u32>();
    match array.data_type() {
        DataType::Utf8 => {
            let (from, to) = span(array.as_string::<i32>().value_offsets());
            own + to - from
        }
        DataType::Binary => {
            let (from, to) = span(array.as_binary::<i32>().value_offsets());
            own + to - from
        }
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let (from, to) = span(lists.value_offsets());
            own + bytes_of(lists.values().as_ref(), from, to)
        }
        DataType::Map(..) => {
            let maps = array.as_map();
            let (from, to) = span(maps.value_offsets());
            own + bytes_of(maps.entries(), from, to)
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(|column| bytes_of(column.as_ref(), start, end)).sum(),
        other => (end - start) * other.primitive_width().unwrap_or(1),
    }
}

/// Copies an array that keeps much more memory alive than it shows, such as a slice or a column of an IPC message.
fn own(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let shown = array.to_data().get_slice_memory_size()?;
    if array.get_array_memory_size() > 2 * shown + 1024 {
        take(array, &UInt32Array::from_iter_values(0..array.len() as u32), None)
    } else {
        Ok(array.clone())
    }
}
