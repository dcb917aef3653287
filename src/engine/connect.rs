//! Settings → open sources and sinks: the one place that knows every connector's constructor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, PoisonError};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::feed::Decoders;
use super::query::{QuerySink, QuerySource, SourceRows};
use super::start::{Resources, plan_settings};
use crate::checkpoint::CheckpointRoot;
use crate::checkpoint::storage::{LocalVfs, SharedVfs};
use crate::error::{Error, ErrorKind, Result};
use crate::format::csv::CsvOptions;
use crate::format::{DecodeRequest, FormatOptions, KeepMalformed, LineLimits, MetadataColumn, OnMalformed};
use crate::kafka::default_id;
use crate::pipeline::{
    self, Address, ConsoleFormat, CsvSpec, FileSource, FormatSpec, HttpSource, Pipeline, QuerySpec, SinkConnector, SinkSpec,
    SocketEndpoint, SocketSource, SourceConnector, SourceSpec, Trigger,
};
use crate::plan::catalog::metadata_field;
use crate::plan::streaming::{ResultPlan, StreamingPlan};
use crate::plan::{PlanSettings, ScanRequest, StreamTable};
use crate::service::Tls;
use crate::sink::console::{self, Console, Truncate};
use crate::sink::discard::Discard;
use crate::sink::file::FileSink;
use crate::sink::kafka::KafkaSink;
use crate::sink::memory::Memory;
use crate::sink::metric::Metric;
use crate::sink::redis::RedisSink;
use crate::sink::{Sink, dead_letter};
use crate::source::file::{CleanSource, FileSettings};
use crate::source::http::HttpSettings;
use crate::source::ingest::{Host, IngestSettings, Inlet, Keep};
use crate::source::rate::{RateSettings, RateSource};
use crate::source::socket::{Endpoint, SocketSettings};
use crate::source::{Extent, Source, SourceStats, file, http, kafka, memory, rate, socket};

/// Opens the sources and sinks of one process's queries.
pub(super) struct Connector {
    root: CheckpointRoot,
    resources: Resources,
    inlets: Mutex<BTreeMap<String, Arc<Inlet>>>,
    /// Source and query of each scan that was announced.
    readers: std::sync::Mutex<BTreeSet<(String, String)>>,
    /// Ends the inlets' tasks; not the stop token, so that queries can finish their batches first.
    cancel: CancellationToken,
}

/// A source that is opened once per process.
#[derive(Clone, Copy)]
enum Receiving<'a> {
    Socket(&'a SocketSource),
    Http(&'a HttpSource),
}

impl Receiving<'_> {
    /// Whether what it receives survives the process. An HTTP source has promised that to its clients.
    fn is_durable(self) -> bool {
        match self {
            Self::Socket(settings) => settings.durable,
            Self::Http(_) => true,
        }
    }
}

impl Connector {
    pub(super) fn new(root: CheckpointRoot, resources: Resources) -> Self {
        Self { root, resources, inlets: Mutex::default(), readers: std::sync::Mutex::default(), cancel: CancellationToken::new() }
    }

    /// Says which sources a query is going to read, before any of the process's queries opens one.
    pub(super) fn announce(&self, query: &str, plan: &StreamingPlan) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.extend(plan.scans().iter().map(|scan| (scan.source.clone(), query.to_owned())));
    }

    /// The queries that read a source: any other must not hold its log back.
    fn readers_of(&self, source: &str) -> Vec<String> {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.iter().filter(|(read, _)| read == source).map(|(_, query)| query.clone()).collect()
    }

    /// The sources that a query's plan scans.
    pub(super) async fn open_sources(
        &self,
        pipeline: &Pipeline,
        query: &QuerySpec,
        plan: &StreamingPlan,
    ) -> Result<Vec<QuerySource>> {
        let mut sources = Vec::new();
        for scan in plan.scans() {
            let spec = pipeline
                .source(&scan.source)
                .ok_or_else(|| Error::internal(format!("the plan scans an unknown source {:?}", scan.source)))?;
            let (source, stats) = self
                .open_source(pipeline, query, spec, scan)
                .await
                .map_err(|error| Error::new(error.kind(), format!("source {:?} cannot be opened", spec.name)).because(error))?;
            let rows = rows_of(pipeline, query, spec, scan)?;
            let starts_empty = matches!(spec.connector, SourceConnector::Socket(_));
            sources.push(QuerySource { name: spec.name.clone(), source, stats, rows, limit: spec.admission, starts_empty });
        }
        Ok(sources)
    }

    async fn open_source(
        &self,
        pipeline: &Pipeline,
        query: &QuerySpec,
        spec: &SourceSpec,
        scan: &ScanRequest,
    ) -> Result<(Box<dyn Source>, Option<Arc<SourceStats>>)> {
        let extent = match query.trigger {
            Trigger::AvailableNow | Trigger::Once => Extent::AvailableNow,
            Trigger::AsFastAsPossible | Trigger::Interval(_) => Extent::Endless,
        };
        let source: Box<dyn Source> = match &spec.connector {
            SourceConnector::File(settings) => {
                let folder = self.root.source_dir(&format!("{}.{}", query.name, spec.name))?;
                let settings = file_settings(settings, pipeline);
                let files = self.root.vfs().clone();
                Box::new(file::FileSource::open(settings, files, &folder, extent).await?)
            }
            SourceConnector::Kafka(settings) => {
                let wanted = kafka::Wanted {
                    timestamps: scan.metadata.contains(&MetadataColumn::Timestamp),
                    keys: scan.metadata.contains(&MetadataColumn::Key),
                    raw: spec.format.is_none(),
                };
                let group = default_id(&pipeline.name, &query.name, &spec.name);
                let source = kafka::KafkaSource::open(settings.as_ref().clone(), &group, wanted, extent).await?;
                let stats = source.stats();
                self.resources.metrics.add_lag(&pipeline.name, &query.name, &spec.name, stats.clone());
                return Ok((Box::new(source), Some(stats)));
            }
            SourceConnector::Rate(settings) => {
                let rows_per_second = u32::try_from(settings.rows_per_second).unwrap_or(u32::MAX);
                Box::new(RateSource::new(RateSettings { rows_per_second }, self.resources.clock.clone(), extent)?)
            }
            SourceConnector::Memory(_) => {
                let stream = self.resources.memory.stream(&spec.name);
                let stream = stream.ok_or_else(|| Error::config(format!("memory source {:?} has no stream", spec.name)))?;
                Box::new(stream.source(extent))
            }
            SourceConnector::Socket(settings) => {
                Box::new(self.inlet(pipeline, spec, Receiving::Socket(settings)).await?.source(&query.name, extent))
            }
            SourceConnector::Http(settings) => {
                Box::new(self.inlet(pipeline, spec, Receiving::Http(settings)).await?.source(&query.name, extent))
            }
        };
        Ok((source, None))
    }

    /// The source called `spec.name` that receives, opened once for all queries of the process.
    async fn inlet(&self, pipeline: &Pipeline, spec: &SourceSpec, receiving: Receiving<'_>) -> Result<Arc<Inlet>> {
        let mut inlets = self.inlets.lock().await;
        if let Some(inlet) = inlets.get(&spec.name) {
            return Ok(inlet.clone());
        }
        let keep = if receiving.is_durable() {
            Keep::Durably { vfs: self.root.vfs().clone(), dir: self.root.source_dir(&spec.name)? }
        } else {
            Keep::InMemory
        };
        let queries = self.readers_of(&spec.name);
        let host = Host { clock: self.resources.clock.clone(), runtime: &self.resources.io, cancel: &self.cancel };
        let opened = match receiving {
            Receiving::Socket(settings) => {
                socket::open(&spec.name, socket_settings(settings, pipeline), keep, queries, host).await?
            }
            Receiving::Http(settings) => http::open(&spec.name, http_settings(settings, pipeline)?, keep, queries, host).await?,
        };
        let inlet = Arc::new(opened);
        let limits = (pipeline.limits.connections_max, pipeline.limits.ingest_log_bytes_max);
        self.resources.metrics.add_source(&pipeline.name, &spec.name, inlet.stats(), limits);
        self.resources.metrics.add_listener(&pipeline.name, &format!("source.{}", spec.name), inlet.stats().clients.clone());
        if let Some(address) = inlet.local_addr() {
            tracing::info!(source = spec.name, %address, "listening");
        }
        inlets.insert(spec.name.clone(), inlet.clone());
        Ok(inlet)
    }

    /// The sinks of a query, in commit order, and its dead letter.
    pub(super) async fn open_sinks(
        &self,
        pipeline: &Pipeline,
        query: &QuerySpec,
        plan: &StreamingPlan,
    ) -> Result<(Vec<QuerySink>, Option<QuerySink>)> {
        let settings = plan_settings(pipeline, query);
        let mut sinks = Vec::new();
        for spec in &query.sinks {
            let select = select_plan(spec, &plan.schema(), &settings).await?;
            sinks.push(self.open_sink(pipeline, query, spec, select));
        }
        let dead_letter = query.dead_letter.as_ref().map(|spec| {
            let sink = self.open_sink(pipeline, query, spec, None);
            QuerySink { takes_empty: false, ..sink }
        });
        Ok((sinks, dead_letter))
    }

    fn open_sink(&self, pipeline: &Pipeline, query: &QuerySpec, spec: &SinkSpec, select: Option<ResultPlan>) -> QuerySink {
        let zone = pipeline.time_zone.as_ref();
        let sink: Box<dyn Sink> = match &spec.connector {
            SinkConnector::Console(settings) => {
                let format = match settings.format {
                    ConsoleFormat::Json => console::ConsoleFormat::Json,
                    ConsoleFormat::Table => console::ConsoleFormat::Table {
                        num_rows: settings.num_rows,
                        truncate: settings.truncate.map_or(Truncate::Never, Truncate::At),
                    },
                };
                Box::new(Console::new(&query.name, format, zone, (self.resources.console)()))
            }
            SinkConnector::File(settings) => Box::new(file_sink(settings, self.resources.files.clone(), zone)),
            SinkConnector::Kafka(settings) => {
                let id = default_id(&pipeline.name, &query.name, &spec.name);
                Box::new(KafkaSink::new(settings.as_ref().clone(), &id, zone))
            }
            SinkConnector::Redis(settings) => {
                let marker = default_id(&pipeline.name, &query.name, &spec.name);
                Box::new(RedisSink::new(settings.as_ref().clone(), &marker, zone))
            }
            SinkConnector::Metric(settings) => {
                let metrics = self.resources.metrics.clone();
                Box::new(Metric::new(settings.as_ref().clone(), query.output_mode, &pipeline.name, &query.name, metrics))
            }
            SinkConnector::Memory => Box::new(Memory::new(self.resources.memory.result(&query.name), query.output_mode)),
            SinkConnector::Discard => Box::new(Discard),
        };
        let takes_empty = matches!(spec.connector, SinkConnector::Console(_) | SinkConnector::Memory | SinkConnector::Metric(_));
        QuerySink { name: spec.name.clone(), sink, select, takes_empty }
    }

    /// Closes what the process's queries shared.
    pub(super) async fn close(&self) -> Result<()> {
        for (name, inlet) in std::mem::take(&mut *self.inlets.lock().await) {
            if let Some(inlet) = Arc::into_inner(inlet) {
                inlet
                    .close()
                    .await
                    .map_err(|error| Error::new(error.kind(), format!("source {name:?} cannot be closed")).because(error))?;
            }
        }
        Ok(())
    }
}

/// Refuses sinks that cannot take a query's rows, and `select`s that cannot be planned.
pub(super) async fn check_sinks(query: &QuerySpec, plan: &StreamingPlan, settings: &PlanSettings) -> Result<()> {
    for spec in &query.sinks {
        let named =
            |error: Error| Error::new(error.kind(), format!("sink {:?} cannot take the result", spec.name)).because(error);
        if let Some(message) = spec.connector.refuses(query.output_mode) {
            return Err(named(Error::spark(ErrorKind::Config, "STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE", message)));
        }
        let select = select_plan(spec, &plan.schema(), settings).await.map_err(named)?;
        let schema = select.as_ref().map_or_else(|| plan.schema(), ResultPlan::schema);
        check_sink(spec, &schema, settings).map_err(named)?;
    }
    match &query.dead_letter {
        Some(spec) => check_sink(spec, &dead_letter::schema(), settings),
        None => Ok(()),
    }
}

fn check_sink(spec: &SinkSpec, schema: &SchemaRef, settings: &PlanSettings) -> Result<()> {
    match &spec.connector {
        SinkConnector::File(file) => file_sink(file, LocalVfs::shared(), &settings.time_zone).check(schema),
        SinkConnector::Kafka(kafka) => KafkaSink::new(kafka.as_ref().clone(), "", &settings.time_zone).check(schema),
        SinkConnector::Redis(redis) => RedisSink::new(redis.as_ref().clone(), "", &settings.time_zone).check(schema),
        SinkConnector::Metric(metric) => metric.check(schema),
        SinkConnector::Console(_) | SinkConnector::Memory | SinkConnector::Discard => Ok(()),
    }
}

async fn select_plan(spec: &SinkSpec, schema: &SchemaRef, settings: &PlanSettings) -> Result<Option<ResultPlan>> {
    match &spec.select {
        Some(sql) => Ok(Some(ResultPlan::new(sql, schema, settings).await?)),
        None => Ok(None),
    }
}

/// A source as SQL sees it.
pub(super) fn stream_table(spec: &SourceSpec) -> StreamTable {
    let (metadata, schema) = match &spec.connector {
        SourceConnector::Socket(_) => (socket::SPEC.metadata, declared_schema(spec)),
        SourceConnector::Http(_) => (http::SPEC.metadata, declared_schema(spec)),
        SourceConnector::File(_) => (file::SPEC.metadata, declared_schema(spec)),
        // The raw columns say the same without underscores.
        SourceConnector::Kafka(settings) if spec.format.is_none() => {
            (&[MetadataColumn::Source][..], kafka::schema(settings.include_headers))
        }
        SourceConnector::Kafka(_) => (kafka::SPEC.metadata, declared_schema(spec)),
        SourceConnector::Rate(_) => (rate::SPEC.metadata, rate::schema()),
        SourceConnector::Memory(settings) => (memory::SPEC.metadata, settings.schema.clone()),
    };
    StreamTable { name: spec.name.clone(), schema, metadata: metadata.to_vec() }
}

fn declared_schema(spec: &SourceSpec) -> SchemaRef {
    match &spec.format {
        Some(FormatSpec::Json { schema } | FormatSpec::Csv { schema, .. }) => schema.clone(),
        Some(FormatSpec::Text | FormatSpec::Parquet) | None if has_timestamp(spec) => {
            let received_at = metadata_field(MetadataColumn::ReceivedAt).with_name("timestamp");
            let value = text_schema().field(0).clone();
            Arc::new(Schema::new(vec![value, received_at]))
        }
        Some(FormatSpec::Text | FormatSpec::Parquet) | None => text_schema(),
    }
}

/// Spark's `includeTimestamp`: a second column with the time a line was received.
fn has_timestamp(spec: &SourceSpec) -> bool {
    matches!(&spec.connector, SourceConnector::Socket(socket) if socket.include_timestamp)
}

fn text_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]))
}

/// Without an escape character only a doubled quote stands for a quote.
fn csv_options(csv: &CsvSpec) -> Result<CsvOptions> {
    let quote = csv.quote.ok_or_else(|| Error::config("csv: reading needs a `quote` character; `none` is for file sinks"))?;
    Ok(CsvOptions {
        header: csv.header,
        separator: csv.separator,
        quote,
        escape: csv.escape.unwrap_or(quote),
        null_value: csv.null_value.clone(),
    })
}

/// The schema and options of a format of lines.
pub(super) fn line_format(format: &FormatSpec) -> Result<(SchemaRef, FormatOptions)> {
    match format {
        FormatSpec::Json { schema } => Ok((schema.clone(), FormatOptions::Json)),
        FormatSpec::Text => Ok((text_schema(), FormatOptions::Text)),
        FormatSpec::Csv { schema, csv } => Ok((schema.clone(), FormatOptions::Csv(csv_options(csv)?))),
        FormatSpec::Parquet => Err(Error::config("Parquet is a format of tables, not of lines")),
    }
}

/// A request for every declared column of a static table.
pub(super) fn decode_all_columns(time_zone: &Arc<str>, limits: LineLimits, name: &str, schema: &SchemaRef) -> DecodeRequest {
    DecodeRequest {
        schema: schema.clone(),
        projection: (0..schema.fields().len()).collect(),
        metadata: Vec::new(),
        filter: Vec::new(),
        on_malformed: OnMalformed::Permissive,
        keep_malformed: KeepMalformed::None,
        source: name.into(),
        time_zone: time_zone.clone(),
        limits,
    }
}

/// How a source's chunks become the rows that `scan` asks for.
fn rows_of(pipeline: &Pipeline, query: &QuerySpec, spec: &SourceSpec, scan: &ScanRequest) -> Result<SourceRows> {
    let Some(format) = &spec.format else {
        return Ok(SourceRows::Columns {
            source: spec.name.as_str().into(),
            projection: scan.projection.clone(),
            metadata: scan.metadata.clone(),
        });
    };
    let (schema, options) = line_format(format)?;
    let (mut projection, mut metadata) = (scan.projection.clone(), scan.metadata.clone());
    if has_timestamp(spec) && projection.contains(&1) {
        // The second column is metadata to the decoder; it stands last among the declared ones, and so does it here.
        projection.retain(|column| *column != 1);
        metadata.insert(0, MetadataColumn::ReceivedAt);
    }
    let request = DecodeRequest {
        projection,
        metadata,
        // The time of receipt is no column to the decoder.
        filter: scan.filter.iter().filter(|condition| condition.column < schema.fields().len()).cloned().collect(),
        on_malformed: spec.on_malformed,
        keep_malformed: match (&query.dead_letter, pipeline.service.show_rows) {
            (Some(_), _) => KeepMalformed::All,
            (None, true) => KeepMalformed::Samples,
            (None, false) => KeepMalformed::None,
        },
        ..decode_all_columns(&pipeline.time_zone, pipeline.limits.lines, &spec.name, &schema)
    };
    Ok(SourceRows::Lines(Arc::new(Decoders::new(options, request)?)))
}

fn file_settings(settings: &FileSource, pipeline: &Pipeline) -> FileSettings {
    FileSettings {
        tail: settings.tail,
        max_file_age: settings.max_file_age,
        clean_source: match &settings.clean_source {
            pipeline::CleanSource::Off => CleanSource::Off,
            pipeline::CleanSource::Archive(folder) => CleanSource::Archive(folder.to_path_buf()),
            pipeline::CleanSource::Delete => CleanSource::Delete,
        },
        line_bytes_max: pipeline.limits.lines.line_bytes_max,
        ..FileSettings::new(Path::new(settings.path.as_ref() as &Path))
    }
}

fn file_sink(settings: &pipeline::FileSink, files: SharedVfs, zone: &str) -> FileSink {
    FileSink::new(files, settings.path.to_path_buf(), settings.format.clone(), settings.partition_by.clone(), zone)
        .rolling(settings.roll.clone())
}

fn socket_settings(settings: &SocketSource, pipeline: &Pipeline) -> SocketSettings {
    let endpoint = match &settings.endpoint {
        SocketEndpoint::Connect(address) => Endpoint::Connect(host_and_port(address)),
        SocketEndpoint::Listen(address) => Endpoint::Listen(host_and_port(address)),
    };
    SocketSettings {
        connect_timeout: settings.connect_timeout,
        connections_max: pipeline.limits.connections_max,
        allow_from: settings.allow_from.clone(),
        line_bytes_max: pipeline.limits.lines.line_bytes_max,
        log: IngestSettings { log_bytes_max: pipeline.limits.ingest_log_bytes_max, ..IngestSettings::default() },
        ..SocketSettings::new(endpoint)
    }
}

fn http_settings(settings: &HttpSource, pipeline: &Pipeline) -> Result<HttpSettings> {
    let tls = settings.tls.as_ref().map(Tls::read).transpose()?;
    let defaults = HttpSettings::new(&host_and_port(&settings.listen), &settings.path);
    Ok(HttpSettings {
        tokens: settings.tokens.clone(),
        tls,
        is_insecure: settings.is_insecure,
        allow_from: settings.allow_from.clone(),
        request_bytes_max: settings.request_bytes_max,
        connections_max: pipeline.limits.connections_max,
        line_bytes_max: pipeline.limits.lines.line_bytes_max,
        log: IngestSettings { log_bytes_max: pipeline.limits.ingest_log_bytes_max, ..defaults.log },
        ..defaults
    })
}

fn host_and_port(address: &Address) -> String {
    let (host, port) = address.host_and_port();
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
