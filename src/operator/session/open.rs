//! The sessions of a key: an index over a session operator's state, which is derived from it and never written.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimestampMicrosecondType};

use super::super::numbering::{Numbered, numbered};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::state::memory::MemoryStore;
use crate::state::{BatchEnd, MemoryAccount, StateSchema, StateStore};

/// From when until when, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
}

/// See the module.
#[derive(Debug)]
pub struct OpenSessions {
    /// A key and its sessions by start: start and end in turn.
    store: MemoryStore,
    schema: StateSchema,
}

/// The sessions of some keys.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Of all keys, in their order.
    pub(super) spans: Vec<Span>,
    /// Where those of each key end.
    pub(super) ends: Vec<usize>,
}

impl Lists {
    /// Which of the spans are those of the key at `index`.
    pub(super) fn range(&self, index: usize) -> std::ops::Range<usize> {
        index.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[index]
    }
}

impl OpenSessions {
    /// An empty index of sessions that have other keys `keys`.
    pub(in crate::operator) fn new(keys: Vec<FieldRef>, account: MemoryAccount) -> Result<Self> {
        let schema = StateSchema::new(keys, vec![Arc::new(Field::new("sessions", list_type(), false))]);
        Ok(Self { store: MemoryStore::new(schema.clone(), account)?, schema })
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.store.size().bytes
    }

    /// Ends the batch under way.
    pub fn end(&mut self, end: BatchEnd) -> Result<()> {
        self.store.end(end)
    }

    /// Takes in sessions of a page of state that is being restored: other keys, start and end come first.
    pub fn restore(&mut self, page: &RecordBatch) -> Result<()> {
        let (keys, columns) = page.columns().split_at(self.schema.keys().len());
        let Numbered { of_row, first } = numbered(keys, page.num_rows())?;
        let keys = picked(keys, &first)?;
        let known = self.of(&keys, first.len())?;
        let mut all: Vec<(u32, Span)> = of_row.into_iter().zip(spans(&columns[0], &columns[1])).collect();
        for index in 0..first.len() {
            all.extend(known.spans[known.range(index)].iter().map(|span| (index as u32, *span)));
        }
        all.sort_unstable();
        let mut lists = Lists::default();
        for index in 0..first.len() as u32 {
            let from = lists.spans.len();
            lists.spans.extend(all[from..].iter().take_while(|(key, _)| *key == index).map(|(_, span)| *span));
            lists.ends.push(lists.spans.len());
        }
        self.put(&keys, &lists)
    }

    /// The sessions of `keys`, which are `rows` different ones.
    pub(super) fn of(&self, keys: &[ArrayRef], rows: usize) -> Result<Lists> {
        let found = self.store.get(keys, rows)?;
        let mut at: Vec<Option<usize>> = vec![None; rows];
        for held in 0..found.held {
            at[found.order.as_ref().map_or(held, |order| order.value(held) as usize)] = Some(held);
        }
        let mut lists = Lists::default();
        let held = found.state.first().map(|column| column.as_list::<i32>());
        for at in at {
            if let (Some(held), Some(at)) = (held, at) {
                let (from, to) = (held.value_offsets()[at] as usize, held.value_offsets()[at + 1] as usize);
                let pairs = held.values().as_primitive::<Int64Type>().values()[from..to].chunks_exact(2);
                lists.spans.extend(pairs.map(|pair| Span { start: pair[0], end: pair[1] }));
            }
            lists.ends.push(lists.spans.len());
        }
        Ok(lists)
    }

    /// Sets the sessions of `keys`; those that have none any more are forgotten.
    pub(super) fn put(&mut self, keys: &[ArrayRef], lists: &Lists) -> Result<()> {
        let count = lists.ends.len();
        let (kept, gone): (Vec<u32>, Vec<u32>) = (0..count as u32).partition(|index| !lists.range(*index as usize).is_empty());
        if !gone.is_empty() {
            self.store.remove(&picked(keys, &UInt32Array::from(gone.clone()))?, gone.len())?;
        }
        if kept.is_empty() {
            return Ok(());
        }
        let lengths = kept.iter().map(|index| lists.range(*index as usize).len() * 2);
        let values: Int64Array = lists.spans.iter().flat_map(|span| [span.start, span.end]).collect();
        let DataType::List(item) = list_type() else { return Err(Error::internal("sessions are a list")) };
        let list = ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), Arc::new(values), None);
        let list = list.attempting(ErrorKind::Internal, || "list the sessions of keys".to_owned())?;
        let mut page = picked(keys, &UInt32Array::from(kept))?;
        page.push(Arc::new(list));
        let page = RecordBatch::try_new(self.schema.columns().clone(), page)
            .attempting(ErrorKind::Internal, || "index the sessions of keys".to_owned())?;
        self.store.put(&page, None)
    }
}

fn list_type() -> DataType {
    DataType::List(Arc::new(Field::new("at", DataType::Int64, false)))
}

/// Sessions with these starts and ends.
pub(super) fn spans<'a>(starts: &'a ArrayRef, ends: &'a ArrayRef) -> impl Iterator<Item = Span> + 'a {
    let starts = starts.as_primitive::<TimestampMicrosecondType>().values().iter();
    starts.zip(ends.as_primitive::<TimestampMicrosecondType>().values()).map(|(start, end)| Span { start: *start, end: *end })
}

/// These rows of columns.
pub(super) fn picked(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    let picked = columns.iter().map(|column| take(column, rows, None)).collect::<Result<_, _>>();
    picked.attempting(ErrorKind::Internal, || "pick the rows of sessions".to_owned())
}
