//! The Rust API: what a pipeline file says, in Spark's shape, on DataFusion's `DataFrame`.
//!
//! A [`Session`] holds one checkpoint root. `read_stream` declares a source and gives it as a `DataFrame`; `write_stream` on any
//! `DataFrame` of the session names a query, its mode, trigger and sinks, and starts it in a task of its own. SQL through
//! [`Session::sql`] is Spark's dialect; expressions built with DataFusion's functions mean what DataFusion says.
//!
//! ```no_run
//! use std::time::Duration;
//! use datafusion::functions::expr_fn::concat;
//! use datafusion::functions_aggregate::expr_fn::count;
//! use datafusion::prelude::{col, lit};
//! use tidemill::session::{Console, OutputMode, Session, Socket, Trigger, WriteStream};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Session::builder().checkpoint_root("checkpoints").build()?;
//! let transactions = session
//!     .read_stream("transactions")
//!     .from(Socket::connect("127.0.0.1:5555")?)
//!     .json("name STRING, surname STRING, amount DOUBLE, delta_t DOUBLE, flag INT")?
//!     .load()?;
//! let query = transactions
//!     .filter(col("flag").eq(lit(1)))?
//!     .aggregate(vec![concat(vec![col("name"), col("surname")]).alias("user")], vec![count(lit(1)).alias("n")])?
//!     .write_stream("suspicious")
//!     .output_mode(OutputMode::Update)
//!     .trigger(Trigger::every(Duration::from_secs(2)))
//!     .to(Console::default())
//!     .start()
//!     .await?;
//! query.await_termination().await?;
//! # Ok(()) }
//! ```

mod read;
mod write;
mod query;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};

pub use query::StreamingQuery;
pub use read::{DropDuplicates, File, Http, MemoryInput, Rate, ReadStream, Socket, SourceSettings, WithWatermark};
pub use write::{Console, Discard, FileOutput, MemoryOutput, SinkSettings, WriteQuery, WriteStream};

pub use crate::format::OnMalformed;
pub use crate::pipeline::{Limits, Refresh, Trigger};
pub use crate::plan::event_time::Watermark;
pub use crate::plan::{OutputMode, Scope};
pub use crate::watermark::WatermarkPolicy;

use crate::clock::SystemClock;
use crate::engine::start::{Host, Resources};
use crate::error::{Error, Result};
use crate::format::datetime::Zone;
use crate::function::http::{self, HttpSettings};
use crate::function::object::{self, ObjectSettings, Objects};
use crate::function::policy::Budget;
use crate::function::redis::{self, RedisSettings};
use crate::function::{AsyncFunction, CallSettings, Function, Signature};
use crate::metrics::Metrics;
use crate::pipeline::{CheckpointRoot, FormatSpec, Pipeline, ServiceSpec, SourceSpec, TableSpec, ViewSpec};
use crate::plan::PlanSettings;
use crate::plan::function::call::find;
use crate::plan::spark::expression::call::is_built_in;
use crate::redis::Stores;

/// Queries that share sources and a checkpoint root; clones share the session.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    context: SessionContext,
    resources: Resources,
    /// Places for calls of functions.
    calls: Arc<Budget>,
    /// What HTTP functions share.
    http: http::Shared,
    /// What Redis functions share.
    stores: Stores,
    state: Mutex<State>,
}

struct State {
    /// Everything declared so far; a query sees what was there when it started.
    pipeline: Pipeline,
    /// The claimed root, from the first query on.
    host: Option<Host>,
}

/// Settings of a [`Session`].
#[derive(Debug, Clone)]
pub struct SessionBuilder {
    name: String,
    checkpoint: CheckpointRoot,
    time_zone: String,
    limits: Limits,
}

impl SessionBuilder {
    /// Names the session in metrics (default `session`).
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Where queries remember what they did. Without it a temporary folder is used, which suits console, memory and discard sinks.
    #[must_use]
    pub fn checkpoint_root(mut self, path: impl Into<PathBuf>) -> Self {
        self.checkpoint = path.into().into();
        self
    }

    /// Zone of zoneless text and date functions: a region or an offset such as `+02:00` (default `UTC`).
    #[must_use]
    pub fn time_zone(mut self, zone: &str) -> Self {
        zone.clone_into(&mut self.time_zone);
        self
    }

    /// What the process may use.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The session. It must be built within a tokio runtime: sockets live on it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] outside a runtime or for an unknown time zone.
    pub fn build(self) -> Result<Session> {
        let io = tokio::runtime::Handle::try_current()
            .map_err(|cause| Error::config("a session is built within a tokio runtime").because(cause))?;
        if Zone::parse(&self.time_zone).is_none() {
            return Err(Error::config(format!("there is no time zone {:?}", self.time_zone)));
        }
        let pipeline = Pipeline {
            name: self.name,
            checkpoint: self.checkpoint,
            time_zone: self.time_zone.into(),
            sources: Vec::new(),
            tables: Vec::new(),
            views: Vec::new(),
            functions: Vec::new(),
            queries: Vec::new(),
            limits: self.limits,
            // Nobody looks on.
            service: ServiceSpec { show_rows: false, ..ServiceSpec::default() },
        };
        let resources = Resources::new(io, Metrics::new()?);
        Ok(Session(Arc::new_cyclic(|inner| {
            // A `DataFrame` finds its session again through this extension.
            let config = SessionConfig::new().with_extension(Arc::new(SessionHandle(inner.clone())));
            let context = SessionContext::new_with_config(config);
            let calls = Arc::new(Budget::new(pipeline.limits.calls_in_flight_max));
            let http =
                http::Shared { clients: Arc::default(), clock: Arc::new(SystemClock), time_zone: pipeline.time_zone.clone() };
            Inner {
                context,
                resources,
                calls,
                http,
                stores: Stores::default(),
                state: Mutex::new(State { pipeline, host: None }),
            }
        })))
    }
}

/// How a `DataFrame` leads back to its session.
struct SessionHandle(std::sync::Weak<Inner>);

impl Session {
    /// Settings with their defaults.
    pub fn builder() -> SessionBuilder {
        SessionBuilder {
            name: "session".to_owned(),
            checkpoint: CheckpointRoot::Temporary,
            time_zone: "UTC".to_owned(),
            limits: Limits::default(),
        }
    }

    /// Declares a stream called `name`.
    pub fn read_stream(&self, name: &str) -> ReadStream {
        ReadStream::new(self.clone(), name)
    }

    /// Declares a static table, read when a query starts.
    pub fn read_table(&self, name: &str, path: impl Into<PathBuf>, format: FormatSpec) -> Result<()> {
        self.read_table_with(name, path, format, Refresh::Never)
    }

    /// The same, for a table that may be read again when its files change.
    pub fn read_table_with(&self, name: &str, path: impl Into<PathBuf>, format: FormatSpec, refresh: Refresh) -> Result<()> {
        let path = crate::pipeline::FilePath::plain(path);
        let mut state = self.state();
        state.check_free(name)?;
        state.pipeline.tables.push(TableSpec { name: name.to_owned(), path, format, refresh });
        Ok(())
    }

    /// Declares a view: `sql` is inlined wherever SQL names it.
    pub fn create_view(&self, name: &str, sql: &str) -> Result<()> {
        let mut state = self.state();
        state.check_free(name)?;
        state.pipeline.views.push(ViewSpec {
            name: name.to_owned(),
            sql: sql.to_owned(),
            position: None,
            watermark: None,
            deduplicate: None,
        });
        Ok(())
    }

    /// Registers a function that SQL may call by its signature's name. Calls of all functions share `limits.calls_in_flight_max` places.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] for a name that is taken, by Spark's functions too, or a setting out of its range.
    pub fn register_function(&self, signature: Signature, function: impl AsyncFunction, settings: CallSettings) -> Result<()> {
        self.add_function(Function::new(signature, Arc::new(function), settings, self.0.calls.clone())?)
    }

    /// The same for an HTTP API. The functions of a session share its connections.
    ///
    /// # Errors
    /// Those of [`Self::register_function`], and [`crate::ErrorKind::Config`] if a setting is wrong, or a file of certificates.
    pub fn register_http_function(&self, signature: Signature, http: &HttpSettings, settings: CallSettings) -> Result<()> {
        self.add_function(http::function(signature, http, settings, &self.0.http, self.0.calls.clone())?)
    }

    /// The same for objects of a store. Functions that are given clones of one store share its connections.
    ///
    /// # Errors
    /// Those of [`Self::register_function`], and [`crate::ErrorKind::Config`] if a setting is wrong.
    pub fn register_object_function(
        &self,
        signature: Signature,
        object: &ObjectSettings,
        store: &Objects,
        settings: CallSettings,
    ) -> Result<()> {
        let time_zone = self.0.http.time_zone.clone();
        self.add_function(object::function(signature, object, store, settings, time_zone, self.0.calls.clone())?)
    }

    /// The same for keys of Redis. The functions of a session share a connection for each way to reach a server.
    ///
    /// # Errors
    /// Those of [`Self::register_function`], and [`crate::ErrorKind::Config`] if a setting is wrong, or a file of certificates.
    pub fn register_redis_function(&self, signature: Signature, redis: &RedisSettings, settings: CallSettings) -> Result<()> {
        let time_zone = self.0.http.time_zone.clone();
        self.add_function(redis::function(signature, redis, settings, &self.0.stores, time_zone, self.0.calls.clone())?)
    }

    fn add_function(&self, function: Function) -> Result<()> {
        let (mut state, name) = (self.state(), &function.signature().name);
        if is_built_in(name) || find(&state.pipeline.functions, name).is_some() {
            return Err(Error::config(format!("there is a function {name} already")));
        }
        state.pipeline.functions.push(Arc::new(function));
        Ok(())
    }

    /// A query in Spark's SQL over the session's streams, tables and views.
    pub fn sql(&self, sql: &str) -> WriteSql {
        WriteSql { session: self.clone(), sql: sql.to_owned() }
    }

    /// The session's Prometheus series.
    pub fn metrics(&self) -> &Metrics {
        &self.0.resources.metrics
    }

    /// Stops every query after its current batch.
    pub fn stop(&self) {
        self.0.resources.stop.cancel();
    }

    /// Stops every query after its current batch, waits for them, and closes what they shared: sockets are disconnected, what they
    /// received is written, a temporary checkpoint root is removed. Clones of the session start nothing more.
    ///
    /// # Errors
    /// The failure that kept a source or the checkpoint root from being closed; how queries ended is told by their own handles.
    pub async fn close(self) -> Result<()> {
        self.stop();
        let host = self.state().host.take();
        match host {
            Some(host) => {
                host.ended().await;
                host.close(true).await
            }
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that `frame` was made by.
    fn of(frame: &DataFrame) -> Result<Self> {
        let (state, _) = frame.clone().into_parts();
        let handle = state.config().get_extension::<SessionHandle>();
        handle
            .and_then(|handle| handle.0.upgrade())
            .map(Self)
            .ok_or_else(|| Error::config("this DataFrame does not come from `read_stream` of a living session"))
    }

    fn declare(&self, spec: SourceSpec) -> Result<LogicalPlan> {
        let mut state = self.state();
        state.check_free(&spec.name)?;
        let plan = crate::engine::start::scan_of(&spec)?;
        state.pipeline.sources.push(spec);
        Ok(plan)
    }
}

impl State {
    /// Frees the name of a query that has ended.
    fn forget(&mut self, query: &str) {
        self.pipeline.queries.retain(|spec| spec.name != query);
    }

    /// Settings for SQL over a finished result.
    fn settings(&self) -> PlanSettings {
        PlanSettings {
            time_zone: self.pipeline.time_zone.clone(),
            state_memory_bytes_max: 0,
            output_mode: OutputMode::Append,
            scope: Scope::MicroBatch,
        }
    }

    fn check_free(&self, name: &str) -> Result<()> {
        let pipeline = &self.pipeline;
        let mut taken = pipeline
            .sources
            .iter()
            .map(|s| &s.name)
            .chain(pipeline.tables.iter().map(|t| &t.name))
            .chain(pipeline.views.iter().map(|v| &v.name));
        if taken.any(|other| other.eq_ignore_ascii_case(name)) {
            return Err(Error::config(format!("there is already a source, table or view called {name:?}")));
        }
        Ok(())
    }
}

/// SQL on its way to becoming a query.
pub struct WriteSql {
    session: Session,
    sql: String,
}

impl WriteSql {
    /// Names the query.
    pub fn write_stream(self, name: &str) -> WriteQuery {
        WriteQuery::new(Ok(self.session), name, crate::plan::QueryText::Sql(self.sql))
    }
}
