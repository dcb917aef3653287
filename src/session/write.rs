//! From a `DataFrame` or SQL to a running query.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::dataframe::DataFrame;

use super::{OutputMode, Scope, Session, StreamingQuery, Trigger};
use crate::engine::start::{self, Host};
use crate::engine::status::QueryMonitor;
use crate::error::{Error, Result};
use crate::pipeline::{ConsoleFormat, ConsoleSink, FileFormat, FilePath, FileSink, QuerySpec, Roll, SinkConnector, SinkSpec};
use crate::plan::QueryText;
use crate::sink::kafka::KafkaSinkSettings;
use crate::sink::memory::MemoryTable;
use crate::sink::metric::MetricSettings;
use crate::sink::redis::RedisSinkSettings;
use crate::watermark::WatermarkPolicy;

/// Settings that name where results go.
pub trait SinkSettings {
    /// The connector, and the table behind it for a memory sink.
    fn connector(self) -> (SinkConnector, Option<MemoryTable>);
}

/// Standard output, as Spark's box table.
#[derive(Debug, Clone, Default)]
pub struct Console(ConsoleSink);

impl Console {
    /// One JSON line per batch instead of a table.
    #[must_use]
    pub fn json(mut self) -> Self {
        self.0.format = ConsoleFormat::Json;
        self
    }

    /// Cells are cut to so many characters; `None` shows them whole.
    #[must_use]
    pub fn truncate(mut self, characters: Option<usize>) -> Self {
        self.0.truncate = characters;
        self
    }

    /// Rows shown per batch (default 20).
    #[must_use]
    pub fn num_rows(mut self, rows: usize) -> Self {
        self.0.num_rows = rows;
        self
    }
}

impl SinkSettings for Console {
    fn connector(self) -> (SinkConnector, Option<MemoryTable>) {
        (SinkConnector::Console(self.0), None)
    }
}

/// Files of a folder, exactly once.
#[derive(Debug, Clone)]
pub struct FileOutput(FileSink);

impl FileOutput {
    /// Files of `format` under `path`.
    pub fn at(path: impl Into<PathBuf>, format: FileFormat) -> Self {
        Self(FileSink { path: FilePath::plain(path), format, partition_by: Vec::new(), roll: None })
    }

    /// Columns that become folders.
    #[must_use]
    pub fn partition_by(mut self, columns: &[&str]) -> Self {
        self.0.partition_by = columns.iter().map(|column| (*column).to_owned()).collect();
        self
    }

    /// Gathers batches into larger files, which readers see when they are done, or when the query ends.
    #[must_use]
    pub fn roll(mut self, roll: Roll) -> Self {
        self.0.roll = Some(roll);
        self
    }
}

impl SinkSettings for FileOutput {
    fn connector(self) -> (SinkConnector, Option<MemoryTable>) {
        (SinkConnector::File(self.0), None)
    }
}

/// A table in this process that SQL can read: see [`StreamingQuery::table`].
#[derive(Debug, Clone, Default)]
pub struct MemoryOutput;

impl SinkSettings for MemoryOutput {
    fn connector(self) -> (SinkConnector, Option<MemoryTable>) {
        (SinkConnector::Memory, Some(MemoryTable::default()))
    }
}

/// Messages to Kafka topics.
impl SinkSettings for KafkaSinkSettings {
    fn connector(self) -> (SinkConnector, Option<MemoryTable>) {
        (SinkConnector::Kafka(Box::new(self)), None)
    }
}

/// Operations on keys of Redis.
impl SinkSettings for RedisSinkSettings {
    fn connector(self) -> (SinkConnector, Option<MemoryTable>) {
        (SinkConnector::Redis(Box::new(self)), None)
    }
}

/// Series of a Prometheus gauge.
impl SinkSettings for MetricSettings {
    fn connector(self) -> (SinkConnector, Option<MemoryTable>) {
        (SinkConnector::Metric(Box::new(self)), None)
    }
}

/// Nowhere: rows are counted.
#[derive(Debug, Clone, Default)]
pub struct Discard;

impl SinkSettings for Discard {
    fn connector(self) -> (SinkConnector, Option<MemoryTable>) {
        (SinkConnector::Discard, None)
    }
}

/// `write_stream` on a `DataFrame` that came from [`Session::read_stream`].
pub trait WriteStream {
    /// Names the query that puts this frame out.
    fn write_stream(self, name: &str) -> WriteQuery;
}

impl WriteStream for DataFrame {
    fn write_stream(self, name: &str) -> WriteQuery {
        let session = Session::of(&self);
        let (_, plan) = self.into_parts();
        WriteQuery::new(session, name, QueryText::Plan(Box::new(plan)))
    }
}

/// A query on its way to being started.
pub struct WriteQuery {
    session: Result<Session>,
    query: QuerySpec,
    table: Option<MemoryTable>,
}

impl WriteQuery {
    pub(super) fn new(session: Result<Session>, name: &str, text: QueryText) -> Self {
        let query = QuerySpec {
            name: name.to_owned(),
            text,
            position: None,
            output_mode: OutputMode::default(),
            scope: Scope::default(),
            trigger: Trigger::default(),
            watermark_policy: WatermarkPolicy::default(),
            sinks: Vec::new(),
            dead_letter: None,
        };
        Self { session, query, table: None }
    }

    /// Which rows of a stateful result a batch emits (default append).
    #[must_use]
    pub fn output_mode(mut self, mode: OutputMode) -> Self {
        self.query.output_mode = mode;
        self
    }

    /// How long state lives (default: as long as the query).
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.query.scope = scope;
        self
    }

    /// When a batch runs (default: as fast as possible).
    #[must_use]
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.query.trigger = trigger;
        self
    }

    /// Which of several watermarks is the query's (default the smallest).
    #[must_use]
    pub fn watermark_policy(mut self, policy: WatermarkPolicy) -> Self {
        self.query.watermark_policy = policy;
        self
    }

    /// Adds a sink; sinks commit in the order they were added.
    #[must_use]
    pub fn to(mut self, sink: impl SinkSettings) -> Self {
        let (connector, table) = sink.connector();
        let same = self.query.sinks.iter().filter(|other| other.connector.key() == connector.key()).count();
        let name = if same == 0 { connector.key().to_owned() } else { format!("{}_{}", connector.key(), same + 1) };
        self.table = table.or(self.table);
        self.query.sinks.push(SinkSpec { name, connector, select: None, position: None });
        self
    }

    /// Where malformed lines and late rows go; it always appends.
    #[must_use]
    pub fn dead_letter(mut self, sink: impl SinkSettings) -> Self {
        let (connector, _) = sink.connector();
        self.query.dead_letter = Some(SinkSpec { name: "dead_letter".to_owned(), connector, select: None, position: None });
        self
    }

    /// Plans the query, claims its checkpoint and runs it in a task of its own.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] for whatever Spark refuses at a start; what goes wrong later ends the query.
    pub async fn start(self) -> Result<StreamingQuery> {
        let session = self.session?;
        if self.query.sinks.is_empty() {
            return Err(Error::config(format!("query {:?} has no sink: call `to`", self.query.name)));
        }
        let name = &self.query.name;
        let pipeline = {
            let mut pipeline = session.state().pipeline.clone();
            pipeline.queries.push(self.query.clone());
            Arc::new(pipeline)
        };
        let declared = start::declared(&pipeline)?;
        let planned = start::plan_one(&pipeline, &self.query, &declared).await?;
        let host = {
            let mut state = session.state();
            if state.pipeline.queries.iter().any(|query| query.name == *name) {
                return Err(Error::config(format!("there is already a query called {name:?}")));
            }
            let host = match &state.host {
                Some(host) => host.clone(),
                None => state.host.insert(Host::open(&pipeline.name, &pipeline.checkpoint, session.0.resources.clone())?).clone(),
            };
            state.pipeline.queries.push(self.query.clone());
            host
        };
        if let Some(table) = &self.table {
            session.0.resources.memory.add_result(name, table.clone());
        }
        let running = host.start(&pipeline, planned, QueryMonitor::new(name));
        Ok(StreamingQuery::new(session, running, self.table))
    }
}
