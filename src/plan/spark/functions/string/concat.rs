//! Texts (and arrays) put together.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use datafusion::logical_expr::lit;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, arity, array_of, coerce_one, convert, item_of, mismatch};
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
                    out.extend_from_slice(part);
                }
                Ok(Some(()))
            })
        }));
    }
    Ok(call("concat", args, Returns::new(DataType::Utf8, nullable), |a| {
        let parts = (0..a.count()).map(|i| a.column::<StringArray>(i)).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(joined(&parts, a.rows())?))
    }))
}

/// The texts of each row one after the other.
fn joined(parts: &[Reader<'_, StringArray>], rows: usize) -> Result<StringArray> {
    let nulls = parts.iter().map(|part| part.array().nulls().filter(|nulls| nulls.null_count() > 0));
    let valid = if nulls.clone().all(|nulls| nulls.is_none()) {
        None
    } else {
        let is_valid = |row| parts.iter().all(|part| part.array().is_valid(part.row(row)));
        Some(NullBuffer::new(BooleanBuffer::collect_bool(rows, is_valid)))
    };
    let is_valid = |row: usize| valid.as_ref().is_none_or(|valid| valid.is_valid(row));
    let mut ends = Vec::with_capacity(rows + 1);
    ends.push(0_i32);
    let mut bytes = 0;
    for row in 0..rows {
        if is_valid(row) {
            bytes += parts.iter().map(|part| part.array().value_length(part.row(row)) as usize).sum::<usize>();
        }
        ends.push(within_column(bytes)? as i32);
    }
    let mut texts = vec![0; bytes + WIDE];
    let mut at = 0;
    for row in (0..rows).filter(|row| is_valid(*row)) {
        for part in parts {
            at += copied(part.array(), part.row(row), &mut texts[at..]);
        }
    }
    texts.truncate(bytes);
    StringArray::try_new(OffsetBuffer::new(ends.into()), texts.into(), valid).map_err(from_arrow)
}

/// Short texts are copied as this many bytes, which takes two instructions; what is too much is overwritten.
const WIDE: usize = 32;

/// Copies a text to the beginning of `out`, which has room for [`WIDE`] bytes behind it; how long it is.
#[inline]
fn copied(texts: &StringArray, row: usize, out: &mut [u8]) -> usize {
    let (from, len) = (texts.value_offsets()[row] as usize, texts.value_length(row) as usize);
    let rest = &texts.value_data()[from..];
    match (rest.first_chunk::<WIDE>(), out.first_chunk_mut::<WIDE>()) {
        (Some(wide), Some(out)) if len <= WIDE => *out = *wide,
        _ => out[..len].copy_from_slice(&rest[..len]),
    }
    len
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
    let values: Vec<&dyn Array> = lists.iter().map(|l| l.array().values().as_ref()).collect();
    let mut indices = Vec::new();
    let mut offsets = vec![0_i32];
    let mut valid = Vec::with_capacity(a.rows());
    for row in 0..a.rows() {
        let all = lists.iter().all(|l| l.get(row).is_some());
        valid.push(all);
        if all {
            for (which, list) in lists.iter().enumerate() {
                let bounds = &list.array().value_offsets()[list.row(row)..];
                indices.extend((bounds[0]..bounds[1]).map(|i| (which, i as usize)));
            }
        }
        offsets.push(i32::try_from(indices.len()).map_err(|_| super::super::collection::too_long())?);
    }
    let values = arrow::compute::interleave(&values, &indices).map_err(from_arrow)?;
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
        a.strings(|row, out| {
            let separator = separator.get(row)?;
            let mut first = true;
            let mut push = |s: &str| {
                if !std::mem::take(&mut first) {
                    out.push_str(separator);
                }
                out.push_str(s);
            };
            for part in &parts {
                part.each(row, &mut push);
            }
            Some(())
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

    fn each(&self, row: usize, push: &mut impl FnMut(&str)) {
        match self {
            Self::One(s) => {
                if let Some(s) = s.get(row) {
                    push(s);
                }
            }
            Self::Many(lists, items) => {
                if lists.get(row).is_some() {
                    let bounds = &lists.array().value_offsets()[lists.row(row)..];
                    for i in (bounds[0] as usize)..(bounds[1] as usize) {
                        if items.is_valid(i) {
                            push(items.value(i));
                        }
                    }
                }
            }
        }
    }
}
