//! The plans of a question: one that runs as a stream, and one that answers it once over all rows it is given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::SOURCES;
use super::question::{Late, Question};
use super::stream::Event;
use crate::plan::event_time::Watermark;
use crate::plan::spark::types;
use crate::plan::streaming::StreamingPlan;
use crate::plan::{BatchInput, Catalog, Deduplication, OutputMode, PlanSettings, QueryText, Scope, StaticTable, StreamTable};

/// The columns of every source.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", types::timestamp(), true),
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

pub(super) fn page(events: &[Event]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter(events.iter().map(|event| event.us)).with_timezone("UTC")),
        Arc::new(Int64Array::from_iter(events.iter().map(|event| event.key))),
        Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.value))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn catalog() -> Catalog {
    let stream = |name: &&str| StreamTable { name: (*name).to_owned(), schema: schema(), metadata: Vec::new() };
    let columns = vec![Field::new("id", DataType::Int64, true), Field::new("city", DataType::Utf8, true)];
    let cities = Arc::new(Schema::new(columns));
    let rows: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![0, 1, 2])), Arc::new(StringArray::from(vec!["Oslo", "Rome", "Oslo"]))];
    let table = StaticTable {
        name: "u".to_owned(),
        schema: cities.clone(),
        rows: vec![RecordBatch::try_new(cities, rows).unwrap()].into(),
    };
    Catalog { streams: SOURCES.iter().map(stream).collect(), tables: vec![table], ..Catalog::default() }
}

/// The plan that runs batch by batch.
pub(super) async fn plan(question: &Question) -> StreamingPlan {
    let sources = || SOURCES.iter().map(|source| (*source).to_owned());
    let watermark = |delay_ms: &i64| Watermark::new("ts", Duration::from_millis(delay_ms.unsigned_abs()));
    let dedup = question.deduplication.map(|dedup| Deduplication {
        by: dedup.by.iter().map(|column| (*column).to_owned()).collect(),
        within_watermark: dedup.within_watermark,
    });
    let catalog = Catalog {
        watermarks: sources().zip(question.delays_ms.iter().map(watermark)).collect(),
        deduplications: dedup.into_iter().flat_map(|dedup| sources().map(move |source| (source, dedup.clone()))).collect(),
        ..catalog()
    };
    planned(question, &catalog, question.mode, Scope::Query).await
}

async fn planned(question: &Question, catalog: &Catalog, output_mode: OutputMode, scope: Scope) -> StreamingPlan {
    let settings = PlanSettings { time_zone: "UTC".into(), state_memory_bytes_max: 1 << 28, output_mode, scope };
    let planned = StreamingPlan::new("q", &QueryText::Sql(question.sql.clone()), catalog, &settings).await;
    planned.unwrap_or_else(|error| panic!("{question}\ncannot be planned: {}", error.chain()))
}

/// Answers a question over rows that are all there at once, without state and without event time.
pub(super) struct Oracle(Option<StreamingPlan>);

impl Oracle {
    /// Sessions are no batch query, and streams are not joined in one: models answer them by themselves.
    pub(super) async fn new(question: &Question) -> Self {
        match question.late {
            Late::BySession(_) | Late::InJoin(_) => Self(None),
            _ => Self(Some(planned(question, &catalog(), OutputMode::Append, Scope::MicroBatch).await)),
        }
    }

    /// The answer over these rows of each source, a line per row.
    pub(super) async fn ask(&mut self, rows: &[Vec<Event>]) -> Vec<String> {
        let plan = self.0.as_mut().expect("a model needs it");
        let input = input(plan, rows);
        let output = plan.run(input).await.unwrap();
        output.rows.iter().flat_map(lines).collect()
    }
}

/// What `plan` is given for these rows.
fn input(plan: &StreamingPlan, rows: &[Vec<Event>]) -> BatchInput {
    let rows_of = |source: &str| SOURCES.iter().position(|name| *name == source).and_then(|at| rows.get(at));
    let rows: BTreeMap<_, _> = plan
        .scans()
        .iter()
        .map(|scan| {
            let rows = rows_of(&scan.source).map_or_else(|| page(&[]), |rows| page(rows));
            (scan.source.clone(), [rows.project(&scan.projection).unwrap()].into_iter().collect())
        })
        .collect();
    BatchInput { rows, batch_time_us: 0, watermark_ms: 0, late_watermark_ms: 0, seed: 0, calls: None }
}

/// Each row as text.
pub(super) fn lines(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("null");
    let columns: Vec<_> = rows.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|column| column.value(row).to_string().replace(", ", ",")).collect::<Vec<_>>().join(" ");
    (0..rows.num_rows()).map(line).collect()
}
