//! A watermark at work: rows pass one record batch after another, and their event times are noted.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::buffer::NullBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::TryStreamExt;

use super::shared::{EventTime, Observed, SetAside, SetAsideKind};
use crate::error::{Error, Result};
use crate::operator::node::only_input;
use crate::plan::spark::relation::visible_name;

/// Passes its input on.
#[derive(Debug)]
pub(super) struct WatermarkExec {
    observer: Arc<Observer>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

/// Looks at the event times of one watermark.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) shared: Arc<EventTime>,
    pub(super) id: String,
    /// The event-time column.
    pub(super) index: usize,
    pub(super) max_future_ms: Option<i64>,
}

impl WatermarkExec {
    pub(super) fn new(observer: Observer, input: Arc<dyn ExecutionPlan>) -> Self {
        Self::over(Arc::new(observer), input)
    }

    fn over(observer: Arc<Observer>, input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { observer, input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for WatermarkExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WatermarkExec: {}", self.observer.id)
    }
}

impl ExecutionPlan for WatermarkExec {
    fn name(&self) -> &'static str {
        "WatermarkExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::over(self.observer.clone(), only_input("a watermark", children)?)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let observer = self.observer.clone();
        let rows = self.input.execute(partition, context)?.and_then(move |rows| {
            let passed = observer.pass(rows).map_err(DataFusionError::from);
            futures::future::ready(passed)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

impl Observer {
    /// The rows that go on.
    fn pass(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let rows = match self.max_future_ms {
            Some(ahead_ms) => self.without_future(rows, ahead_ms)?,
            None => rows,
        };
        if let Some(seen) = observe(rows.column(self.index).as_ref()) {
            self.shared.observed(&self.id, seen);
        }
        Ok(rows)
    }

    fn without_future(&self, rows: RecordBatch, ahead_ms: i64) -> Result<RecordBatch> {
        let latest_us = self.shared.batch_time_us().saturating_add(ahead_ms.saturating_mul(1000));
        let times = instants(rows.column(self.index).as_ref());
        let believed = |row| times.is_null(row) || times.value(row) <= latest_us;
        let is_believed = BooleanArray::from_iter((0..rows.num_rows()).map(|row| Some(believed(row))));
        if is_believed.true_count() == rows.num_rows() {
            return Ok(rows);
        }
        let split = |which: &BooleanArray| {
            filter_record_batch(&rows, which).map_err(|e| Error::internal("could not set rows of the future aside").because(e))
        };
        let not_believed =
            arrow::compute::not(&is_believed).map_err(|e| Error::internal("could not negate a filter").because(e))?;
        self.shared.set_aside(SetAside {
            kind: SetAsideKind::Future,
            operator: format!("watermark {}", self.id),
            watermark_ms: Some(self.shared.watermark_ms()),
            field: Some(visible_name(rows.schema_ref().field(self.index).name()).to_owned()),
            reason: format!("the event time is more than {ahead_ms} ms after the batch's time"),
            rows: split(&not_believed)?,
        });
        split(&is_believed)
    }
}

/// The event times of a column: its own, or the ends of its windows.
fn instants(column: &dyn Array) -> TimestampMicrosecondArray {
    match column.data_type() {
        DataType::Struct(_) => {
            let windows = column.as_struct();
            let ends =
                windows.column_by_name("end").expect("the plan was checked for it").as_primitive::<TimestampMicrosecondType>();
            let nulls = NullBuffer::union(windows.nulls(), ends.nulls());
            TimestampMicrosecondArray::new(ends.values().clone(), nulls)
        }
        _ => column.as_primitive::<TimestampMicrosecondType>().clone(),
    }
}

/// Whole milliseconds of a column of instants; null counts as 1970.
fn observe(column: &dyn Array) -> Option<Observed> {
    let times = instants(column);
    if times.is_empty() {
        return None;
    }
    let (mut values, mut zeros) = (times.values().clone(), 0);
    if times.null_count() > 0 {
        values = times.iter().flatten().collect();
        zeros = times.null_count();
    }
    let (mut min_us, mut max_us) = if zeros > 0 { (0, 0) } else { (i64::MAX, i64::MIN) };
    for us in &values {
        min_us = min_us.min(*us);
        max_us = max_us.max(*us);
    }
    let (min_ms, max_ms) = (min_us.div_euclid(1000), max_us.div_euclid(1000));
    let sum_ms = if min_us >= 0 && (max_ms as u64).checked_mul(values.len() as u64).is_some() {
        // Each is a multiplication then, and their sum a number of 64 bits.
        i128::from(values.iter().map(|us| *us as u64 / 1000).sum::<u64>())
    } else {
        values.iter().map(|us| i128::from(us.div_euclid(1000))).sum()
    };
    Some(Observed { max_ms, min_ms, sum_ms, rows: (values.len() + zeros) as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_is_in_whole_milliseconds_and_null_is_1970() {
        let cases: [&[Option<i64>]; 6] = [
            &[Some(1_999), Some(2_000), Some(0)],
            &[Some(-1), Some(-1_000), Some(-1_001)],
            &[None, Some(5_500)],
            &[None],
            &[None, Some(-5)],
            &[Some(i64::MAX), Some(i64::MIN), Some(i64::MAX), None],
        ];
        for case in cases {
            let ms = || case.iter().map(|us| us.unwrap_or(0).div_euclid(1000));
            let expected = Observed {
                max_ms: ms().max().unwrap_or(0),
                min_ms: ms().min().unwrap_or(0),
                sum_ms: ms().map(i128::from).sum(),
                rows: case.len() as u64,
            };
            assert_eq!(observe(&TimestampMicrosecondArray::from(case.to_vec())), Some(expected), "{case:?}");
        }
        assert_eq!(observe(&TimestampMicrosecondArray::from(Vec::<i64>::new())), None);
    }
}
