//! Aggregates that pick one of the values: first, last, the greatest, or the one that goes with the greatest of another column.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, new_empty_array};
use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;

use super::fold::{Fold, GroupRows, typed};
use crate::error::{ErrorKind, Result, from_datafusion};
use crate::plan::spark::functions::collection::{Rows, comparable_values};

fn ours(error: datafusion::error::DataFusionError) -> crate::Error {
    from_datafusion(error, ErrorKind::Internal)
}

/// The value of a row.
pub(super) fn value_at(array: &ArrayRef, row: usize) -> Result<ScalarValue> {
    let value = ScalarValue::try_from_array(array, row).map_err(ours)?;
    Ok(value.compacted())
}

/// A column of `data_type` from values.
pub(super) fn column_of(values: impl IntoIterator<Item = Option<ScalarValue>>, data_type: &DataType) -> Result<ArrayRef> {
    let null = ScalarValue::try_new_null(data_type).map_err(ours)?;
    let mut values = values.into_iter().map(|v| v.unwrap_or_else(|| null.clone())).peekable();
    if values.peek().is_none() {
        return Ok(new_empty_array(data_type));
    }
    ScalarValue::iter_to_array(values).map_err(ours)
}

/// Which value is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The first.
    First,
    /// The last.
    Last,
}

/// `first`, `last`, `any_value`.
#[derive(Debug)]
pub(super) struct Pick {
    pub(super) end: End,
    pub(super) ignore_nulls: bool,
    pub(super) data_type: DataType,
}

impl Pick {
    /// Replaces the cells' values by those of `column`, of the rows that `offer` names.
    fn take(
        &self,
        cells: &mut [Option<ScalarValue>],
        column: &ArrayRef,
        offer: impl FnOnce(&mut dyn FnMut(usize, usize)),
    ) -> Result<usize> {
        // Once every group has its first value, later rows mean nothing. Not looked for where there are more groups than rows.
        if self.end == End::First && cells.len() <= column.len() && cells.iter().all(Option::is_some) {
            return Ok(0);
        }
        // The row to take per touched group; values are copied once at the end, not for each row that is overwritten.
        let mut chosen = hashbrown::HashMap::new();
        offer(&mut |row, group| match self.end {
            End::First => {
                if cells[group].is_none() {
                    chosen.entry(group).or_insert(row);
                }
            }
            End::Last => {
                chosen.insert(group, row);
            }
        });
        let mut grown = 0;
        for (group, row) in chosen {
            let value = value_at(column, row)?;
            grown += value.size().saturating_sub(size_of::<ScalarValue>());
            cells[group] = Some(value);
        }
        Ok(grown)
    }
}

impl Fold for Pick {
    type Cell = Option<ScalarValue>;

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone(), DataType::Boolean]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = &values[0];
        self.take(cells, column, |visit| {
            if self.ignore_nulls {
                rows.each(column.as_ref(), visit);
            } else {
                rows.all(visit);
            }
        })
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let set = typed::<BooleanArray>(&states[1])?;
        self.take(cells, &states[0], |visit| {
            rows.each(set, |row, group| {
                if set.value(row) {
                    visit(row, group);
                }
            });
        })
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let set: BooleanArray = cells.iter().map(|cell| Some(cell.is_some())).collect();
        Ok(vec![column_of(cells.iter().cloned(), &self.data_type)?, Arc::new(set)])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        column_of(cells.iter().cloned(), &self.data_type)
    }
}

/// `min`, `max` and, with a value before the key, `min_by`, `max_by`. State: the value, the key.
#[derive(Debug)]
pub(super) struct Extreme {
    /// What a later key must be, compared with the one held, to take its place.
    pub(super) wins: Ordering,
    pub(super) value: DataType,
    pub(super) key: DataType,
}

impl Fold for Extreme {
    /// Value and key of the best so far.
    type Cell = Option<(ScalarValue, ScalarValue)>;

    fn state_types(&self) -> Vec<DataType> {
        vec![self.value.clone(), self.key.clone()]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let [value, .., keys] = values else {
            return self.update(cells, rows, &[Arc::clone(&values[0]), Arc::clone(&values[0])]);
        };
        let comparable = comparable_values(keys)?;
        let order = Rows::of(&[&comparable])?;
        // The best row of this batch per group first, so that one comparison with what is held is left.
        let mut best: hashbrown::HashMap<usize, usize> = hashbrown::HashMap::new();
        rows.each(keys.as_ref(), |row, group| {
            best.entry(group)
                .and_modify(|held| {
                    let order = order.row(0, row).cmp(&order.row(0, *held));
                    // Of equal keys `max_by` and `min_by` keep the later one.
                    if order == self.wins || order == Ordering::Equal {
                        *held = row;
                    }
                })
                .or_insert(row);
        });
        let mut grown = 0;
        for (group, row) in best {
            let key = value_at(keys, row)?;
            let better = match &cells[group] {
                None => true,
                Some((_, held)) => {
                    let order = compare(&key, held)?;
                    order == self.wins || order == Ordering::Equal
                }
            };
            if better {
                let value = value_at(value, row)?;
                grown += (value.size() + key.size()).saturating_sub(2 * size_of::<ScalarValue>());
                cells[group] = Some((value, key));
            }
        }
        Ok(grown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        self.update(cells, rows, states)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let keys = column_of(cells.iter().map(|cell| cell.as_ref().map(|(_, key)| key.clone())), &self.key)?;
        Ok(vec![self.finish(cells)?, keys])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        column_of(cells.iter().map(|cell| cell.as_ref().map(|(value, _)| value.clone())), &self.value)
    }
}

/// Spark's order of two values of one type that are not null.
fn compare(a: &ScalarValue, b: &ScalarValue) -> Result<Ordering> {
    use ScalarValue::{Date32, Int8, Int16, Int32, Int64, TimestampMicrosecond, Utf8};
    // Of these DataFusion's order is Spark's.
    if let (Int8(_) | Int16(_) | Int32(_) | Int64(_) | Utf8(_) | Date32(_) | TimestampMicrosecond(..), Some(order)) =
        (a, a.partial_cmp(b))
    {
        return Ok(order);
    }
    let (a, b) = (a.to_array().map_err(ours)?, b.to_array().map_err(ours)?);
    let (a, b) = (comparable_values(&a)?, comparable_values(&b)?);
    let rows = Rows::of(&[&a, &b])?;
    Ok(rows.row(0, 0).cmp(&rows.row(1, 0)))
}
