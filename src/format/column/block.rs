//! Appending the values of a block of rows at once.

use super::{Bytes, Column, Data};

/// Rows of a block at most.
pub(in crate::format) const BLOCK_ROWS: usize = 64;

/// Places of the bits that are set, from the lowest on.
pub(in crate::format) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (at < BLOCK_ROWS).then_some(at)
    })
}

/// The bits of the first `rows` rows.
pub(in crate::format) fn first(rows: usize) -> u64 {
    if rows >= BLOCK_ROWS { u64::MAX } else { (1 << rows) - 1 }
}

/// Values of one column for the rows of a block, whose text is kept elsewhere.
#[derive(Debug)]
pub(in crate::format) struct BlockValues {
    /// By row: a number's bits, a string's place in the block's text ([`span`]), or an index into `others`.
    pub(in crate::format) values: [u64; BLOCK_ROWS],
    /// Rows whose value is not null.
    pub(in crate::format) valid: u64,
    /// Rows whose value (of a type that varies in length) is in `others`.
    pub(in crate::format) elsewhere: u64,
    /// Values that were not in their plainest form.
    pub(in crate::format) others: Column,
}

/// A string's place as a value of a block.
#[inline(always)]
pub(in crate::format) fn span(start: usize, end: usize) -> u64 {
    (start as u64) << 32 | (end - start) as u64
}

fn range(span: u64) -> std::ops::Range<usize> {
    let start = (span >> 32) as usize;
    start..start + (span & 0xffff_ffff) as usize
}

impl BlockValues {
    /// No values yet, of the type of `others`.
    pub(in crate::format) fn new(others: Column) -> Self {
        Self { values: [0; BLOCK_ROWS], valid: 0, elsewhere: 0, others }
    }

    /// Forgets the last block.
    pub(in crate::format) fn clear(&mut self) {
        (self.valid, self.elsewhere) = (u64::MAX, 0);
        if self.others.len() > 0 {
            self.others.truncate(0);
        }
    }

    /// Makes the value of `row` null.
    pub(in crate::format) fn set_null(&mut self, row: usize) {
        self.valid &= !(1 << row);
        self.values[row] = 0;
    }

    /// Makes the value that was last appended to `others` that of `row`.
    pub(in crate::format) fn set_other(&mut self, row: usize) {
        let Some(last) = self.others.len().checked_sub(1) else { return };
        if self.others.is_null(last) {
            return self.set_null(row);
        }
        self.values[row] = match &self.others.data {
            Data::Boolean(values) => u64::from(values[last]),
            Data::Int8(values) => values[last] as u64,
            Data::Int16(values) => values[last] as u64,
            Data::Int32(values) | Data::Date(values) => values[last] as u64,
            Data::Int64(values) | Data::Timestamp(values, _) | Data::TimestampNtz(values) => values[last] as u64,
            Data::Float64(values) => values[last].to_bits(),
            _ => {
                self.elsewhere |= 1 << row;
                last as u64
            }
        };
    }

    /// The string of a row that has one.
    pub(in crate::format) fn string<'a>(&'a self, row: usize, text: &'a [u8]) -> &'a [u8] {
        match &self.others.data {
            Data::String(strings) if self.elsewhere >> row & 1 == 1 => {
                let at = self.values[row] as usize;
                &strings.bytes[strings.offsets[at] as usize..strings.offsets[at + 1] as usize]
            }
            _ => text.get(range(self.values[row])).unwrap_or_default(),
        }
    }

    /// Appends the values of `rows` to a column of their type.
    pub(in crate::format) fn append_to(&self, column: &mut Column, rows: u64, text: &[u8]) {
        match &mut column.data {
            Data::Boolean(out) => self.numbers(rows, out, |v| v != 0),
            Data::Int8(out) => self.numbers(rows, out, |v| v as i8),
            Data::Int16(out) => self.numbers(rows, out, |v| v as i16),
            Data::Int32(out) | Data::Date(out) => self.numbers(rows, out, |v| v as i32),
            Data::Int64(out) | Data::Timestamp(out, _) | Data::TimestampNtz(out) => self.numbers(rows, out, |v| v as i64),
            Data::Float64(out) => self.numbers(rows, out, f64::from_bits),
            Data::String(out) => self.strings(rows, out, text),
            _ => return self.copies(rows, column),
        }
        column.pushed_block(rows, self.valid);
    }

    fn numbers<T>(&self, rows: u64, out: &mut Vec<T>, convert: impl Fn(u64) -> T) {
        let count = rows.count_ones() as usize;
        if rows == first(count) {
            out.extend(self.values[..count].iter().map(|value| convert(*value)));
        } else {
            out.extend(bits(rows).map(|row| convert(self.values[row])));
        }
    }

    fn strings(&self, rows: u64, out: &mut Bytes, text: &[u8]) {
        /// Short strings are copied as this many bytes, which takes two instructions; what is too much is overwritten.
        const WIDE: usize = 32;
        let elsewhere = rows & self.elsewhere;
        let start = out.bytes.len();
        // A null has no length.
        let in_text: usize = bits(rows & !elsewhere).map(|row| range(self.values[row]).len()).sum();
        let others: usize = bits(elsewhere).map(|row| self.string(row, text).len()).sum();
        out.bytes.resize(start + in_text + others + WIDE, 0);
        let (bytes, mut ends) = (&mut out.bytes[start..], [0; BLOCK_ROWS]);
        let (mut end, mut count) = (0, 0);
        for row in bits(rows) {
            let range = range(self.values[row]);
            let mut len = range.len();
            if elsewhere >> row & 1 == 1 {
                let string = self.string(row, text);
                len = string.len();
                bytes[end..end + len].copy_from_slice(string);
            } else if let (Some(wide), true) = (text.get(range.start..).and_then(|rest| rest.first_chunk::<WIDE>()), len <= WIDE)
            {
                bytes[end..end + WIDE].copy_from_slice(wide);
            } else {
                bytes[end..end + len].copy_from_slice(&text[range]);
            }
            end += len;
            ends[count % BLOCK_ROWS] = (start + end) as i32;
            count += 1;
        }
        out.bytes.truncate(start + end);
        out.offsets.extend_from_slice(&ends[..count]);
    }

    /// Values of other types, which are in `others` in the order of their rows.
    fn copies(&self, rows: u64, column: &mut Column) {
        let mut run = 0..0;
        for row in bits(rows) {
            if self.valid >> row & 1 == 0 {
                column.append(&self.others, std::mem::take(&mut run));
                column.push_null();
                continue;
            }
            let at = self.values[row] as usize;
            if at != run.end {
                column.append(&self.others, std::mem::replace(&mut run, at..at));
            }
            run.end = at + 1;
        }
        column.append(&self.others, run);
    }
}

impl Column {
    /// Counts the values that were just pushed to `data`, one for each of `rows`; those in `valid` are not null.
    pub(in crate::format) fn pushed_block(&mut self, rows: u64, valid: u64) {
        let count = rows.count_ones() as usize;
        if rows & valid == rows {
            if let Some(validity) = &mut self.validity {
                validity.append_n(count, true);
            }
        } else {
            let validity = self.validity();
            bits(rows).for_each(|row| validity.append(valid >> row & 1 == 1));
        }
        self.len += count;
    }
}
