//! From a checked pipeline to running queries.
//!
//! Everything that can be refused is refused before anything is opened: every query is planned first, then the checkpoint root
//! is claimed, then each query opens its sources and sinks in a task of its own, so that one that cannot start does not keep the
//! others from running.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, info};

use super::StopAfter;
use super::connect::Connector;
pub use super::process::Process;
use super::query::{Query, QueryParts};
use super::status::QueryMonitor;
use super::tables::{self, WatchedTable};
use super::way_out::{self, About};
use crate::checkpoint::storage::{LocalVfs, SharedVfs};
use crate::checkpoint::{self, Checkpoint, CheckpointRoot, Identity};
use crate::clock::Clock;
use crate::error::{Attempt, Error, ErrorKind, Result, from_datafusion};
use crate::function::QueryCalls;
use crate::metrics::{Metrics, QueryMetrics};
use crate::pipeline::{self, Pipeline, QuerySpec, SourceConnector, SourceSpec};
use crate::plan::catalog::StreamScan;
use crate::plan::event_time;
use crate::plan::streaming::StreamingPlan;
use crate::plan::{Catalog, OutputMode, PlanSettings};
use crate::service::Tls;
use crate::sink::console::{OUTPUT_CLOSED, Output};
use crate::sink::memory::MemoryTable;
use crate::source::memory::MemoryStream;

/// What the process lends to its queries.
#[derive(Clone)]
pub struct Resources {
    /// The runtime that sockets live on.
    pub io: Handle,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The process's series.
    pub metrics: Metrics,
    /// Cancelled to stop every query after its current batch.
    pub stop: CancellationToken,
    /// Where console sinks print.
    pub console: Arc<dyn Fn() -> Output + Send + Sync>,
    /// What memory sources and sinks read and write.
    pub memory: MemoryTables,
    /// File system of checkpoints and ingest logs.
    pub files: SharedVfs,
    /// Where tests cut a batch off.
    pub stop_after: StopAfter,
}

impl Resources {
    /// The real clock, standard output, and no memory tables.
    pub fn new(io: Handle, metrics: Metrics) -> Self {
        Self {
            io,
            clock: Arc::new(crate::clock::SystemClock),
            metrics,
            stop: CancellationToken::new(),
            console: Arc::new(|| Box::new(std::io::stdout())),
            memory: MemoryTables::default(),
            files: LocalVfs::shared(),
            stop_after: StopAfter::default(),
        }
    }
}

/// The rows behind memory sources and sinks; clones share them.
#[derive(Clone, Default)]
pub struct MemoryTables(Arc<Mutex<MemoryContents>>);

#[derive(Default)]
struct MemoryContents {
    streams: BTreeMap<String, MemoryStream>,
    results: BTreeMap<String, MemoryTable>,
}

impl MemoryTables {
    /// The rows behind the memory source `source`.
    pub fn add_stream(&self, source: &str, stream: MemoryStream) {
        self.lock().streams.insert(source.to_owned(), stream);
    }

    /// Where the memory sink of `query` writes.
    pub fn add_result(&self, query: &str, table: MemoryTable) {
        self.lock().results.insert(query.to_owned(), table);
    }

    pub(super) fn stream(&self, source: &str) -> Option<MemoryStream> {
        self.lock().streams.get(source).cloned()
    }

    pub(super) fn result(&self, query: &str) -> MemoryTable {
        self.lock().results.entry(query.to_owned()).or_default().clone()
    }

    fn lock(&self) -> MutexGuard<'_, MemoryContents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query of the pipeline with its plan.
pub struct PlannedQuery {
    spec: QuerySpec,
    plan: StreamingPlan,
    /// The tables it reads that are read again when their files change.
    tables: Vec<Arc<WatchedTable>>,
}

/// Everything that the queries of a pipeline may name.
pub struct Declared {
    catalog: Catalog,
    watched: Vec<Arc<WatchedTable>>,
}

impl PlannedQuery {
    /// The query's name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The name of its source, if it has only one.
    fn only_source(&self) -> Option<String> {
        let sources: BTreeSet<_> = self.plan.scans().iter().map(|scan| &scan.source).collect();
        sources.first().filter(|_| sources.len() == 1).map(|source| (*source).clone())
    }

    /// What its batches run.
    pub fn plan(&self) -> &StreamingPlan {
        &self.plan
    }

    /// Its plans, and what it keeps for how long, as text.
    pub fn explain(&self) -> String {
        self.plan.explain(self.spec.watermark_policy)
    }

    /// What its checkpoint remembers of it.
    fn identity(&self, time_zone: &str) -> Result<Identity> {
        let mut operators = BTreeMap::new();
        for operator in self.plan.fingerprints() {
            let value = serde_json::to_value(&operator)
                .attempting(ErrorKind::Internal, || format!("describe operator {}", operator.id))?;
            operators.insert(operator.id, value);
        }
        let sources: BTreeSet<_> = self.plan.scans().iter().map(|scan| scan.source.clone()).collect();
        Ok(Identity { time_zone: time_zone.to_owned(), sources, operators })
    }
}

/// Plans every query of `pipeline`; reads its static tables, and opens nothing else.
pub async fn plan_all(pipeline: &Pipeline) -> Result<Vec<PlannedQuery>> {
    let declared = declared(pipeline)?;
    let (mut planned, mut refused) = (Vec::new(), Vec::new());
    for spec in &pipeline.queries {
        match plan_one(pipeline, spec, &declared).await {
            Ok(query) => planned.push(query),
            Err(error) => refused.push(error),
        }
    }
    match (refused.len(), refused.pop()) {
        (_, None) => one_reader_where_files_go(pipeline, &planned).map(|()| planned),
        (1, Some(error)) => Err(error),
        // All at once, as with the problems of the file itself.
        (count, Some(last)) => {
            let kind = refused.first().map_or(last.kind(), Error::kind);
            let lines: Vec<_> = refused.iter().chain([&last]).map(Error::chain).collect();
            Err(Error::new(kind, format!("{count} queries cannot run:\n  {}", lines.join("\n  "))))
        }
    }
}

/// Refuses to clean up files that several queries read: each goes at its own pace, and the first one to be done with a file would take it
/// away from the others, which would never know of it.
fn one_reader_where_files_go(pipeline: &Pipeline, planned: &[PlannedQuery]) -> Result<()> {
    let cleans = |source: &&SourceSpec| matches!(&source.connector, SourceConnector::File(file) if file.clean_source != pipeline::CleanSource::Off);
    for source in pipeline.sources.iter().filter(cleans) {
        let reads = |query: &&PlannedQuery| query.plan.scans().iter().any(|scan| scan.source == source.name);
        let readers: Vec<_> = planned.iter().filter(reads).map(PlannedQuery::name).collect();
        if readers.len() > 1 {
            let (name, readers) = (&source.name, readers.join(" and "));
            return Err(Error::config(format!(
                "source {name:?} has clean_source and is read by the queries {readers}: the first to be done with a file would take it away from \
                 the others; leave clean_source off, or let one query write to several sinks"
            )));
        }
    }
    Ok(())
}

/// Everything that the queries of `pipeline` may name; reads its static tables.
pub fn declared(pipeline: &Pipeline) -> Result<Declared> {
    for source in &pipeline.sources {
        if let Some(format) = &source.format {
            super::connect::line_format(format)
                .map_err(|error| Error::new(error.kind(), format!("source {:?} cannot be read", source.name)).because(error))?;
        }
    }
    let streams: Vec<_> = pipeline.sources.iter().map(super::connect::stream_table).collect();
    for (source, table) in pipeline.sources.iter().zip(&streams) {
        if let Some(watermark) = &source.watermark {
            event_time::check(&StreamScan::new(table).schema(), watermark)
                .map_err(|error| Error::new(error.kind(), format!("source {:?} cannot be read", source.name)).because(error))?;
        }
    }
    let of_sources = pipeline.sources.iter().map(|source| (&source.name, &source.watermark));
    let watermarks = of_sources.chain(pipeline.views.iter().map(|view| (&view.name, &view.watermark)));
    let watermarks = watermarks.filter_map(|(name, watermark)| Some((name.to_lowercase(), watermark.clone()?)));
    let of_sources = pipeline.sources.iter().map(|source| (&source.name, &source.deduplicate));
    let deduplications = of_sources.chain(pipeline.views.iter().map(|view| (&view.name, &view.deduplicate)));
    let deduplications = deduplications.filter_map(|(name, deduplicate)| Some((name.to_lowercase(), deduplicate.clone()?)));
    let (tables, watched) = tables::read_all(pipeline)?;
    let catalog = Catalog {
        deduplications: deduplications.collect(),
        watermarks: watermarks.collect(),
        streams,
        tables,
        views: pipeline.views.iter().map(|view| (view.name.clone(), view.sql.clone())).collect(),
        functions: pipeline.functions.clone(),
    };
    Ok(Declared { catalog, watched })
}

/// The plan that reads all declared columns of a source.
pub fn scan_of(spec: &SourceSpec) -> Result<LogicalPlan> {
    let table = super::connect::stream_table(spec);
    let source = crate::plan::catalog::stream_source(&table);
    let columns = (0..table.schema.fields().len()).collect();
    let plan = LogicalPlanBuilder::scan(table.name.as_str(), source, Some(columns))
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| from_datafusion(error, ErrorKind::Config))?;
    let Some(watermark) = &spec.watermark else { return Ok(plan) };
    event_time::check(plan.schema().as_arrow(), watermark)?;
    let column = plan.schema().columns().into_iter().find(|column| column.name.eq_ignore_ascii_case(&watermark.column));
    let column = column.ok_or_else(|| Error::internal("a checked column is there"))?;
    event_time::watermarked(plan, &spec.name.to_lowercase(), column, watermark.clone())
}

/// Plans one query and checks that its sinks can take its rows.
pub async fn plan_one(pipeline: &Pipeline, spec: &QuerySpec, declared: &Declared) -> Result<PlannedQuery> {
    let place = spec.position.map(|position| format!(" (its SQL starts at line {position})")).unwrap_or_default();
    let named = |error: Error| Error::new(error.kind(), format!("query {:?}{place} cannot run", spec.name)).because(error);
    let settings = plan_settings(pipeline, spec);
    let plan = StreamingPlan::new(&spec.name, &spec.text, &declared.catalog, &settings).await.map_err(named)?;
    super::connect::check_sinks(spec, &plan, &settings).await.map_err(named)?;
    let tables = plan.replaceable_tables().filter_map(|name| declared.watched.iter().find(|table| table.name() == name).cloned());
    let tables = tables.collect();
    Ok(PlannedQuery { spec: spec.clone(), plan, tables })
}

/// Refuses file sources whose path is not there and certificates that cannot be used, as a start does; all at once.
pub fn check_files(pipeline: &Pipeline) -> Result<()> {
    let refused = pipeline.sources.iter().filter_map(|source| match &source.connector {
        SourceConnector::File(file) => {
            let error = crate::source::file::check_path(&file.path).err()?;
            Some(format!("source {:?} cannot be opened: {}", source.name, error.chain()))
        }
        SourceConnector::Http(http) => {
            let error = Tls::read(http.tls.as_ref()?).err()?;
            Some(format!("source {:?} cannot be opened: {}", source.name, error.chain()))
        }
        SourceConnector::Socket(_) | SourceConnector::Kafka(_) | SourceConnector::Rate(_) | SourceConnector::Memory(_) => None,
    });
    let service = pipeline.service.tls.as_ref().and_then(|files| Tls::read(files).err());
    let refused: Vec<_> = refused.chain(service.map(|error| format!("service.tls: {}", error.chain()))).collect();
    if refused.is_empty() { Ok(()) } else { Err(Error::config(refused.join("\n  "))) }
}

/// What of each query does not fit the checkpoint that `pipeline` names; empty where there is none.
pub fn compare_with_checkpoint(pipeline: &Pipeline, planned: &[PlannedQuery]) -> Result<Vec<String>> {
    let Some(root) = pipeline.checkpoint_path().filter(|path| path.exists()) else { return Ok(Vec::new()) };
    let files = LocalVfs::shared();
    let mut differences = Vec::new();
    for query in planned {
        let found = checkpoint::compare(&files, root, query.name(), &query.identity(&pipeline.time_zone)?)?;
        differences.extend(found.into_iter().map(|difference| format!("query {:?}: {difference}", query.name())));
    }
    Ok(differences)
}

/// Moves the checkpoint root of `pipeline` aside: its new path, if there was one.
pub fn move_checkpoint_aside(pipeline: &Pipeline) -> Result<Option<PathBuf>> {
    match pipeline.checkpoint_path() {
        Some(path) => CheckpointRoot::archive(&LocalVfs::shared(), path),
        None => Ok(None),
    }
}

/// What the queries of one process share: the claimed checkpoint root, and the sources that are opened once.
#[derive(Clone)]
pub struct Host {
    root: CheckpointRoot,
    connector: Arc<Connector>,
    resources: Resources,
    queries: TaskTracker,
}

/// One query, running in a task of its own.
pub struct Running {
    /// What it lets the outside know.
    pub monitor: QueryMonitor,
    /// Cancelled to stop this query after its current batch.
    pub stop: CancellationToken,
    /// Its outcome.
    pub task: JoinHandle<Result<()>>,
}

impl Host {
    /// Claims the checkpoint root of the pipeline called `name`.
    pub fn open(name: &str, root: &pipeline::CheckpointRoot, resources: Resources) -> Result<Self> {
        let root = match root {
            pipeline::CheckpointRoot::At(path) => CheckpointRoot::open(resources.files.clone(), path)?,
            pipeline::CheckpointRoot::Temporary => CheckpointRoot::temporary()?,
        };
        resources.metrics.runs(name);
        resources.metrics.watch_disk(name, root.path().to_owned());
        let connector = Arc::new(Connector::new(root.clone(), resources.clone()));
        Ok(Self { root, connector, resources, queries: TaskTracker::new() })
    }

    /// Starts a query of `pipeline` on the current runtime, to be watched through `monitor`. What goes wrong from here on is its
    /// task's outcome.
    pub fn start(&self, pipeline: &Arc<Pipeline>, query: PlannedQuery, monitor: QueryMonitor) -> Running {
        self.resources.metrics.watch_query(&pipeline.name, &monitor);
        self.start_until(pipeline, query, monitor, self.resources.stop.child_token())
    }

    /// The same, until `stop` is cancelled.
    pub(super) fn start_until(
        &self,
        pipeline: &Arc<Pipeline>,
        query: PlannedQuery,
        monitor: QueryMonitor,
        stop: CancellationToken,
    ) -> Running {
        self.announce(&query);
        let task = self.queries.spawn(watched(pipeline.clone(), self.clone(), query, monitor.clone(), stop.clone()));
        Running { monitor, stop, task }
    }

    /// Says what a query is going to read, before any query opens it.
    pub(super) fn announce(&self, query: &PlannedQuery) {
        self.connector.announce(query.name(), query.plan());
    }

    /// The process's series.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.resources.metrics
    }

    /// The checkpoint root.
    pub(super) fn root(&self) -> &CheckpointRoot {
        &self.root
    }

    /// The runtime that sockets live on.
    pub(super) fn io(&self) -> &Handle {
        &self.resources.io
    }

    /// Waits until no query runs any more.
    pub async fn ended(&self) {
        self.queries.close();
        self.queries.wait().await;
    }

    /// Closes the shared sources and, after a clean end, removes a temporary root.
    pub async fn close(self, is_clean: bool) -> Result<()> {
        self.connector.close().await?;
        if is_clean { self.root.finish() } else { Ok(()) }
    }
}

/// A monitor for each query of `pipeline`, in file order.
pub fn monitors_of(pipeline: &Pipeline) -> Vec<QueryMonitor> {
    pipeline.queries.iter().map(|query| QueryMonitor::new(&query.name)).collect()
}

/// What a row did wrong is told without the row: Spark's messages quote values, and logs hold none.
fn log_failure(query: &str, batch: Option<u64>, error: &Error) {
    let way_out = error.way_out();
    let text = match error.kind() {
        ErrorKind::Data => error.message().to_owned() + &way_out.map(|way| format!("; to go on: {way}")).unwrap_or_default(),
        _ => error.chain(),
    };
    error!(query, batch, code = error.code(), error = text, "query failed");
}

/// Runs a query to its end and tells its monitor and metrics how it ended; a panic is its failure and nobody else's.
async fn watched(
    pipeline: Arc<Pipeline>,
    host: Host,
    query: PlannedQuery,
    monitor: QueryMonitor,
    stop: CancellationToken,
) -> Result<()> {
    let name = query.name().to_owned();
    let (root, source) = (host.root.path().to_owned(), query.only_source());
    let metrics = host.resources.metrics.query(&pipeline.name, &name);
    metrics.running.set(1);
    let inner = AbortOnDropHandle::new(tokio::spawn(run_one(pipeline, host, query, monitor.clone(), stop)));
    let outcome = inner.await.unwrap_or_else(|panic| Err(Error::internal(format!("query {name:?} panicked")).because(panic)));
    metrics.running.set(0);
    metrics.failed_tries.set(0);
    metrics.batch_started.set(0.0);
    let outcome = match outcome {
        Err(error) if error.condition() == Some(OUTPUT_CLOSED) => {
            info!(query = name, "standard output was closed; the query is stopped");
            Ok(())
        }
        Err(error) => {
            let about = About { root: Some(&root), query: Some(&name), source: source.as_deref() };
            return Err(failed(&monitor, &metrics, error, &about));
        }
        Ok(()) => Ok(()),
    };
    monitor.ended(None);
    outcome
}

/// Tells logs, metrics and monitor that a query has failed, and what can be done about it.
pub(super) fn failed(monitor: &QueryMonitor, metrics: &QueryMetrics, error: Error, about: &About<'_>) -> Error {
    let error = way_out::complete(error, about);
    log_failure(about.query.unwrap_or_default(), monitor.batch(), &error);
    metrics.failed(&error);
    monitor.ended(Some(error.chain()));
    error
}

async fn run_one(
    pipeline: Arc<Pipeline>,
    host: Host,
    planned: PlannedQuery,
    monitor: QueryMonitor,
    stop: CancellationToken,
) -> Result<()> {
    let Host { root, connector, resources, .. } = host;
    let identity = planned.identity(&pipeline.time_zone)?;
    let PlannedQuery { spec, plan, tables } = planned;
    let (checkpoint, recovered) = Checkpoint::open(&root, &spec.name, &identity)?;
    let sources = connector.open_sources(&pipeline, &spec, &plan).await?;
    let (sinks, dead_letter) = connector.open_sinks(&pipeline, &spec, &plan).await?;
    let metrics = resources.metrics.query(&pipeline.name, &spec.name);
    metrics.state_limit.set(i64::try_from(pipeline.limits.state_memory_bytes_max).unwrap_or(i64::MAX));
    let calls = QueryCalls::new(
        (&pipeline.name, &spec.name),
        plan.functions(),
        pipeline.limits.calls_in_flight_per_query_max,
        &resources.metrics,
        resources.io.clone(),
    );
    monitor.glance().planned(plan.picture().clone(), &pipeline.time_zone);
    let parts = QueryParts {
        name: spec.name.clone(),
        time_zone: pipeline.time_zone.clone(),
        trigger: spec.trigger,
        watermark_policy: spec.watermark_policy,
        plan,
        tables,
        sources,
        sinks,
        dead_letter,
        checkpoint,
        recovered,
        calls,
        stage_bytes_max: pipeline.limits.stage_bytes_max,
        state_bytes_max: pipeline.limits.state_memory_bytes_max,
        clock: resources.clock.clone(),
        is_complete: spec.output_mode == OutputMode::Complete,
        shows_rows: pipeline.service.show_rows,
        monitor,
        metrics,
        stop_after: resources.stop_after.clone(),
    };
    let (query, first) = Query::open(parts).await?;
    info!(query = spec.name, "query started");
    query.run(first, stop).await
}

/// The settings that a query's plan depends on.
pub fn plan_settings(pipeline: &Pipeline, spec: &QuerySpec) -> PlanSettings {
    PlanSettings {
        time_zone: pipeline.time_zone.clone(),
        state_memory_bytes_max: usize::try_from(pipeline.limits.state_memory_bytes_max).unwrap_or(usize::MAX),
        output_mode: spec.output_mode,
        scope: spec.scope,
    }
}
