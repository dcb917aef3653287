//! WHAT to run, as plain types: what a pipeline file becomes when it is right, and what the Rust API builds.
//!
//! Every default is filled in, every path resolved, every name checked; nothing here has been opened yet.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use ipnet::IpNet;

use super::text::{Address, FilePath, Text};
use crate::format::{LineLimits, OnMalformed};
use crate::function::Function;
use crate::plan::event_time::Watermark;
use crate::plan::{Deduplication, OutputMode, QueryText, Scope};
use crate::sink::kafka::KafkaSinkSettings;
use crate::sink::metric::MetricSettings;
use crate::sink::redis::{RedisOperation, RedisSinkSettings};
use crate::source::ReadLimit;
use crate::source::kafka::KafkaSettings;
use crate::watermark::WatermarkPolicy;

/// Everything one process runs.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Names it in metrics, groups and transactions.
    pub name: String,
    /// Where it remembers what it did.
    pub checkpoint: CheckpointRoot,
    /// Zone of zoneless text and date functions (IANA name, default `UTC`); fixed in the checkpoint.
    pub time_zone: Arc<str>,
    /// Streams, in file order. Sources, tables and views share one namespace, without regard to case.
    pub sources: Vec<SourceSpec>,
    /// Static tables, in file order.
    pub tables: Vec<TableSpec>,
    /// Views, in file order.
    pub views: Vec<ViewSpec>,
    /// Functions that ask the outside world; nothing is asked before a batch calls one.
    pub functions: Vec<Arc<Function>>,
    /// Queries, in file order; at least one.
    pub queries: Vec<QuerySpec>,
    /// What the process may use.
    pub limits: Limits,
    /// Who may look at it and control it over HTTP.
    pub service: ServiceSpec,
}

/// Where a pipeline's logs and states lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointRoot {
    /// A folder that survives the process: a restart goes on where the last run stopped.
    At(FilePath),
    /// A temporary folder, removed after a clean end: nothing needs to outlive the process.
    Temporary,
}

/// A stream.
#[derive(Debug, Clone)]
pub struct SourceSpec {
    /// Its name in SQL, in progress and in the checkpoint.
    pub name: String,
    /// Where its rows come from.
    pub connector: SourceConnector,
    /// How its lines become rows; `None` for connectors that yield rows (rate, memory, Kafka's raw columns).
    pub format: Option<FormatSpec>,
    /// What a line that is not right yields.
    pub on_malformed: OnMalformed,
    /// What one batch takes at most; `once` ignores it.
    pub admission: ReadLimit,
    /// When its rows happened, and how late they may come.
    pub watermark: Option<Watermark>,
    /// What is taken out of it as repeated.
    pub deduplicate: Option<Deduplication>,
}

/// Where a stream's rows come from.
#[derive(Debug, Clone)]
pub enum SourceConnector {
    /// Lines over TCP.
    Socket(SocketSource),
    /// Lines over HTTP.
    Http(Box<HttpSource>),
    /// Files of a folder or glob, or one file.
    File(FileSource),
    /// Messages of Kafka topics.
    Kafka(Box<KafkaSettings>),
    /// Made-up rows at a steady rate: `timestamp TIMESTAMP, value BIGINT`.
    Rate(RateSource),
    /// Rows that a program adds (Rust API only).
    Memory(MemorySource),
}

/// Lines over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSource {
    /// Who calls whom.
    pub endpoint: SocketEndpoint,
    /// Whether a column `timestamp` (when the line was received) follows `value`; with format text only.
    pub include_timestamp: bool,
    /// The first connection fails the query after this time (default 30 s); later ones are retried for ever.
    pub connect_timeout: Duration,
    /// Whether lines go through the ingest log (default); else they are gone when the process ends.
    pub durable: bool,
    /// Clients that may connect to a listener; empty admits all.
    pub allow_from: Vec<IpNet>,
}

impl SocketSource {
    /// Whether a client at `ip` may send; an IPv4 address written as IPv6 counts as IPv4.
    pub fn allows(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.allow_from.is_empty() || self.allow_from.iter().any(|net| net.contains(&ip))
    }
}

/// Lines that clients POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// Where to listen; port 0 takes a free one.
    pub listen: Address,
    /// Where requests go; begins with `/`.
    pub path: String,
    /// What a request must show one of; without any only this machine is listened to.
    pub tokens: Vec<Text>,
    /// What to encrypt with.
    pub tls: Option<TlsSpec>,
    /// Whether a token is enough beyond loopback, though it and all rows are sent in clear.
    pub is_insecure: bool,
    /// Where clients may come from; empty is anywhere.
    pub allow_from: Vec<IpNet>,
    /// Bytes of one request at most, unpacked and as it is sent (default 8 MiB).
    pub request_bytes_max: usize,
}

/// Who calls whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketEndpoint {
    /// We connect to a server, again and again.
    Connect(Address),
    /// We listen for any number of clients; port 0 takes a free one.
    Listen(Address),
}

/// Files as they appear, in order of modification time and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// A folder, a glob or a single file.
    pub path: FilePath,
    /// Files older than this, measured from the newest seen, are left alone (default 7 days); bounds what is remembered.
    pub max_file_age: Duration,
    /// What becomes of a file when its rows are committed.
    pub clean_source: CleanSource,
    /// Whether files are followed as they grow.
    pub tail: bool,
}

/// What becomes of a file when its rows are committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanSource {
    /// It stays.
    Off,
    /// It is moved into this folder.
    Archive(FilePath),
    /// It is deleted.
    Delete,
}

/// Made-up rows at a steady rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateSource {
    /// Rows per second (default 1), at least 1.
    pub rows_per_second: u64,
}

/// Rows that a program adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySource {
    /// Their columns.
    pub schema: SchemaRef,
}

/// How bytes become columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatSpec {
    /// One JSON object per line.
    Json {
        /// The declared columns.
        schema: SchemaRef,
    },
    /// One column `value STRING` per line.
    Text,
    /// Comma-separated values, one record per line.
    Csv {
        /// The declared columns.
        schema: SchemaRef,
        /// Separator, quote and the like.
        csv: CsvSpec,
    },
    /// Parquet files, with their own schema (static tables only).
    Parquet,
}

/// How comma-separated values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvSpec {
    /// Whether the first line of a file names the columns (default no).
    pub header: bool,
    /// Between two values (default `,`), one ASCII character.
    pub separator: u8,
    /// Around values that need it (default `"`), one ASCII character; `None` quotes nothing.
    pub quote: Option<u8>,
    /// Before a quote within quotes (default `\`), one ASCII character; `None` knows only doubled quotes.
    pub escape: Option<u8>,
    /// The text that stands for null (default: empty).
    pub null_value: String,
}

impl Default for CsvSpec {
    fn default() -> Self {
        Self { header: false, separator: b',', quote: Some(b'"'), escape: Some(b'\\'), null_value: String::new() }
    }
}

/// When a static table's files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refresh {
    /// Once, at start.
    #[default]
    Never,
    /// At start, and again before a batch that finds them changed.
    WhenChanged,
}

/// A table that is read at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Its name in SQL.
    pub name: String,
    /// A file, a folder or a glob.
    pub path: FilePath,
    /// How its files become rows.
    pub format: FormatSpec,
    /// Whether they are read again.
    pub refresh: Refresh,
}

/// A named query text, inlined where it is named.
#[derive(Debug, Clone)]
pub struct ViewSpec {
    /// Its name in SQL.
    pub name: String,
    /// Its SQL.
    pub sql: String,
    /// Where the SQL stands in the file.
    pub position: Option<Position>,
    /// When its rows happened, and how late they may come.
    pub watermark: Option<Watermark>,
    /// What is taken out of it as repeated.
    pub deduplicate: Option<Deduplication>,
}

/// A line and a column of the pipeline file, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A query with its sinks.
#[derive(Debug, Clone)]
pub struct QuerySpec {
    /// Names it in metrics, progress and the checkpoint.
    pub name: String,
    /// What it computes.
    pub text: QueryText,
    /// Where its SQL stands in the file.
    pub position: Option<Position>,
    /// Which rows of a stateful result a batch emits.
    pub output_mode: OutputMode,
    /// How long state lives.
    pub scope: Scope,
    /// When a batch runs.
    pub trigger: Trigger,
    /// Which of its watermarks is the query's.
    pub watermark_policy: WatermarkPolicy,
    /// Where results go, in commit order; at least one. Names are unique within the query.
    pub sinks: Vec<SinkSpec>,
    /// Where malformed and late rows go, staged and committed with the batch; it always appends. Its name is `dead_letter`.
    pub dead_letter: Option<SinkSpec>,
}

/// When a batch runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trigger {
    /// As soon as there is something to read.
    #[default]
    AsFastAsPossible,
    /// At multiples of this interval since 1970; missed ones collapse.
    Interval(Duration),
    /// What is there at start, in batches of the admission limits, then ends.
    AvailableNow,
    /// What is there at start in one batch, then ends.
    Once,
}

impl Trigger {
    /// Every `interval`; zero is as fast as possible.
    pub fn every(interval: Duration) -> Self {
        if interval.is_zero() { Self::AsFastAsPossible } else { Self::Interval(interval) }
    }
}

/// One place that results go to.
#[derive(Debug, Clone)]
pub struct SinkSpec {
    /// Its name within the query: the connector's, unless another is given.
    pub name: String,
    /// Where the rows go.
    pub connector: SinkConnector,
    /// Stateless SQL over `result`, the query's rows; `None` takes them as they are.
    pub select: Option<String>,
    /// Where `select` stands in the file.
    pub position: Option<Position>,
}

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkConnector {
    /// Standard output, for people and `jq`.
    Console(ConsoleSink),
    /// Files of a folder, exactly once.
    File(FileSink),
    /// Messages to Kafka topics.
    Kafka(Box<KafkaSinkSettings>),
    /// Operations on keys of Redis.
    Redis(Box<RedisSinkSettings>),
    /// Series of a Prometheus gauge.
    Metric(Box<MetricSettings>),
    /// A table that the Rust API can query (Rust API only).
    Memory,
    /// Nowhere: rows are counted (benchmarks).
    Discard,
}

impl SinkConnector {
    /// What is wrong with a query of `mode` into this sink.
    pub(crate) fn refuses(&self, mode: OutputMode) -> Option<String> {
        let adds = matches!(self, Self::Redis(redis) if matches!(redis.operation, RedisOperation::AtomicAdd { .. }));
        refuses_mode(self.key(), adds, mode)
    }

    /// The connector's key in a pipeline file, and a sink's name when none is given.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Console(_) => "console",
            Self::File(_) => "file",
            Self::Kafka(_) => "kafka",
            Self::Redis(_) => "redis",
            Self::Metric(_) => "metric",
            Self::Memory => "memory",
            Self::Discard => "discard",
        }
    }
}

/// Why the sink `key` takes no rows in `mode`: those that were emitted stay, so others in their place would come on top. `adds` says that
/// a sink for Redis adds numbers.
pub(crate) fn refuses_mode(key: &str, adds: bool, mode: OutputMode) -> Option<String> {
    let word = match mode {
        OutputMode::Append => return None,
        OutputMode::Update => "update",
        OutputMode::Complete => "complete",
    };
    let sink = match (key, adds) {
        ("file", _) => "file, which appends",
        (_, true) => "redis with operation: atomic_add, which would add each result again",
        (_, false) => return None,
    };
    Some(format!("invalid streaming output mode: {word}. This output mode is not supported by the sink {sink}"))
}

/// Standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSink {
    /// What a batch looks like.
    pub format: ConsoleFormat,
    /// Rows of the table shown (default 20).
    pub num_rows: usize,
    /// Characters of a cell shown (default 20); `None` shows all and aligns left.
    pub truncate: Option<usize>,
}

impl Default for ConsoleSink {
    fn default() -> Self {
        Self { format: ConsoleFormat::Table, num_rows: 20, truncate: Some(20) }
    }
}

/// What a batch on the console looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsoleFormat {
    /// Spark's box table.
    #[default]
    Table,
    /// One line of JSON per batch, with all its rows.
    Json,
}

/// Files of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSink {
    /// The folder.
    pub path: FilePath,
    /// How rows are written.
    pub format: FileFormat,
    /// Columns that become folders `column=value` and leave the file's body.
    pub partition_by: Vec<String>,
    /// When the batches of several commits become a file; `None` makes files of each batch.
    pub roll: Option<Roll>,
}

/// When files are done that gather batches: all of a sink together, as soon as one of these is so. Without any they never are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roll {
    /// One of the files has so many rows.
    pub rows: Option<u64>,
    /// One of the files has so many bytes, as its batches were encoded.
    pub bytes: Option<u64>,
    /// The first batch in them is so old, by the times of batches.
    pub age: Option<Duration>,
}

impl Roll {
    /// Whether no file would be done before the query ends.
    pub fn is_never(&self) -> bool {
        self.rows.is_none() && self.bytes.is_none() && self.age.is_none()
    }
}

/// How rows are written to files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFormat {
    /// One object per line, `.json`.
    Json,
    /// Comma-separated values, `.csv`.
    Csv(CsvSpec),
    /// Parquet, `.parquet`.
    Parquet,
}

/// Who may look at a process and control it over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// What lets everything be done; without any token only this machine is listened to.
    pub tokens: Vec<Text>,
    /// What lets everything be seen.
    pub read_tokens: Vec<Text>,
    /// What lets `/metrics` be read; with any, `--metrics` asks for a token, too.
    pub metrics_tokens: Vec<Text>,
    /// What to encrypt with.
    pub tls: Option<TlsSpec>,
    /// Whether tokens are enough beyond loopback, though they and all rows are sent in clear.
    pub is_insecure: bool,
    /// Whether the page shows rows of results and malformed lines (default true).
    pub show_rows: bool,
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            read_tokens: Vec::new(),
            metrics_tokens: Vec::new(),
            tls: None,
            is_insecure: false,
            show_rows: true,
        }
    }
}

/// What a listener encrypts with: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSpec {
    /// The certificate, and those that it was signed by.
    pub certificate: FilePath,
    /// Its key.
    pub key: FilePath,
    /// Authorities of which clients need a certificate; without, they need none.
    pub client_ca: Option<FilePath>,
}

/// What a process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// What all stateful operators of one query hold together, in bytes (default 1 GiB).
    pub state_memory_bytes_max: u64,
    /// What one source's ingest log holds before its socket is no longer read, in bytes (default 4 GiB).
    pub ingest_log_bytes_max: u64,
    /// What one batch stages for all its sinks, in bytes (default 1 GiB).
    pub stage_bytes_max: u64,
    /// Longest line (default 1 MiB) and deepest JSON nesting (default 64).
    pub lines: LineLimits,
    /// Connections of one listener at a time (default 1024).
    pub connections_max: usize,
    /// Calls of functions in flight, those of all queries together (default 1000).
    pub calls_in_flight_max: usize,
    /// The same of one query (default 1000).
    pub calls_in_flight_per_query_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            state_memory_bytes_max: 1 << 30,
            ingest_log_bytes_max: 4 << 30,
            stage_bytes_max: 1 << 30,
            lines: LineLimits::default(),
            connections_max: 1024,
            calls_in_flight_max: 1000,
            calls_in_flight_per_query_max: 1000,
        }
    }
}

impl Pipeline {
    /// The source called `name`, without regard to case, as SQL resolves it.
    pub fn source(&self, name: &str) -> Option<&SourceSpec> {
        self.sources.iter().find(|source| source.name.eq_ignore_ascii_case(name))
    }

    /// The checkpoint's folder, if it has a lasting one.
    pub fn checkpoint_path(&self) -> Option<&Path> {
        match &self.checkpoint {
            CheckpointRoot::At(path) => Some(path),
            CheckpointRoot::Temporary => None,
        }
    }
}

impl From<PathBuf> for CheckpointRoot {
    fn from(path: PathBuf) -> Self {
        Self::At(FilePath::plain(path))
    }
}
