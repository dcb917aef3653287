//! Rows numbered by their key, so that what follows compares numbers.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use twox_hash::XxHash3_64;

use crate::error::{Attempt, ErrorKind, Result};

/// Rows by key.
pub(super) struct Numbered {
    /// The number of each row's key. Numbers are given out from 0 as keys appear.
    pub(super) of_row: Vec<u32>,
    /// The first row of each key.
    pub(super) first: UInt32Array,
}

/// Numbers the keys of `rows` rows; null is a key like others.
pub(super) fn numbered(keys: &[ArrayRef], rows: usize) -> Result<Numbered> {
    let fields = keys.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converted = RowConverter::new(fields).and_then(|converter| converter.convert_columns(keys));
    let converted = converted.attempting(ErrorKind::Internal, || "number rows by their key".to_owned())?;
    let mut known: HashTable<(u64, u32)> = HashTable::with_capacity(rows);
    let (mut of_row, mut first) = (Vec::with_capacity(rows), Vec::<u32>::new());
    for at in 0..rows as u32 {
        let key = converted.row(at as usize);
        let hash = XxHash3_64::oneshot(key.data());
        let same = |(other, number): &(u64, u32)| *other == hash && converted.row(first[*number as usize] as usize) == key;
        match known.entry(hash, same, |(hash, _)| *hash) {
            Entry::Occupied(entry) => of_row.push(entry.get().1),
            Entry::Vacant(entry) => {
                let number = first.len() as u32;
                entry.insert((hash, number));
                of_row.push(number);
                first.push(at);
            }
        }
    }
    Ok(Numbered { of_row, first: UInt32Array::from(first) })
}
