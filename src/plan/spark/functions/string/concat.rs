//! Texts (and arrays) put together.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, ListArray, MutableArrayData, StringArray, make_array};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use datafusion::logical_expr::lit;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, arity, array_of, coerce_one, convert, item_of, mismatch};
use super::super::collection::ranges;
use super::super::native::{Args, Reader, Returns, call, from_arrow, within_column};
use crate::error::Result;

/// `concat`: null if any argument is; binaries to a binary, arrays to an array, all else to a text.
pub(super) fn concat(mut c: Call<'_>) -> Result<Typed> {
    let args = std::mem::take(&mut c.args);
    if args.is_empty() {
        return Ok(Typed { expr: lit(""), data_type: DataType::Utf8, nullable: false });
    }
    let is_list = |t: &DataType| matches!(t, DataType::List(_));
    if args.iter().any(|a| matches!(a.data_type, DataType::List(_))) {
        if !args.iter().all(|a| is_list(&a.data_type)) {
            return Err(mismatch("DATA_DIFF_TYPES", "input to `concat` should all be the same type"));
        }
        return concat_arrays(&c, args);
    }
    let binary = args.iter().all(|a| a.data_type == DataType::Binary);
    let want = if binary { Want::Binary } else { Want::Text };
    let args = args.into_iter().enumerate().map(|(i, a)| coerce_one(&c, i, a, &want)).collect::<Result<Vec<_>>>()?;
    let nullable = any_nullable(&args);
    if binary {
        return Ok(call("concat", args, Returns::new(DataType::Binary, nullable), |a| {
            let parts = (0..a.count()).map(|i| a.column::<arrow::array::BinaryArray>(i)).collect::<Result<Vec<_>>>()?;
            a.binaries(|row, out| {
                for part in &parts {
                    let Some(part) = part.get(row) else { return Ok(None) };
                    within_column(out.len() + part.len())?;
                    out.extend_from_slice(part);
                }
                Ok(Some(()))
            })
        }));
    }
    Ok(call("concat", args, Returns::new(DataType::Utf8, nullable), |a| {
        let columns = (0..a.count()).map(|i| a.column::<StringArray>(i)).collect::<Result<Vec<_>>>()?;
        let columns: Vec<_> = columns.iter().map(|column| (column.array(), column.is_constant())).collect();
        Ok(Arc::new(joined(&columns, a.rows())?))
    }))
}

/// The texts of each row of `columns` one after the other; a column may be constant and have a single row.
fn joined(columns: &[(&StringArray, bool)], rows: usize) -> Result<StringArray> {
    let parts: Vec<Texts<'_>> = columns.iter().map(|(array, constant)| Texts::new(array, *constant)).collect();
    let has_nulls = columns.iter().any(|(array, _)| array.null_count() > 0);
    let is_valid = |row: usize| columns.iter().zip(&parts).all(|((array, _), part)| array.is_valid(row & part.mask));
    let valid = has_nulls.then(|| NullBuffer::new(BooleanBuffer::collect_bool(rows, is_valid)));
    let is_valid = |row: usize| valid.as_ref().is_none_or(|valid| valid.is_valid(row));
    let lengths = (0..rows).filter(|row| is_valid(*row)).map(|row| parts.iter().map(|part| part.range(row).len()).sum::<usize>());
    let bytes = within_column(lengths.sum())?;
    let mut texts = vec![0; bytes + WIDE];
    let mut ends = Vec::with_capacity(rows + 1);
    ends.push(0);
    let mut at = 0;
    for row in 0..rows {
        if is_valid(row) {
            parts.iter().for_each(|part| at += part.copy(row, &mut texts[at..]));
        }
        ends.push(at as i32);
    }
    texts.truncate(bytes);
    StringArray::try_new(OffsetBuffer::new(ends.into()), texts.into(), valid).map_err(from_arrow)
}

/// Short texts are copied as this many bytes, which takes two instructions; what is too much is overwritten.
const WIDE: usize = 32;

/// A column of texts as what it is made of: the ways of an array to a text look at more than is needed here.
struct Texts<'a> {
    offsets: &'a [i32],
    bytes: &'a [u8],
    /// Zero if the first text stands for all.
    mask: usize,
}

impl<'a> Texts<'a> {
    fn new(array: &'a StringArray, constant: bool) -> Self {
        let mask = if constant { 0 } else { usize::MAX };
        Self { offsets: array.value_offsets(), bytes: array.value_data(), mask }
    }

    #[inline(always)]
    fn range(&self, row: usize) -> Range<usize> {
        let [start, end, ..] = self.offsets[row & self.mask..] else { return 0..0 };
        start as usize..end as usize
    }

    /// Copies the text of `row` to the beginning of `out`, which has room for [`WIDE`] bytes behind it; how long it is.
    #[inline(always)]
    fn copy(&self, row: usize, out: &mut [u8]) -> usize {
        let range = self.range(row);
        let len = range.len();
        match (self.bytes.get(range.start..).and_then(|rest| rest.first_chunk::<WIDE>()), out.first_chunk_mut::<WIDE>()) {
            (Some(wide), Some(out)) if len <= WIDE => *out = *wide,
            _ => out[..len].copy_from_slice(&self.bytes[range]),
        }
        len
    }
}

fn concat_arrays(c: &Call<'_>, args: Vec<Typed>) -> Result<Typed> {
    let to = super::super::conditional::common_of(c, &args)?;
    let args = args.into_iter().map(|a| convert(c, a, &to)).collect::<Result<Vec<_>>>()?;
    let nullable = any_nullable(&args);
    Ok(call("concat", args, Returns::new(to, nullable), concat_lists))
}

/// Lists of one type, one after the other.
fn concat_lists(a: &Args<'_>) -> Result<ArrayRef> {
    let lists = (0..a.count()).map(|i| a.column::<ListArray>(i)).collect::<Result<Vec<_>>>()?;
    let parts: Vec<_> = lists.iter().map(|l| l.array().values().to_data()).collect();
    let mut values = MutableArrayData::new(parts.iter().collect(), false, parts.iter().map(ArrayData::len).sum());
    let mut offsets = vec![0_i32];
    let mut valid = Vec::with_capacity(a.rows());
    for row in 0..a.rows() {
        let items = lists.iter().map(|list| ranges(list, row));
        valid.push(items.clone().all(|items| items.is_some()));
        if valid[row] {
            for (which, items) in items.enumerate() {
                let items = items.unwrap_or_default();
                values.try_extend(which, items.start, items.end).map_err(from_arrow)?;
            }
        }
        offsets.push(super::super::collection::end_of(values.len())?);
    }
    let values = make_array(values.freeze());
    let DataType::List(field) = a.returns() else { return Err(crate::Error::internal("concat of lists gives a list")) };
    let list = ListArray::try_new(Arc::clone(field), OffsetBuffer::new(offsets.into()), values, Some(NullBuffer::from(valid)));
    Ok(Arc::new(list.map_err(from_arrow)?))
}

/// `concat_ws`: what is not null, texts and arrays of texts alike, with the separator between.
pub(super) fn concat_ws(mut c: Call<'_>) -> Result<Typed> {
    const PART: Want = Want::OneOf(&[Want::ArrayOf(&Want::Text), Want::Text]);
    arity(&c, 1, None)?;
    let args = std::mem::take(&mut c.args);
    let args = args
        .into_iter()
        .enumerate()
        .map(|(index, arg)| match (&arg.data_type, index) {
            (DataType::Null, _) | (_, 0) => coerce_one(&c, index, arg, &Want::Text),
            (t, _) if item_of(t).is_some_and(|i| *i != DataType::Utf8) => {
                let to = array_of(DataType::Utf8);
                if PART.from(t).is_none() {
                    return Err(super::super::arguments::unexpected_type(&c, index, t, &PART));
                }
                convert(&c, arg, &to)
            }
            _ => coerce_one(&c, index, arg, &PART),
        })
        .collect::<Result<Vec<_>>>()?;
    let nullable = args[0].nullable;
    Ok(call("concat_ws", args, Returns::new(DataType::Utf8, nullable), |a| {
        let separator = a.column::<StringArray>(0)?;
        let parts = (1..a.count()).map(|i| Part::of(a, i)).collect::<Result<Vec<_>>>()?;
        a.try_strings(|row, out| {
            let Some(separator) = separator.get(row) else { return Ok(None) };
            let mut first = true;
            let mut push = |s: &str| {
                within_column(out.len() + separator.len() + s.len())?;
                if !std::mem::take(&mut first) {
                    out.push_str(separator);
                }
                out.push_str(s);
                Ok(())
            };
            for part in &parts {
                part.each(row, &mut push)?;
            }
            Ok(Some(()))
        })
    }))
}

enum Part<'a> {
    One(Reader<'a, StringArray>),
    Many(Reader<'a, ListArray>, &'a StringArray),
}

impl<'a> Part<'a> {
    fn of(a: &Args<'a>, index: usize) -> Result<Self> {
        if matches!(a.any(index).array.data_type(), DataType::Utf8) {
            return Ok(Self::One(a.column(index)?));
        }
        let lists = a.column::<ListArray>(index)?;
        let items = lists.array().values().as_string::<i32>();
        Ok(Self::Many(lists, items))
    }

    fn each(&self, row: usize, push: &mut impl FnMut(&str) -> Result<()>) -> Result<()> {
        match self {
            Self::One(s) => {
                if let Some(s) = s.get(row) {
                    push(s)?;
                }
            }
            Self::Many(lists, items) => {
                for i in ranges(lists, row).unwrap_or_default() {
                    if items.is_valid(i) {
                        push(items.value(i))?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_and_null_are_put_together_row_by_row() {
        let long = "long ".repeat(20);
        let first =
            StringArray::from(vec![Some("left out"), Some("a"), None, Some(""), Some(long.as_str()), Some("é")]).slice(1, 5);
        let second = StringArray::from(vec![Some("b"), Some("c"), Some(long.as_str()), None, Some("")]);
        let dash = StringArray::from(vec![Some("-")]);
        let joined = joined(&[(&first, false), (&dash, true), (&second, false)], 5).unwrap();
        let expected = (0..5).map(|row| match (first.is_valid(row), second.is_valid(row)) {
            (true, true) => Some(format!("{}-{}", first.value(row), second.value(row))),
            _ => None,
        });
        assert_eq!(joined, expected.collect::<StringArray>());
        let none = StringArray::from(vec![None::<&str>]);
        assert_eq!(super::joined(&[(&second, false), (&none, true)], 5).unwrap().null_count(), 5);
    }
}
