//! Functions in Python: worker processes of the user's interpreter, to which chunks of rows go as Arrow.
//!
//! A worker runs the program `worker.py`, which is part of this one: it imports the user's file and answers each chunk as a task of
//! one event loop. `process` starts and ends it, `connection` hands calls to it and answers back, `pool` keeps as many as were asked
//! for running. What user code does can end its worker, never this process.

mod connection;
mod frame;
mod pool;
mod process;
mod rows;
mod setup;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

pub use setup::function;

use super::{AsyncFunction, CallError, Chunk, Reply, Returns};
use crate::pipeline::FilePath;
use pool::Pool;
use rows::{decode, encode};

/// Most workers of one function.
pub const WORKERS_MAX: usize = 256;

/// Where a function in Python is, and what runs it.
///
/// ```no_run
/// use arrow::datatypes::{DataType, Field};
/// use tidemill::session::Session;
/// use tidemill::function::python::PythonSettings;
/// use tidemill::function::{CallSettings, Returns, Signature};
///
/// # fn main() -> tidemill::Result<()> {
/// let session = Session::builder().build()?;
/// let signature = Signature {
///     name: "score".to_owned(),
///     args: vec![Field::new("amount", DataType::Float64, true)].into(),
///     returns: Returns::Value(DataType::Float64),
/// };
/// let calls = CallSettings::default();
/// let score = PythonSettings::new("functions/score.py").build(&signature, &calls)?;
/// session.register_function(signature, score, calls)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PythonSettings {
    /// The file.
    pub file: FilePath,
    /// The function in it; default: the one that is called as SQL calls it.
    pub function: Option<String>,
    /// The interpreter: a path, or a name that is looked for where `PATH` says. Default `python3`.
    pub interpreter: FilePath,
    /// Processes, 1 to [`WORKERS_MAX`]; default 1.
    pub workers: usize,
    /// How long a worker may take to start, with all imports; default 60 s.
    pub start_timeout: Duration,
}

impl PythonSettings {
    /// The function of `file` with everything else at its default.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: FilePath::plain(file),
            function: None,
            interpreter: FilePath::plain("python3"),
            workers: 1,
            start_timeout: Duration::from_secs(60),
        }
    }
}

/// A function in Python. Its workers start with the first call and end with it.
#[derive(Debug)]
pub struct PythonFunction {
    returns: Returns,
    pool: Pool,
}

#[async_trait]
impl AsyncFunction for PythonFunction {
    async fn ready(&self) -> Result<(), CallError> {
        self.pool.ready().await
    }

    async fn call(&self, chunk: Chunk) -> Result<Reply, CallError> {
        let chunk = encode(&chunk)?;
        loop {
            // One that has ended since it was found was not asked: that is no failure of this call.
            if let Some(answer) = self.pool.worker().await?.call(&chunk).await {
                return decode(&answer?, &self.returns).map(Reply::from);
            }
        }
    }
}
