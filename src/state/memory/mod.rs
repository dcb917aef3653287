//! State in memory: pages of rows that are changed in place, and an index over their keys.
//!
//! A key is put into a row once and keeps it. Columns of fixed width are arrays over the rows of a page, so that a get gathers and a
//! put scatters column by column; columns of no fixed width are kept in a `log` of Arrow pages, and their row knows the place.
//! The batch under way remembers what its puts replaced: a commit costs nothing per key held, an abort puts back what was touched.
//! A snapshot shares the pages, which are copied one by one when they change while it is being written.

mod cells;
mod compaction;
mod ending;
mod index;
mod keys;
mod log;
mod new;
mod pages;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::datatypes::{DataType, UInt64Type};
use arrow::error::ArrowError;

use self::index::{Index, hash_of};
use self::keys::{KeyCodec, Keys};
use self::log::Log;
use self::pages::Pages;
use super::{BatchEnd, Found, Frozen, Lookup, MemoryAccount, StateSchema, StateSize, StateStore};
use crate::error::{Attempt, ErrorKind, Result};

/// Stands for the slot of a key that is not held.
const NONE: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub struct MemoryStore {
    schema: StateSchema,
    codec: Arc<KeyCodec>,
    index: Index,
    pages: Pages,
    /// Which state columns are cells of a page, in the order of the cells.
    fixed: Vec<usize>,
    /// Which state columns are in the log; the cell after the fixed ones is the place there.
    logged: Vec<usize>,
    log: Log,
    journal: Vec<Undo>,
    journal_bytes: usize,
    /// Rows removed since pages were last tidied up.
    buried: Vec<u32>,
    /// Counts changes: what was looked up before one is stale.
    version: u64,
    account: MemoryAccount,
}

/// What a batch did, so that it can be undone.
#[derive(Debug)]
enum Undo {
    Put(Put),
    Remove(Vec<u32>),
}

#[derive(Debug)]
struct Put {
    /// Rows that were there, and what their cells held.
    held: Vec<u32>,
    cells: Vec<ArrayRef>,
    /// Rows that were made.
    added: Vec<u32>,
    /// The page that took new keys before.
    open: Option<u32>,
    /// All rows that were put, and their places in the log; empty without one.
    slots: Vec<u32>,
    places: Vec<u64>,
}

/// Encoded keys, and where they are.
#[derive(Debug)]
pub(super) struct Located {
    version: u64,
    keys: Keys,
    hashes: Vec<u32>,
    /// The slot of each row to be put, [`NONE`] if it is new.
    slots: Vec<u32>,
    /// Which key each row to be put has; `None` if they are in order.
    order: Option<Vec<u32>>,
    /// The cells of the rows that are held, if they have been read.
    cells: Option<Vec<ArrayRef>>,
}

impl Located {
    fn key_of(&self, row: usize) -> usize {
        self.order.as_ref().map_or(row, |order| order[row] as usize)
    }
}

impl MemoryStore {
    /// An empty store whose memory is on `account`. Fails if a key column's type has no order (a map, for one).
    pub fn new(schema: StateSchema, account: MemoryAccount) -> Result<Self> {
        let codec = KeyCodec::new(schema.keys()).attempting(ErrorKind::Config, || "keep state by these keys".to_owned())?;
        let (mut fixed, mut logged, mut widths) = (Vec::new(), Vec::new(), Vec::new());
        for (column, field) in schema.state().iter().enumerate() {
            match cells::width(field.data_type()) {
                Some(width) => {
                    fixed.push(column);
                    widths.push(width);
                }
                None => logged.push(column),
            }
        }
        if !logged.is_empty() {
            widths.push(size_of::<u64>());
        }
        let log = Log::new(logged.iter().map(|column| schema.state()[*column].clone()).collect());
        Ok(Self {
            schema,
            codec: Arc::new(codec),
            index: Index::default(),
            pages: Pages::new(widths),
            fixed,
            logged,
            log,
            journal: Vec::new(),
            journal_bytes: 0,
            buried: Vec::new(),
            version: 0,
            account,
        })
    }

    /// Encodes `keys` and looks them up. Hashing, looking up and comparing are loops of their own: each waits for memory, and the
    /// processor overlaps the waits of a short loop.
    fn locate(&self, keys: &[ArrayRef], rows: usize) -> Result<Located> {
        let keys = self.codec.encode(keys, rows).attempting(ErrorKind::Internal, attempt)?;
        let mut hashes = Vec::with_capacity(rows);
        keys.each(|_, key| hashes.push(hash_of(key)));
        let mut slots = Vec::with_capacity(rows);
        if self.index.is_empty() {
            slots.resize(rows, NONE);
        } else {
            slots.extend(hashes.iter().map(|hash| self.index.first(*hash).unwrap_or(NONE)));
            keys.each(|row, key| {
                let slot = &mut slots[row];
                if *slot != NONE && self.pages.key(*slot) != key {
                    *slot = self.index.find(hashes[row], |slot| self.pages.key(slot) == key).unwrap_or(NONE);
                }
            });
        }
        Ok(Located { version: self.version, keys, hashes, slots, order: None, cells: None })
    }

    /// All cells of `slots`: the fixed columns, then the place in the log.
    fn cells(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut cells = Vec::with_capacity(self.fixed.len() + 1);
        for (cell, data_type) in self.cell_types().enumerate() {
            cells.push(self.pages.get(slots, cell, &data_type).attempting(ErrorKind::Internal, attempt)?);
        }
        Ok(cells)
    }

    fn cell_types(&self) -> impl Iterator<Item = DataType> {
        let fixed = self.fixed.iter().map(|column| self.schema.state()[*column].data_type().clone());
        fixed.chain((!self.logged.is_empty()).then_some(DataType::UInt64))
    }

    /// State columns in order, from cells.
    fn state(&self, cells: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        state_columns(&self.fixed, &self.logged, cells, |places| self.log.get(places)).attempting(ErrorKind::Internal, attempt)
    }

    fn places(&self, slots: &[u32]) -> Result<ArrayRef> {
        self.pages.get(slots, self.fixed.len(), &DataType::UInt64).attempting(ErrorKind::Internal, attempt)
    }

    /// Takes the memory that a put can need at most, before any of it is touched.
    fn make_room(&mut self, located: &Located, logged: &[ArrayRef]) -> Result<()> {
        let (mut added, mut key_bytes) = (0, 0);
        for row in (0..located.slots.len()).filter(|row| located.slots[*row] == NONE) {
            added += 1;
            key_bytes += located.keys.get(located.key_of(row)).len();
        }
        let journal = located.slots.len() * (size_of::<u32>() + self.pages.row_bytes());
        let wanted = self.pages.memory_for(added, key_bytes)
            + self.index.memory_with(added).saturating_sub(self.index.memory())
            + Log::memory_for(logged)
            + journal;
        self.account.grow(wanted)?;
        self.index.reserve(added);
        Ok(())
    }

    /// Finds or makes the rows of those keys that were not held, remembering in `added` which it made.
    fn add_keys(&mut self, located: &mut Located, added: &mut Vec<u32>) -> Result<()> {
        for row in 0..located.slots.len() {
            if located.slots[row] == NONE {
                let number = located.key_of(row);
                let (key, hash) = (located.keys.get(number), located.hashes[number]);
                // It may be there by now: a key may stand in the rows twice.
                let known = self.index.find(hash, |slot| self.pages.key(slot) == key);
                located.slots[row] = match known {
                    Some(slot) => slot,
                    None => {
                        let slot = self.pages.add(key)?;
                        self.index.insert(hash, slot);
                        added.push(slot);
                        slot
                    }
                };
            }
        }
        Ok(())
    }

    fn put_located(&mut self, mut located: Located, state: &[ArrayRef]) -> Result<()> {
        let logged: Vec<ArrayRef> = self.logged.iter().map(|column| state[*column].clone()).collect();
        self.make_room(&located, &logged)?;
        let held: Vec<u32> = located.slots.iter().copied().filter(|slot| *slot != NONE).collect();
        let cells = match located.cells.take() {
            Some(cells) => cells,
            None => self.cells(&held)?,
        };
        self.journal_bytes += held.len() * (size_of::<u32>() + self.pages.row_bytes());
        let (mut added, open) = (Vec::new(), self.pages.open());
        let outcome = self.add_keys(&mut located, &mut added);
        self.journal_bytes += added.len() * size_of::<u32>();
        let mut put = Put { held, cells, added, open, slots: Vec::new(), places: Vec::new() };
        let outcome = outcome.and_then(|()| self.set(&located.slots, state, &logged, &mut put));
        // Whatever was done can be undone, also if not all of it was.
        self.journal.push(Undo::Put(put));
        outcome
    }

    fn set(&mut self, slots: &[u32], state: &[ArrayRef], logged: &[ArrayRef], put: &mut Put) -> Result<()> {
        let mut columns: Vec<ArrayRef> = self.fixed.iter().map(|column| state[*column].clone()).collect();
        if !logged.is_empty() {
            put.places = self.log.append(logged, slots).attempting(ErrorKind::Internal, attempt)?;
            put.slots = slots.to_vec();
            columns.push(Arc::new(UInt64Array::from(put.places.clone())));
        }
        self.pages.set(slots, &columns).attempting(ErrorKind::Internal, attempt)
    }

    fn settle_account(&mut self) {
        let held = self.pages.memory() + self.log.memory() + self.index.memory() + self.journal_bytes;
        match held.checked_sub(self.account.held()) {
            Some(more) => self.account.grow_unchecked(more),
            None => self.account.shrink(self.account.held() - held),
        }
    }
}

impl StateStore for MemoryStore {
    fn get(&self, keys: &[ArrayRef], rows: usize) -> Result<Found> {
        let mut located = self.locate(keys, rows)?;
        let held = located.slots.iter().filter(|slot| **slot != NONE).count();
        if held > 0 && held < rows {
            let (mut order, mut missing) = (Vec::with_capacity(rows), Vec::with_capacity(rows - held));
            for (row, slot) in (0..).zip(&located.slots) {
                if *slot == NONE { missing.push(row) } else { order.push(row) }
            }
            order.append(&mut missing);
            located.slots.retain(|slot| *slot != NONE);
            located.slots.resize(rows, NONE);
            located.order = Some(order);
        }
        let cells = self.cells(&located.slots[..held])?;
        let state = self.state(&cells)?;
        located.cells = Some(cells);
        Ok(Found { order: located.order.clone().map(Into::into), held, state, lookup: Lookup(located) })
    }

    fn put(&mut self, rows: &RecordBatch, lookup: Option<Lookup>) -> Result<()> {
        let (keys, state) = rows.columns().split_at(self.schema.keys().len());
        let located = match lookup {
            Some(Lookup(located)) if located.version == self.version && located.slots.len() == rows.num_rows() => located,
            _ => self.locate(keys, rows.num_rows())?,
        };
        self.version += 1;
        let outcome = self.put_located(located, state);
        self.settle_account();
        outcome
    }

    fn remove(&mut self, keys: &[ArrayRef], rows: usize) -> Result<usize> {
        let located = self.locate(keys, rows)?;
        self.version += 1;
        let mut removed = Vec::new();
        for (slot, hash) in located.slots.into_iter().zip(located.hashes) {
            // A key that is there twice is found once.
            if slot != NONE && self.index.remove(hash, slot) {
                removed.push(slot);
            }
        }
        self.pages.set_dead(&removed, true);
        let count = removed.len();
        self.journal_bytes += count * size_of::<u32>();
        self.journal.push(Undo::Remove(removed));
        self.settle_account();
        Ok(count)
    }

    fn freeze(&self) -> Frozen {
        let (schema, codec, log) = (self.schema.clone(), Arc::clone(&self.codec), self.log.freeze());
        let (fixed, logged) = (self.fixed.clone(), self.logged.clone());
        let types: Vec<DataType> = self.cell_types().collect();
        let decode = move |page: pages::FrozenPage| {
            let rows = page.rows();
            let mut columns = codec.decode(rows.iter().map(|row| page.key(*row)))?;
            let cells = types.iter().enumerate().map(|(cell, data_type)| page.get(&rows, cell, data_type));
            let cells = cells.collect::<Result<Vec<_>, _>>()?;
            columns.extend(state_columns(&fixed, &logged, &cells, |places| log.get(places))?);
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            RecordBatch::try_new_with_options(schema.columns().clone(), columns, &options)
        };
        Box::new(self.pages.freeze().map(move |page| decode(page).attempting(ErrorKind::Internal, attempt)))
    }

    fn end(&mut self, end: BatchEnd) -> Result<()> {
        self.version += 1;
        let outcome = match end {
            BatchEnd::Commit => self.commit(),
            BatchEnd::Abort => self.abort(),
            BatchEnd::Closed => self.tidy(),
        };
        self.settle_account();
        outcome
    }

    fn size(&self) -> StateSize {
        StateSize { rows: self.index.len(), bytes: self.account.held() }
    }
}

/// State columns in order: the fixed ones from their cells, the others from the log by the last cell.
fn state_columns(
    fixed: &[usize],
    logged: &[usize],
    cells: &[ArrayRef],
    log: impl FnOnce(&[u64]) -> Result<Vec<ArrayRef>, ArrowError>,
) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut columns: Vec<(usize, ArrayRef)> = fixed.iter().copied().zip(cells.iter().cloned()).collect();
    if let Some(places) = cells.get(fixed.len()) {
        columns.extend(logged.iter().copied().zip(log(places.as_primitive::<UInt64Type>().values())?));
        columns.sort_by_key(|(column, _)| *column);
    }
    Ok(columns.into_iter().map(|(_, column)| column).collect())
}

fn attempt() -> String {
    "work on a state page".to_owned()
}
