//! State in memory: a log of Arrow pages and an index over them.
//!
//! A put appends one page and points the index (`hash of key → page, row`) at its rows; the rows that were there before die and
//! their page is rewritten once less than half of it is alive. Keys are kept as comparable bytes only, state as columns, and a get
//! is one `interleave` over the pages it touches. The batch under way changes the index in place and remembers what was there, so
//! that a commit costs nothing per key held and an abort only puts back what was touched.

mod compaction;
mod page;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{interleave, take};
use hashbrown::hash_map::Entry as MapEntry;
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};
use twox_hash::XxHash3_64;

use self::compaction::{Compactor, PAGE_ROWS_MAX};
use self::page::{KeyCodec, Page, copy};
use super::{BatchEnd, Found, MemoryAccount, StateSchema, StateSize, StateStore};
use crate::error::{Attempt, Error, ErrorKind, Result};

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    page: u32,
    row: u32,
}

#[derive(Debug)]
struct IndexEntry {
    hash: u64,
    place: Place,
}

/// What a batch did to one key: from where to where its row moved.
#[derive(Debug)]
struct Moved {
    hash: u64,
    from: Option<Place>,
    to: Option<Place>,
}

/// See the module.
#[derive(Debug)]
pub struct MemoryStore {
    schema: StateSchema,
    codec: KeyCodec,
    pages: Vec<Option<Page>>,
    free: Vec<u32>,
    pages_bytes: usize,
    serial: u64,
    index: HashTable<IndexEntry>,
    moved: Vec<Moved>,
    added: Vec<u32>,
    compactor: Compactor,
    account: MemoryAccount,
}

impl MemoryStore {
    /// An empty store whose memory is on `account`. Fails if a key column's type has no order (a map, for one).
    pub fn new(schema: StateSchema, account: MemoryAccount) -> Result<Self> {
        let codec = KeyCodec::new(schema.keys()).attempting(ErrorKind::Config, || "keep state by these keys".to_owned())?;
        Ok(Self {
            schema,
            codec,
            pages: Vec::new(),
            free: Vec::new(),
            pages_bytes: 0,
            serial: 0,
            index: HashTable::new(),
            moved: Vec::new(),
            added: Vec::new(),
            compactor: Compactor::default(),
            account,
        })
    }

    fn put_page(&mut self, keys: &[ArrayRef], state: Vec<ArrayRef>, rows: usize) -> Result<()> {
        let keys = self.codec.encode(keys, rows).attempting(ErrorKind::Internal, attempt)?;
        self.serial += 1;
        let page = Page::new(keys, state, self.serial).attempting(ErrorKind::Internal, attempt)?;
        self.make_room(rows, page.bytes)?;
        let slot = self.insert_page(page)?;
        self.added.push(slot);
        let Self { pages, index, moved, .. } = self;
        for row in 0..rows {
            let key = key_bytes(pages, Place { page: slot, row: row as u32 });
            let hash = XxHash3_64::oneshot(key);
            let place = Place { page: slot, row: row as u32 };
            let same = |entry: &IndexEntry| entry.hash == hash && key_bytes(pages, entry.place) == key;
            let from = match index.entry(hash, same, |entry| entry.hash) {
                Entry::Occupied(mut entry) => Some(std::mem::replace(&mut entry.get_mut().place, place)),
                Entry::Vacant(entry) => {
                    entry.insert(IndexEntry { hash, place });
                    None
                }
            };
            moved.push(Moved { hash, from, to: Some(place) });
        }
        Ok(())
    }

    /// Takes the memory for `rows` more rows in a page of `page_bytes`, then lets index and journal grow.
    fn make_room(&mut self, rows: usize, page_bytes: usize) -> Result<()> {
        let wanted = self.pages_bytes
            + page_bytes
            + index_bytes(&self.index, rows)
            + (self.moved.len() + rows).max(self.moved.capacity()) * size_of::<Moved>();
        if wanted > self.account.held() {
            self.account.grow(wanted - self.account.held())?;
        }
        self.index.reserve(rows, |entry| entry.hash);
        self.moved.reserve_exact(rows);
        Ok(())
    }

    fn insert_page(&mut self, page: Page) -> Result<u32> {
        self.pages_bytes += page.bytes;
        if let Some(slot) = self.free.pop() {
            self.pages[slot as usize] = Some(page);
            return Ok(slot);
        }
        let slot = u32::try_from(self.pages.len()).map_err(|_| Error::new(ErrorKind::Limit, "state has too many pages"))?;
        self.pages.push(Some(page));
        Ok(slot)
    }

    fn free_page(&mut self, slot: u32) {
        if let Some(page) = self.pages[slot as usize].take() {
            self.pages_bytes -= page.bytes;
            self.free.push(slot);
        }
    }

    /// Looks `keys` up: positions and places of those that are held.
    fn find(&self, keys: &[ArrayRef], rows: usize) -> Result<(Vec<u32>, Vec<Place>)> {
        let (mut positions, mut places) = (Vec::new(), Vec::new());
        if self.index.is_empty() || rows == 0 {
            return Ok((positions, places));
        }
        let keys = self.codec.encode(keys, rows).attempting(ErrorKind::Internal, attempt)?;
        for (position, key) in keys.iter().enumerate() {
            let key = key.data();
            let hash = XxHash3_64::oneshot(key);
            if let Some(entry) = self.index.find(hash, |e| e.hash == hash && key_bytes(&self.pages, e.place) == key) {
                positions.push(position as u32);
                places.push(entry.place);
            }
        }
        Ok((positions, places))
    }

    /// The state columns of the rows at `places`.
    fn gather(&self, places: &[Place]) -> Result<Vec<ArrayRef>> {
        let columns = self.schema.state().len();
        let mut sources: HashMap<u32, usize> = HashMap::new();
        let mut slots = Vec::new();
        let indices: Vec<(usize, usize)> = places
            .iter()
            .map(|place| {
                let source = match sources.entry(place.page) {
                    MapEntry::Occupied(known) => *known.get(),
                    MapEntry::Vacant(new) => {
                        slots.push(place.page);
                        *new.insert(slots.len() - 1)
                    }
                };
                (source, place.row as usize)
            })
            .collect();
        (0..columns)
            .map(|column| {
                if slots.is_empty() {
                    return Ok(arrow::array::new_empty_array(self.schema.state()[column].data_type()));
                }
                let sources: Vec<&dyn Array> = slots.iter().map(|slot| page(&self.pages, *slot).state[column].as_ref()).collect();
                interleave(&sources, &indices).attempting(ErrorKind::Internal, attempt)
            })
            .collect()
    }

    fn commit(&mut self) {
        let moved = std::mem::take(&mut self.moved);
        for place in moved.iter().filter_map(|moved| moved.from) {
            let Some(page) = &mut self.pages[place.page as usize] else { continue };
            page.kill(place.row);
            if page.live == 0 {
                self.free_page(place.page);
            } else {
                self.compactor.thinned(place.page, page);
            }
        }
        for slot in std::mem::take(&mut self.added) {
            if let Some(page) = &self.pages[slot as usize] {
                self.compactor.added(slot, page);
            }
        }
        self.compactor.earn(moved.len());
        self.reuse_journal(moved);
    }

    /// Keeps the journal's memory for the next batch unless this one was unusually large.
    fn reuse_journal(&mut self, mut moved: Vec<Moved>) {
        if moved.capacity() <= 1024 {
            moved.clear();
            self.moved = moved;
        }
    }

    fn abort(&mut self) {
        let moved = std::mem::take(&mut self.moved);
        for Moved { hash, from, to } in moved.iter().rev() {
            match (from, to) {
                (Some(from), None) => {
                    self.index.insert_unique(*hash, IndexEntry { hash: *hash, place: *from }, |entry| entry.hash);
                }
                (from, Some(to)) => {
                    if let Ok(mut entry) = self.index.find_entry(*hash, |entry| entry.place == *to) {
                        match from {
                            Some(from) => entry.get_mut().place = *from,
                            None => {
                                entry.remove();
                            }
                        }
                    }
                }
                (None, None) => {}
            }
        }
        for slot in std::mem::take(&mut self.added) {
            self.free_page(slot);
        }
        self.reuse_journal(moved);
    }

    /// Rewrites the live rows of `slots` as one page.
    fn rewrite(&mut self, slots: &[u32]) -> Result<()> {
        let mut places = Vec::new();
        for slot in slots {
            let page = page(&self.pages, *slot);
            places.extend((0..page.rows() as u32).filter(|row| !page.is_dead(*row)).map(|row| Place { page: *slot, row }));
        }
        let key_bytes_total = places.iter().map(|place| key_bytes(&self.pages, *place).len()).sum();
        let mut keys = self.codec.empty(places.len(), key_bytes_total);
        for place in &places {
            keys.push(page(&self.pages, place.page).keys.row(place.row as usize));
        }
        let state = self.gather(&places)?;
        self.serial += 1;
        let new = Page::new(keys, state, self.serial).attempting(ErrorKind::Internal, attempt)?;
        // Not refused by the limit: the pages it replaces are given back at once.
        self.account.grow_unchecked(new.bytes);
        let slot = self.insert_page(new)?;
        for (row, old) in places.iter().enumerate() {
            let place = Place { page: slot, row: row as u32 };
            let hash = XxHash3_64::oneshot(key_bytes(&self.pages, place));
            let entry = self.index.find_mut(hash, |entry| entry.place == *old);
            entry.expect("a live row is in the index").place = place;
        }
        for slot in slots {
            self.free_page(*slot);
        }
        self.compactor.added(slot, page(&self.pages, slot));
        Ok(())
    }

    fn settle_account(&mut self) {
        let held = self.pages_bytes + self.index.allocation_size() + self.moved.capacity() * size_of::<Moved>();
        match held.checked_sub(self.account.held()) {
            Some(more) => self.account.grow_unchecked(more),
            None => self.account.shrink(self.account.held() - held),
        }
    }

    /// Rows of the batch under way that hide an older one, by page.
    fn hidden(&self) -> HashMap<u32, Vec<u32>> {
        let mut hidden: HashMap<u32, Vec<u32>> = HashMap::new();
        for place in self.moved.iter().filter_map(|moved| moved.from) {
            hidden.entry(place.page).or_default().push(place.row);
        }
        hidden.values_mut().for_each(|rows| rows.sort_unstable());
        hidden
    }
}

impl StateStore for MemoryStore {
    fn get(&self, keys: &[ArrayRef], rows: usize) -> Result<Found> {
        let (positions, places) = self.find(keys, rows)?;
        Ok(Found { positions: UInt32Array::from(positions), state: self.gather(&places)? })
    }

    fn put(&mut self, rows: &RecordBatch) -> Result<()> {
        let (keys, state) = rows.columns().split_at(self.schema.keys().len());
        if rows.num_rows() <= PAGE_ROWS_MAX {
            return self.put_page(keys, state.to_vec(), rows.num_rows());
        }
        for start in (0..rows.num_rows()).step_by(PAGE_ROWS_MAX) {
            let length = PAGE_ROWS_MAX.min(rows.num_rows() - start);
            let keys: Vec<_> = keys.iter().map(|column| column.slice(start, length)).collect();
            let state = state.iter().map(|column| copy(column, start, length)).collect::<Result<_, _>>();
            self.put_page(&keys, state.attempting(ErrorKind::Internal, attempt)?, length)?;
        }
        Ok(())
    }

    fn remove(&mut self, keys: &[ArrayRef], rows: usize) -> Result<usize> {
        let keys = self.codec.encode(keys, rows).attempting(ErrorKind::Internal, attempt)?;
        let mut removed = 0;
        for key in keys.iter() {
            let key = key.data();
            let hash = XxHash3_64::oneshot(key);
            let found = self.index.find_entry(hash, |e| e.hash == hash && key_bytes(&self.pages, e.place) == key);
            if let Ok(entry) = found {
                let from = entry.remove().0.place;
                self.moved.push(Moved { hash, from: Some(from), to: None });
                removed += 1;
            }
        }
        self.settle_account();
        Ok(removed)
    }

    fn rows(&self) -> Result<Vec<RecordBatch>> {
        let hidden = self.hidden();
        let mut batches = Vec::new();
        for (slot, page) in self.pages.iter().enumerate().filter_map(|(slot, page)| page.as_ref().map(|page| (slot as u32, page)))
        {
            let hidden = hidden.get(&slot).map_or(&[][..], Vec::as_slice);
            let whole = page.live == page.rows() && hidden.is_empty();
            let live: Vec<u32> =
                (0..page.rows() as u32).filter(|r| !page.is_dead(*r) && hidden.binary_search(r).is_err()).collect();
            if live.is_empty() {
                continue;
            }
            let rows = || -> Result<RecordBatch, arrow::error::ArrowError> {
                let mut columns = self.codec.decode(live.iter().map(|row| page.keys.row(*row as usize)))?;
                if whole {
                    columns.extend(page.state.iter().cloned());
                } else {
                    let live = UInt32Array::from(live.clone());
                    columns.extend(page.state.iter().map(|column| take(column, &live, None)).collect::<Result<Vec<_>, _>>()?);
                }
                let options = RecordBatchOptions::new().with_row_count(Some(live.len()));
                RecordBatch::try_new_with_options(self.schema.columns().clone(), columns, &options)
            };
            batches.push(rows().attempting(ErrorKind::Internal, attempt)?);
        }
        Ok(batches)
    }

    fn end(&mut self, end: BatchEnd) -> Result<()> {
        match end {
            BatchEnd::Commit => {
                self.commit();
                while let Some(slots) = self.compactor.next(&self.pages) {
                    self.rewrite(&slots)?;
                }
            }
            BatchEnd::Abort => self.abort(),
        }
        self.settle_account();
        Ok(())
    }

    fn size(&self) -> StateSize {
        StateSize { rows: self.index.len(), bytes: self.account.held() }
    }
}

fn page(pages: &[Option<Page>], slot: u32) -> &Page {
    pages[slot as usize].as_ref().expect("the index points at pages that are there")
}

fn key_bytes(pages: &[Option<Page>], place: Place) -> &[u8] {
    page(pages, place.page).keys.row(place.row as usize).data()
}

/// What the index will take once `rows` more are in it: hashbrown keeps a power of two of buckets, at most 7/8 full.
fn index_bytes(index: &HashTable<IndexEntry>, rows: usize) -> usize {
    let wanted = index.len() + rows;
    if wanted <= index.capacity() {
        return index.allocation_size();
    }
    let buckets = (wanted.max(index.capacity() + 1) * 8 / 7 + 1).next_power_of_two();
    buckets * (size_of::<IndexEntry>() + 1) + 64
}

fn attempt() -> String {
    "work on a state page".to_owned()
}
