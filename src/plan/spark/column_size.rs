//! How much one column of a batch may hold, and columns made of values that may come many times.
//!
//! A constant stands in a batch once, so that what repeats it for each row may take far more memory than its arguments. Arrow counts
//! texts in 31 bits and panics beyond; here that is an error before anything is taken.

use std::sync::Arc;

use arrow::array::{Array, ArrayBuilder, ArrayRef, AsArray, ListBuilder, StringBuilder, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::error::{Error, ErrorKind, Result, from_datafusion};

/// Bytes that the texts of one column may have together, as many as one of Spark's texts.
pub const TEXT_BYTES_MAX: usize = 2_147_483_632;

/// `bytes` if one column can hold as many, an error otherwise.
pub fn within_column(bytes: usize) -> Result<usize> {
    if bytes > TEXT_BYTES_MAX {
        return Err(Error::new(ErrorKind::Limit, "a column of texts or bytes of one batch would exceed 2 GiB"));
    }
    Ok(bytes)
}

/// Values picked so that some may come many times; an error where that would take more than a column may.
pub fn repeated(values: &ArrayRef, indices: &UInt32Array) -> Result<ArrayRef> {
    fits(values, indices.len(), indices.iter().flatten().map(|index| index as usize))?;
    take(values, indices, None).map_err(from_arrow)
}

/// Values of several columns, each picked by its column and its place; an error where that would take more than a column may.
pub fn interleaved(values: &[&dyn Array], picks: &[(usize, usize)]) -> Result<ArrayRef> {
    let all = values.iter().map(|values| values.get_array_memory_size()).max().unwrap_or_default();
    if all.saturating_mul(picks.len()) > TEXT_BYTES_MAX {
        let sizes: Vec<_> = values.iter().map(|values| sizes(*values)).collect();
        let size = |(column, index): &(usize, usize)| sizes[*column].as_ref().map_or(0, |sizes| sizes[*index]);
        within_column(picks.iter().map(size).fold(0, usize::saturating_add))?;
    }
    interleave(values, picks).map_err(from_arrow)
}

/// Whether a column may hold `count` values, those at `picks`.
pub fn fits(values: &ArrayRef, count: usize, picks: impl Iterator<Item = usize>) -> Result<()> {
    // Nothing is picked that is larger than all values together.
    if values.get_array_memory_size().saturating_mul(count) > TEXT_BYTES_MAX
        && let Some(sizes) = sizes(values.as_ref())
    {
        within_column(picks.map(|index| sizes[index]).fold(0, usize::saturating_add))?;
    }
    Ok(())
}

/// The bytes of each value; `None` if all have few.
fn sizes(values: &dyn Array) -> Option<Vec<usize>> {
    let lengths = |offsets: &[i32]| offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).collect::<Vec<_>>();
    let nested = |offsets: &[i32], items: &dyn Array| {
        let sizes = sizes(items);
        let of = |pair: &[i32]| match &sizes {
            Some(sizes) => sizes[pair[0] as usize..pair[1] as usize].iter().sum(),
            None => (pair[1] - pair[0]) as usize * ITEM_BYTES,
        };
        offsets.windows(2).map(of).collect::<Vec<usize>>()
    };
    match values.data_type() {
        DataType::Utf8 => Some(lengths(values.as_string::<i32>().value_offsets())),
        DataType::Binary => Some(lengths(values.as_binary::<i32>().value_offsets())),
        DataType::List(_) => Some(nested(values.as_list::<i32>().value_offsets(), values.as_list::<i32>().values().as_ref())),
        DataType::Map(..) => Some(nested(values.as_map().value_offsets(), values.as_map().entries())),
        DataType::Struct(_) => {
            let columns = values.as_struct().columns();
            let sizes: Vec<_> = columns.iter().filter_map(|column| sizes(column.as_ref())).collect();
            let sum = |row: usize| columns.len() * ITEM_BYTES + sizes.iter().map(|column| column[row]).sum::<usize>();
            Some((0..values.len()).map(sum).collect())
        }
        _ => None,
    }
}

/// What an item counts for that is neither text nor nested.
const ITEM_BYTES: usize = 8;

fn from_arrow(error: ArrowError) -> Error {
    from_datafusion(error.into(), ErrorKind::Data)
}

/// Lists of texts, a row after the other.
#[derive(Default)]
pub struct TextLists {
    lists: ListBuilder<StringBuilder>,
    bytes: usize,
}

impl TextLists {
    /// Adds a text to the row's list; an error where the column would become too large.
    pub fn push(&mut self, text: &str) -> Result<()> {
        self.bytes = within_column(self.bytes + text.len())?;
        // Texts without a byte take room too.
        let texts = self.lists.values();
        within_column((texts.len() + 1) * ITEM_BYTES)?;
        texts.append_value(text);
        Ok(())
    }

    /// Ends the row, which is null if it is not valid.
    pub fn end(&mut self, is_valid: bool) {
        self.lists.append(is_valid);
    }

    /// The column.
    pub fn finish(mut self) -> ArrayRef {
        Arc::new(self.lists.finish())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};

    use super::*;

    #[test]
    fn what_is_picked_often_counts_each_time() {
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20), String::new()]));
        let often = UInt32Array::from(vec![0; 4000]);
        assert_eq!(repeated(&long, &often).map_err(|e| e.kind()).err(), Some(ErrorKind::Limit));
        assert_eq!(repeated(&long, &UInt32Array::from(vec![1; 4000])).map(|column| column.len()).ok(), Some(4000));
        let small: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let columns: [&dyn Array; 2] = [long.as_ref(), small.as_ref()];
        assert_eq!(interleaved(&columns, &[(0, 0); 4000]).map_err(|e| e.kind()).err(), Some(ErrorKind::Limit));
        assert_eq!(interleaved(&columns, &[(1, 0); 4000]).map(|column| column.len()).ok(), Some(4000));
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1; 1000]));
        assert_eq!(interleaved(&[numbers.as_ref()], &[(0, 999); 5]).map(|column| column.len()).ok(), Some(5));
    }
}
