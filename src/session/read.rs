//! Declaring streams.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::common::Column;
use datafusion::dataframe::DataFrame;

use super::{OnMalformed, Session};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::operator::deduplicate::Deduplicate;
use crate::pipeline::{
    Address, CleanSource, FilePath, FileSource, FormatSpec, HttpSource, MemorySource, RateSource, SocketEndpoint, SocketSource,
    SourceConnector, SourceSpec, Text, TlsSpec,
};
use crate::plan::event_time::{Watermark, watermarked};
use crate::plan::spark::types::parse_schema;
use crate::source::ReadLimit;
use crate::source::http::{REQUEST_BYTES_MAX, check_path};
use crate::source::kafka::KafkaSettings;
use crate::source::memory::MemoryStream;

/// Settings that name where a stream comes from.
pub trait SourceSettings {
    /// The connector, and the rows behind it where a program adds them.
    fn connector(self) -> (SourceConnector, Option<MemoryStream>);
    /// What a batch takes at most where nothing else is said.
    fn default_limit(&self) -> ReadLimit {
        ReadLimit::default()
    }
}

/// Lines over TCP.
#[derive(Debug, Clone)]
pub struct Socket(SocketSource);

impl Socket {
    /// Connects to the server at `host:port`, again and again.
    pub fn connect(address: &str) -> Result<Self> {
        Ok(Self::new(SocketEndpoint::Connect(parse(address)?)))
    }

    /// Listens at `host:port` for any number of clients.
    pub fn listen(address: &str) -> Result<Self> {
        Ok(Self::new(SocketEndpoint::Listen(parse(address)?)))
    }

    fn new(endpoint: SocketEndpoint) -> Self {
        Self(SocketSource {
            endpoint,
            include_timestamp: false,
            connect_timeout: Duration::from_secs(30),
            durable: true,
            allow_from: Vec::new(),
        })
    }

    /// Whether lines go through the ingest log (default true).
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.0.durable = durable;
        self
    }
}

fn parse(address: &str) -> Result<Address> {
    Address::parse(&Text::plain(address)).map_err(|expected| Error::config(format!("{address:?}: {expected}")))
}

impl SourceSettings for Socket {
    fn connector(self) -> (SourceConnector, Option<MemoryStream>) {
        (SourceConnector::Socket(self.0), None)
    }

    fn default_limit(&self) -> ReadLimit {
        ReadLimit { bytes_max: Some(64 << 20), ..ReadLimit::default() }
    }
}

/// Lines that clients POST, answered once they are durable.
#[derive(Debug, Clone)]
pub struct Http(HttpSource);

impl Http {
    /// Listens at `host:port` for requests to `path`, such as `/transactions`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] for what is no address or no path.
    pub fn listen(address: &str, path: &str) -> Result<Self> {
        check_path(path).map_err(|expected| Error::config(format!("{path:?}: {expected}")))?;
        Ok(Self(HttpSource {
            listen: parse(address)?,
            path: path.to_owned(),
            tokens: Vec::new(),
            tls: None,
            is_insecure: false,
            allow_from: Vec::new(),
            request_bytes_max: REQUEST_BYTES_MAX,
        }))
    }

    /// What a request must show, of 22 characters or more; one of them, when there are several. Without any only loopback addresses
    /// are listened on.
    #[must_use]
    pub fn token(mut self, token: Text) -> Self {
        self.0.tokens.push(token);
        self
    }

    /// What to encrypt with; an address beyond loopback needs it beside a token.
    #[must_use]
    pub fn tls(mut self, tls: TlsSpec) -> Self {
        self.0.tls = Some(tls);
        self
    }
}

impl SourceSettings for Http {
    fn connector(self) -> (SourceConnector, Option<MemoryStream>) {
        (SourceConnector::Http(Box::new(self.0)), None)
    }

    fn default_limit(&self) -> ReadLimit {
        crate::source::http::SPEC.limit
    }
}

/// Files of a folder or glob, or one file.
#[derive(Debug, Clone)]
pub struct File(FileSource);

impl File {
    /// The files at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(FileSource {
            path: FilePath::plain(path),
            max_file_age: Duration::from_secs(7 * 24 * 60 * 60),
            clean_source: CleanSource::Off,
            tail: false,
        })
    }

    /// Follows files as they grow (default false).
    #[must_use]
    pub fn tail(mut self, tail: bool) -> Self {
        self.0.tail = tail;
        self
    }
}

impl SourceSettings for File {
    fn connector(self) -> (SourceConnector, Option<MemoryStream>) {
        (SourceConnector::File(self.0), None)
    }
}

/// Messages of Kafka topics; without a format, their raw columns.
impl SourceSettings for KafkaSettings {
    fn connector(self) -> (SourceConnector, Option<MemoryStream>) {
        (SourceConnector::Kafka(Box::new(self)), None)
    }

    fn default_limit(&self) -> ReadLimit {
        crate::source::kafka::SPEC.limit
    }
}

/// Made-up rows at a steady rate: `timestamp TIMESTAMP, value BIGINT`.
#[derive(Debug, Clone)]
pub struct Rate {
    /// Rows per second, at least 1.
    pub rows_per_second: u64,
}

impl SourceSettings for Rate {
    fn connector(self) -> (SourceConnector, Option<MemoryStream>) {
        (SourceConnector::Rate(RateSource { rows_per_second: self.rows_per_second }), None)
    }
}

/// Rows that the program adds to a [`MemoryStream`].
#[derive(Debug, Clone)]
pub struct MemoryInput {
    /// Where the rows are added; clones share it.
    pub stream: MemoryStream,
    /// Their columns.
    pub schema: SchemaRef,
}

impl SourceSettings for MemoryInput {
    fn connector(self) -> (SourceConnector, Option<MemoryStream>) {
        (SourceConnector::Memory(MemorySource { schema: self.schema }), Some(self.stream))
    }
}

/// A stream on its way to being declared.
pub struct ReadStream {
    session: Session,
    name: String,
    connector: Option<(SourceConnector, Option<MemoryStream>)>,
    format: Option<FormatSpec>,
    on_malformed: OnMalformed,
    limit: ReadLimit,
    watermark: Option<Watermark>,
}

impl ReadStream {
    pub(super) fn new(session: Session, name: &str) -> Self {
        Self {
            session,
            name: name.to_owned(),
            connector: None,
            format: None,
            on_malformed: OnMalformed::default(),
            limit: ReadLimit::default(),
            watermark: None,
        }
    }

    /// Where the rows come from.
    #[must_use]
    pub fn from(mut self, source: impl SourceSettings) -> Self {
        self.limit = source.default_limit();
        self.connector = Some(source.connector());
        self
    }

    /// JSON lines with the columns of a Spark DDL text.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] naming what is wrong in the text.
    pub fn json(self, schema: &str) -> Result<Self> {
        let schema = Arc::new(parse_schema(schema)?);
        Ok(self.format(FormatSpec::Json { schema }))
    }

    /// One column `value STRING` per line.
    #[must_use]
    pub fn text(self) -> Self {
        self.format(FormatSpec::Text)
    }

    /// Any format of lines.
    #[must_use]
    pub fn format(mut self, format: FormatSpec) -> Self {
        self.format = Some(format);
        self
    }

    /// What a line that is not right yields (default [`OnMalformed::Permissive`]).
    #[must_use]
    pub fn on_malformed(mut self, on_malformed: OnMalformed) -> Self {
        self.on_malformed = on_malformed;
        self
    }

    /// What one batch takes at most.
    #[must_use]
    pub fn limit(mut self, limit: ReadLimit) -> Self {
        self.limit = limit;
        self
    }

    /// When the rows happened, and how late they may come.
    #[must_use]
    pub fn watermark(mut self, watermark: Watermark) -> Self {
        self.watermark = Some(watermark);
        self
    }

    /// Declares the stream: SQL of the session can name it from now on.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] when the name is taken or settings are missing or do not fit each other.
    pub fn load(self) -> Result<DataFrame> {
        let (connector, stream) =
            self.connector.ok_or_else(|| Error::config(format!("stream {:?} has no source: call `from`", self.name)))?;
        let yields_rows = matches!(connector, SourceConnector::Rate(_) | SourceConnector::Memory(_));
        match (&self.format, yields_rows) {
            (None, false) if matches!(connector, SourceConnector::Kafka(_)) => {}
            (None, false) => {
                return Err(Error::config(format!("stream {:?} has no format: call `json`, `text` or `format`", self.name)));
            }
            (Some(_), true) => return Err(Error::config(format!("stream {:?} yields rows and takes no format", self.name))),
            (Some(FormatSpec::Parquet), false) => {
                return Err(Error::config(format!("stream {:?}: Parquet is a format of tables", self.name)));
            }
            (Some(_), false) | (None, true) => {}
        }
        if let Some(stream) = stream {
            self.session.0.resources.memory.add_stream(&self.name, stream);
        }
        let spec = SourceSpec {
            name: self.name,
            connector,
            format: self.format,
            on_malformed: self.on_malformed,
            admission: self.limit,
            watermark: self.watermark,
            deduplicate: None,
        };
        let plan = self.session.declare(spec)?;
        Ok(DataFrame::new(self.session.0.context.state(), plan))
    }
}

/// `with_watermark` on a `DataFrame` that came from [`Session::read_stream`].
pub trait WithWatermark: Sized {
    /// Says that `column` is the event time, and that rows may come up to `delay` after later ones.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] with Spark's condition, if the column is no TIMESTAMP of the stream or a watermark stands below.
    fn with_watermark(self, column: &str, delay: Duration) -> Result<DataFrame>;
}

impl WithWatermark for DataFrame {
    fn with_watermark(self, column: &str, delay: Duration) -> Result<DataFrame> {
        let (state, plan) = self.into_parts();
        let field = plan.schema().qualified_field_with_unqualified_name(column);
        let (qualifier, field) = field.map_err(|e| from_datafusion(e, ErrorKind::Config))?;
        let at = Column::new(qualifier.cloned(), field.name());
        let id = at.flat_name();
        let plan = watermarked(plan, &id, at, Watermark::new(column, delay))?;
        Ok(DataFrame::new(state, plan))
    }
}

/// `drop_duplicates` on a `DataFrame` that came from [`Session::read_stream`].
pub trait DropDuplicates: Sized {
    /// Of rows that are the same in `columns`, only the first passes; without columns all of them tell rows apart. Keys are remembered
    /// until the watermark reaches them, if the event time is among `columns`, and for ever otherwise.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] for a column that is not there.
    fn drop_duplicates(self, columns: &[&str]) -> Result<DataFrame>;
    /// The same, but a key is remembered only until the watermark reaches its first row's time plus the watermark's delay.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] for a column that is not there, or without a watermark.
    fn drop_duplicates_within_watermark(self, columns: &[&str]) -> Result<DataFrame>;
}

impl DropDuplicates for DataFrame {
    fn drop_duplicates(self, columns: &[&str]) -> Result<DataFrame> {
        deduplicated(self, columns, false)
    }

    fn drop_duplicates_within_watermark(self, columns: &[&str]) -> Result<DataFrame> {
        deduplicated(self, columns, true)
    }
}

fn deduplicated(frame: DataFrame, columns: &[&str], within_watermark: bool) -> Result<DataFrame> {
    let (state, plan) = frame.into_parts();
    let find = |name: &&str| {
        let field = plan.schema().qualified_field_with_unqualified_name(name);
        field.map(Column::from).map_err(|e| from_datafusion(e, ErrorKind::Config))
    };
    let by = if columns.is_empty() { plan.schema().columns() } else { columns.iter().map(find).collect::<Result<_>>()? };
    let plan = Deduplicate::plan(plan, by, within_watermark)?;
    Ok(DataFrame::new(state, plan))
}
