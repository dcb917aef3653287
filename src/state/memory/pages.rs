//! The table of pages: every key held has a row in one of them, which it keeps as long as it is held.
//!
//! Pages fill up one after another; a page is given back when all its keys are gone. What a snapshot still reads is shared with it
//! and copied, a page at a time, when the row of a page changes.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::cells::{Cells, PAGE_ROWS, PAGES_MAX, gather, page_of, row_of, scatter, slot_of};
use super::keys::KeyPage;
use crate::error::{Error, ErrorKind, Result};

/// A page takes no more keys once they are this long together.
const KEY_BYTES_MAX: usize = 8 << 20;

/// What a page costs beside its vectors.
const PAGE_OVERHEAD_BYTES: usize = 256;

/// One page. Both parts are shared with the snapshots that are being written.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) keys: Arc<KeyPage>,
    pub(super) cells: Arc<Cells>,
    /// Rows that are not dead.
    live: usize,
    /// Memory of both parts when it was last measured.
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pages {
    widths: Vec<usize>,
    pages: Vec<Option<Page>>,
    free: Vec<u32>,
    /// The page that takes new keys.
    open: Option<u32>,
    bytes: usize,
    /// Memory of what was copied because a snapshot still reads it.
    copied_bytes: usize,
    /// Held by every snapshot that is being written.
    pin: Arc<()>,
}

impl Pages {
    /// No pages; their columns are `widths` bytes wide.
    pub(super) fn new(widths: Vec<usize>) -> Self {
        let (pages, free, pin) = (Vec::new(), Vec::new(), Arc::new(()));
        Self { widths, pages, free, open: None, bytes: 0, copied_bytes: 0, pin }
    }

    pub(super) fn key(&self, slot: u32) -> &[u8] {
        self.page(page_of(slot)).keys.get(row_of(slot))
    }

    /// Puts a new key into a row of its own; its columns follow with [`Self::set`].
    pub(super) fn add(&mut self, key: &[u8]) -> Result<u32> {
        let has_room = |page: &Page| page.keys.len() < PAGE_ROWS && page.keys.has_room(key.len(), KEY_BYTES_MAX);
        let open = match self.open {
            Some(open) if has_room(self.page(open as usize)) => open,
            _ => self.open_page()?,
        };
        let page = self.pages[open as usize].as_mut().expect("the open page is there");
        if !has_room(page) {
            return Err(Error::new(ErrorKind::Limit, "a key of the state is larger than 4 GiB"));
        }
        let row = page.keys.len();
        Arc::make_mut(&mut page.keys).push(key);
        page.live += 1;
        Ok(slot_of(open as usize, row))
    }

    fn open_page(&mut self) -> Result<u32> {
        if let Some(full) = self.open.take()
            && let Some(page) = &mut self.pages[full as usize]
            && let Some(keys) = Arc::get_mut(&mut page.keys)
        {
            keys.shrink();
        }
        let page = Page { keys: Arc::default(), cells: Arc::new(Cells::new(&self.widths)), live: 0, bytes: 0 };
        let number = match self.free.pop() {
            Some(number) => {
                self.pages[number as usize] = Some(page);
                number
            }
            None if self.pages.len() < PAGES_MAX => {
                self.pages.push(Some(page));
                self.pages.len() as u32 - 1
            }
            None => return Err(Error::new(ErrorKind::Limit, "the state has too many keys")),
        };
        self.open = Some(number);
        Ok(number)
    }

    /// The page that takes new keys, to be given back to [`Self::undo_add`].
    pub(super) fn open(&self) -> Option<u32> {
        self.open
    }

    /// Takes the newest keys, `slots`, back, which were added when `open` was the open page.
    pub(super) fn undo_add(&mut self, slots: &[u32], open: Option<u32>) {
        for slot in slots.iter().rev() {
            let Some(page) = &mut self.pages[page_of(*slot)] else { continue };
            Arc::make_mut(&mut page.keys).truncate(row_of(*slot));
            page.live -= 1;
        }
        let mut emptied = None;
        for slot in slots {
            let number = page_of(*slot);
            if emptied.replace(number) == Some(number) {
                continue;
            }
            if self.pages[number].as_ref().is_some_and(|page| page.keys.len() == 0) {
                self.free(number);
            } else {
                self.measure(number);
            }
        }
        self.open = open.filter(|open| self.pages[*open as usize].is_some());
    }

    /// Sets all columns of `slots`, in order.
    pub(super) fn set(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<(), ArrowError> {
        self.change(slots, |cells| {
            columns.iter().enumerate().try_for_each(|(column, array)| scatter(cells, column, slots, array.as_ref()))
        })
    }

    /// Sets one column of `slots`.
    pub(super) fn set_one(&mut self, slots: &[u32], column: usize, array: &ArrayRef) -> Result<(), ArrowError> {
        self.change(slots, |cells| scatter(cells, column, slots, array.as_ref()))
    }

    /// Lets `work` change the pages of `slots`, which have cells for all their keys then.
    fn change<T>(&mut self, slots: &[u32], work: impl FnOnce(&mut [Option<&mut Cells>]) -> T) -> T {
        let mut touched = vec![false; self.pages.len()];
        for slot in slots {
            touched[page_of(*slot)] = true;
        }
        let mut cells = Vec::with_capacity(self.pages.len());
        for (page, is_touched) in self.pages.iter_mut().zip(&touched) {
            cells.push(match page {
                Some(page) if *is_touched => {
                    if Arc::get_mut(&mut page.cells).is_none() {
                        self.copied_bytes += page.bytes;
                    }
                    let rows = page.keys.len();
                    let cells = Arc::make_mut(&mut page.cells);
                    cells.resize(rows);
                    Some(cells)
                }
                _ => None,
            });
        }
        let done = work(&mut cells);
        drop(cells);
        for (number, _) in touched.iter().enumerate().filter(|(_, touched)| **touched) {
            self.measure(number);
        }
        done
    }

    /// Column `column` of `slots`.
    pub(super) fn get(&self, slots: &[u32], column: usize, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        let cells: Vec<_> = self.pages.iter().map(|page| page.as_ref().map(|page| page.cells.as_ref())).collect();
        gather(&cells, column, slots, data_type)
    }

    /// What a column of 8-byte values holds for a live row, if there is one at `slot`.
    pub(super) fn word(&self, slot: u32, column: usize) -> Option<u64> {
        let page = self.pages.get(page_of(slot))?.as_ref()?;
        let row = row_of(slot);
        if row >= page.keys.len() || page.cells.is_dead(row) { None } else { page.cells.word(column, row) }
    }

    /// Marks rows dead, or alive again.
    pub(super) fn set_dead(&mut self, slots: &[u32], is_dead: bool) {
        self.change(slots, |cells| {
            for slot in slots {
                if let Some(cells) = &mut cells[page_of(*slot)] {
                    cells.set_dead(row_of(*slot), is_dead);
                }
            }
        });
        for slot in slots {
            if let Some(page) = &mut self.pages[page_of(*slot)] {
                page.live = if is_dead { page.live - 1 } else { page.live + 1 };
            }
        }
    }

    /// Whether keeping the page of `slot` costs more than moving its live rows elsewhere.
    pub(super) fn is_sparse(&self, slot: u32) -> bool {
        let number = page_of(slot);
        let Some(page) = &self.pages[number] else { return false };
        page.live == 0 || (page.live * 2 < page.keys.len() && self.open != Some(number as u32))
    }

    /// The live rows of the page of `slot`.
    pub(super) fn live(&self, slot: u32) -> Vec<u32> {
        let page = self.page(page_of(slot));
        (0..page.keys.len()).filter(|row| !page.cells.is_dead(*row)).map(|row| slot_of(page_of(slot), row)).collect()
    }

    /// Gives the page of `slot` back, whose keys are gone or held elsewhere.
    pub(super) fn free_page_of(&mut self, slot: u32) {
        self.free(page_of(slot));
    }

    /// Everything held, as it is now: shared until it changes.
    pub(super) fn freeze(&self) -> FrozenPages {
        let pages = self.pages.iter().flatten().filter(|page| page.live > 0).cloned().collect::<Vec<_>>();
        FrozenPages { pages: pages.into_iter(), _pin: Arc::clone(&self.pin) }
    }

    /// Bytes of a row's columns.
    pub(super) fn row_bytes(&self) -> usize {
        self.widths.iter().sum()
    }

    /// Memory held, with the copies that exist because of snapshots.
    pub(super) fn memory(&mut self) -> usize {
        if Arc::strong_count(&self.pin) == 1 {
            self.copied_bytes = 0;
        }
        self.bytes + self.copied_bytes + self.pages.capacity() * size_of::<Option<Page>>()
    }

    /// The most memory that so many more keys, of so many bytes together, can take.
    pub(super) fn memory_for(&self, keys: usize, key_bytes: usize) -> usize {
        if keys == 0 {
            return 0;
        }
        let row = self.widths.iter().map(|width| width + 1).sum::<usize>() + size_of::<u32>();
        // Vectors double: the last page has up to twice the room it needs, and up to a full page of it.
        let spare = keys.min(PAGE_ROWS);
        (keys + spare) * row + key_bytes + key_bytes.min(key_bytes / keys * PAGE_ROWS)
    }

    fn free(&mut self, number: usize) {
        if let Some(page) = self.pages[number].take() {
            self.bytes -= page.bytes;
            self.free.push(number as u32);
        }
        if self.open == Some(number as u32) {
            self.open = None;
        }
    }

    fn measure(&mut self, number: usize) {
        if let Some(page) = &mut self.pages[number] {
            let bytes = page.keys.memory() + page.cells.memory() + PAGE_OVERHEAD_BYTES;
            self.bytes = self.bytes - page.bytes + bytes;
            page.bytes = bytes;
        }
    }

    fn page(&self, number: usize) -> &Page {
        self.pages[number].as_ref().expect("a slot names a page that is there")
    }
}

/// Pages as they were at one moment, one at a time.
pub(super) struct FrozenPages {
    pages: std::vec::IntoIter<Page>,
    _pin: Arc<()>,
}

impl Iterator for FrozenPages {
    type Item = FrozenPage;

    fn next(&mut self) -> Option<FrozenPage> {
        self.pages.next().map(FrozenPage)
    }
}

/// One of [`FrozenPages`].
pub(super) struct FrozenPage(Page);

impl FrozenPage {
    /// Its live rows.
    pub(super) fn rows(&self) -> Vec<u32> {
        let page = &self.0;
        (0..page.keys.len()).filter(|row| !page.cells.is_dead(*row)).map(|row| row as u32).collect()
    }

    pub(super) fn key(&self, row: u32) -> &[u8] {
        self.0.keys.get(row as usize)
    }

    /// Column `column` of `rows`.
    pub(super) fn get(&self, rows: &[u32], column: usize, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        gather(&[Some(&self.0.cells)], column, rows, data_type)
    }
}
