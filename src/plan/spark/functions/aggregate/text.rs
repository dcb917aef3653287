//! `listagg`: texts (or bytes) put together, in the order they came or in one that is asked for.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, ListArray, StringArray};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;

use super::super::super::{Call, SortKey, Typed};
use super::super::arguments::{Want, array_of, coerce_one, coerce_optional, constant, convert, mismatch, orderable};
use super::super::collection::{comparable_values, end_of, list_of};
use super::super::native::{from_arrow, within_column};
use super::doubles::span;
use super::fold::{Fold, GroupRows, typed};
use super::folded;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::{CastMode, cast_array};

const VALUE: Want = Want::OneOf(&[Want::Text, Want::Binary]);

/// `listagg([DISTINCT] value[, delimiter]) [WITHIN GROUP (ORDER BY …)]`.
pub(super) fn listagg(mut c: Call<'_>) -> Result<Typed> {
    let given = c.args.first().map(|arg| arg.expr.clone());
    let mut args = coerce_optional(&mut c, 1, &[VALUE, VALUE])?;
    let delimiter = args.get(1).map(constant).transpose()?;
    if delimiter.as_ref().is_some_and(Option::is_none) {
        return Err(mismatch("NON_FOLDABLE_INPUT", format!("`delimiter` of `{}` must be a constant expression", c.name)));
    }
    if let [value, delimiter] = args.as_slice()
        && value.data_type != delimiter.data_type
        && !matches!(delimiter.expr, Expr::Literal(ScalarValue::Utf8(None), _))
    {
        return Err(mismatch("DATA_DIFF_TYPES", format!("`{}` takes a value and a delimiter of one type", c.name)));
    }
    let delimiter = match delimiter.flatten() {
        None => Vec::new(),
        Some(ScalarValue::Utf8(text)) => text.unwrap_or_default().into_bytes(),
        Some(ScalarValue::Binary(bytes)) => bytes.unwrap_or_default(),
        Some(_) => return Err(Error::internal("a delimiter is text or bytes")),
    };
    args.truncate(1);
    let data_type = args[0].data_type.clone();
    let keys = std::mem::take(&mut c.within_group);
    for key in &keys {
        orderable(&c, &key.value.data_type)?;
    }
    if keys.is_empty() {
        let fold = Joined { data_type: data_type.clone(), delimiter };
        return folded(&mut c, "listagg", fold, args, data_type);
    }
    let options: Vec<SortOptions> = keys.iter().map(SortKey::options).collect();
    let mut key_types: Vec<DataType> = keys.iter().map(|key| key.value.data_type.clone()).collect();
    if c.distinct {
        // Each value comes once, so only the value itself can say where: the order is that of what DISTINCT collects.
        let same = |key: &SortKey| -> Result<bool> {
            Ok(Some(&key.value.expr) == given.as_ref() || convert(&c, key.value.clone(), &data_type)?.expr == args[0].expr)
        };
        let mismatch = |how: &str| {
            let condition = format!("INVALID_WITHIN_GROUP_EXPRESSION.MISMATCH_WITH_DISTINCT_INPUT{how}");
            Error::spark(ErrorKind::Config, condition, format!("`{}(DISTINCT …)` is ordered by what it lists", c.name))
        };
        if keys.len() != 1 || !same(&keys[0])? {
            return Err(mismatch(""));
        }
        // Values that differ must differ as text too, as zeros of both signs do not, nor instants that a clock shows twice.
        if matches!(keys[0].value.data_type, DataType::Float32 | DataType::Float64 | DataType::Timestamp(_, Some(_))) {
            return Err(mismatch("_UNSAFE_CAST"));
        }
        args = vec![keys[0].value.clone()];
        key_types.clear();
    } else {
        for key in keys {
            args.push(coerce_one(&c, args.len(), key.value, &Want::Any)?);
        }
    }
    let fold = Sorted { data_type: data_type.clone(), delimiter, value: args[0].data_type.clone(), keys: key_types, options };
    folded(&mut c, "listagg", fold, args, data_type)
}

/// The bytes of a text or of bytes.
fn bytes(column: &ArrayRef) -> Result<ArrayRef> {
    cast(column, &DataType::Binary).map_err(from_arrow)
}

/// A column of texts or bytes.
fn joined_column(cells: impl Iterator<Item = Option<Vec<u8>>>, data_type: &DataType) -> Result<ArrayRef> {
    let mut total = 0;
    let cells: Vec<Option<Vec<u8>>> = cells.collect();
    for cell in cells.iter().flatten() {
        total = within_column(total + cell.len())?;
    }
    if *data_type == DataType::Binary {
        return Ok(Arc::new(BinaryArray::from_iter(cells)));
    }
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        None => Ok(None),
        Some(bytes) => str::from_utf8(bytes).map(|text| Some(text.to_owned())),
    };
    let texts = cells.iter().map(text).collect::<std::result::Result<StringArray, _>>();
    Ok(Arc::new(texts.map_err(|_| Error::internal("texts are UTF-8"))?))
}

/// In the order they came: what has come is one text already.
#[derive(Debug)]
struct Joined {
    data_type: DataType,
    delimiter: Vec<u8>,
}

impl Fold for Joined {
    type Cell = Option<Vec<u8>>;

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = bytes(&values[0])?;
        let column = typed::<BinaryArray>(&column)?;
        let mut grown = 0;
        rows.each(column, |row, group| {
            let cell = &mut cells[group];
            let before = cell.as_ref().map_or(0, Vec::capacity);
            let text = match cell {
                Some(text) => {
                    text.extend_from_slice(&self.delimiter);
                    text
                }
                None => cell.insert(Vec::new()),
            };
            text.extend_from_slice(column.value(row));
            grown += text.capacity() - before;
        });
        Ok(grown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        self.update(cells, rows, states)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.finish(cells)?])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        joined_column(cells.iter().cloned(), &self.data_type)
    }
}

/// In an order: values are kept with their keys, those of a stored state sorted already.
#[derive(Debug)]
struct Sorted {
    data_type: DataType,
    delimiter: Vec<u8>,
    /// The values' type before they become text.
    value: DataType,
    /// None: the value is its own key.
    keys: Vec<DataType>,
    options: Vec<SortOptions>,
}

/// A value behind its keys.
#[derive(Debug, Clone)]
struct Entry {
    key: OwnedRow,
    value: OwnedRow,
}

impl Sorted {
    fn key_converter(&self) -> Result<RowConverter> {
        let types = if self.keys.is_empty() { std::slice::from_ref(&self.value) } else { &self.keys[..] };
        let fields = types.iter().zip(&self.options).map(|(t, options)| SortField::new_with_options(t.clone(), *options));
        RowConverter::new(fields.collect()).map_err(from_arrow)
    }

    fn value_converter(&self) -> Result<RowConverter> {
        RowConverter::new(vec![SortField::new(self.value.clone())]).map_err(from_arrow)
    }

    /// Takes the rows of `columns` (value, keys) that `offer` names.
    fn take(
        &self,
        cells: &mut [Vec<Entry>],
        columns: &[ArrayRef],
        offer: impl FnOnce(&mut dyn FnMut(usize, usize)),
    ) -> Result<usize> {
        let keys = if self.keys.is_empty() { &columns[..1] } else { &columns[1..] };
        let keys = keys.iter().map(comparable_values).collect::<Result<Vec<_>>>()?;
        let keys = self.key_converter()?.convert_columns(&keys).map_err(from_arrow)?;
        let values = self.value_converter()?.convert_columns(&columns[..1]).map_err(from_arrow)?;
        let mut grown = 0;
        offer(&mut |row, group| {
            let entry = Entry { key: keys.row(row).owned(), value: values.row(row).owned() };
            grown += size_of::<Entry>() + entry.key.as_ref().len() + entry.value.as_ref().len();
            cells[group].push(entry);
        });
        Ok(grown)
    }

    /// The entries of all cells in order, the columns they came from and where each cell's end.
    fn sorted(&self, cells: &[Vec<Entry>]) -> Result<(Vec<ArrayRef>, Vec<i32>)> {
        let mut offsets = vec![0_i32];
        let mut entries: Vec<&Entry> = Vec::new();
        for cell in cells {
            let start = entries.len();
            entries.extend(cell);
            // What is stored is in order: this finds the run and merges what came behind it.
            entries[start..].sort_by(|a, b| a.key.as_ref().cmp(b.key.as_ref()));
            offsets.push(end_of(entries.len())?);
        }
        let convert = |converter: &RowConverter, row: fn(&Entry) -> &OwnedRow| {
            let parser = converter.parser();
            let rows = entries.iter().map(|entry| parser.parse(row(entry).as_ref()));
            converter.convert_rows(rows).map_err(from_arrow)
        };
        let mut columns = convert(&self.value_converter()?, |entry| &entry.value)?;
        if !self.keys.is_empty() {
            columns.extend(convert(&self.key_converter()?, |entry| &entry.key)?);
        }
        Ok((columns, offsets))
    }
}

impl Fold for Sorted {
    type Cell = Vec<Entry>;

    fn state_types(&self) -> Vec<DataType> {
        std::iter::once(&self.value).chain(&self.keys).cloned().map(array_of).collect()
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        self.take(cells, values, |visit| rows.each(values[0].as_ref(), visit))
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let all = states.iter().map(typed::<ListArray>).collect::<Result<Vec<_>>>()?;
        // Each column's items begin with those of the first row.
        let columns: Vec<ArrayRef> = all
            .iter()
            .map(|lists| {
                let (offsets, items) = (lists.value_offsets(), lists.values());
                let first = offsets[0] as usize;
                items.slice(first, offsets[offsets.len() - 1] as usize - first)
            })
            .collect();
        let first = all[0].value_offsets()[0] as usize;
        self.take(cells, &columns, |visit| {
            rows.each(all[0], |row, group| span(all[0], row).for_each(|item| visit(item - first, group)));
        })
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let (columns, offsets) = self.sorted(cells)?;
        columns.into_iter().map(|column| list_of(&array_of(column.data_type().clone()), offsets.clone(), column, None)).collect()
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let (columns, offsets) = self.sorted(cells)?;
        // Values that DISTINCT collected become text here; none of them depends on the zone.
        let texts = cast_array(&columns[0], &self.data_type, CastMode::Ansi, "UTC")?;
        let texts = bytes(&texts)?;
        let texts = typed::<BinaryArray>(&texts)?;
        let joined = offsets.windows(2).map(|ends| {
            let mut joined: Option<Vec<u8>> = None;
            for item in ends[0]..ends[1] {
                match &mut joined {
                    Some(joined) => joined.extend_from_slice(&self.delimiter),
                    None => joined = Some(Vec::new()),
                }
                joined.get_or_insert_default().extend_from_slice(texts.value(item as usize));
            }
            joined
        });
        joined_column(joined, &self.data_type)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn a_slice_of_states_is_merged_alone() {
        let fold = Sorted {
            data_type: DataType::Utf8,
            delimiter: b",".to_vec(),
            value: DataType::Utf8,
            keys: Vec::new(),
            options: vec![SortOptions::default()],
        };
        let values: ArrayRef = Arc::new(StringArray::from(vec!["b", "a", "d", "c", "e"]));
        let mut cells = vec![Vec::new(), Vec::new()];
        fold.update(&mut cells, &GroupRows::unfiltered(&[0, 0, 1, 1, 1]), &[values]).unwrap();
        let states: Vec<ArrayRef> = fold.state(&cells).unwrap().iter().map(|column| column.slice(1, 1)).collect();
        let mut merged = vec![Vec::new()];
        fold.merge(&mut merged, &GroupRows::unfiltered(&[0]), &states).unwrap();
        assert_eq!(fold.finish(&merged).unwrap().as_string::<i32>().value(0), "c,d,e");
    }
}
