//! The keys by which rows of two streams are equal.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::datum::compare_op_for_nested;

use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::plan::spark::expression::comparison::normalize;

/// Key expressions over the rows of one side.
#[derive(Debug, Clone)]
pub(crate) struct JoinKeys {
    schema: SchemaRef,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Whether null equals null, per key; else a row with a null matches nothing.
    null_safe: Vec<bool>,
}

/// The values of all keys, and a hash of them per row unless it matches nothing.
pub(super) type Keyed = (Vec<ArrayRef>, Vec<Option<u64>>);

impl JoinKeys {
    /// `keys` over rows of `schema`, each with whether null equals null.
    pub(super) fn new(schema: SchemaRef, keys: Vec<(Arc<dyn PhysicalExpr>, bool)>) -> Self {
        let (keys, null_safe) = keys.into_iter().unzip();
        Self { schema, keys, null_safe }
    }

    /// The keys of the rows that the first of `columns` make up.
    pub(super) fn of_columns(&self, columns: &[ArrayRef], rows: usize) -> Result<Keyed> {
        let columns = columns[..self.schema.fields().len()].to_vec();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|e| Error::internal("a join remembers rows of another kind").because(e))?;
        self.of(&rows)
    }

    /// The keys of `rows`.
    pub(super) fn of(&self, rows: &RecordBatch) -> Result<Keyed> {
        let values = self.values(rows)?;
        let mut hashes = vec![0; rows.num_rows()];
        // Only this process sees them.
        create_hashes(&values, &RandomState::with_seed(0), &mut hashes).map_err(|e| from_datafusion(e, ErrorKind::Internal))?;
        let strict = values.iter().zip(&self.null_safe).filter(|(_, null_safe)| !**null_safe);
        let valid = strict.fold(None, |valid, (key, _)| NullBuffer::union(valid.as_ref(), key.logical_nulls().as_ref()));
        let hashes = match valid {
            None => hashes.into_iter().map(Some).collect(),
            Some(valid) => hashes.into_iter().zip(valid.iter()).map(|(hash, valid)| valid.then_some(hash)).collect(),
        };
        Ok((values, hashes))
    }

    /// The values alone.
    pub(super) fn values(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let values = self.keys.iter().map(|key| {
            let values = key.evaluate(rows).and_then(|values| values.into_array(rows.num_rows()));
            let values = values.map_err(|e| from_datafusion(e, ErrorKind::Data))?;
            if values.data_type().is_nested() { normalize(&values) } else { Ok(values) }
        });
        values.collect()
    }
}

/// Which of two keys side by side are the same, null taken for a value: rows with nulls that match nothing have no hash.
pub(super) fn same(left: &[ArrayRef], right: &[ArrayRef]) -> Result<BooleanBuffer> {
    let mut all: Option<BooleanBuffer> = None;
    for (left, right) in left.iter().zip(right) {
        let same = same_values(left, right).map_err(|e| Error::internal("could not compare the keys of a join").because(e))?;
        let same = same.values().clone();
        all = Some(all.map_or(same.clone(), |all| &all & &same));
    }
    all.ok_or_else(|| Error::internal("a join without keys"))
}

fn same_values(left: &ArrayRef, right: &ArrayRef) -> Result<BooleanArray, ArrowError> {
    if left.data_type().is_nested() {
        return compare_op_for_nested(Operator::IsNotDistinctFrom, left, right).map_err(ArrowError::from);
    }
    not_distinct(left, right)
}
