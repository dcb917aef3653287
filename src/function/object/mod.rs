//! Functions that fetch objects, one for each row: from a store that speaks the protocol of S3, or from a folder.
//!
//! A store is set up once for each connection and shared by all functions that name it ([`Objects`]). It makes one attempt; further ones,
//! time limits, the window of calls and the cache are the engine's.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

mod answer;
mod folder;
mod heard;
mod path;
mod s3;
#[cfg(test)]
mod tests;

pub use s3::S3Settings;

use super::arguments::{Arguments, Filling};
use super::http::Template;
use super::policy::Budget;
use super::{AsyncFunction, CallError, CallErrorKind, CallSettings, Chunk, Function, Mistake, Reply, Signature};
use crate::error::Result;
use crate::pipeline::FilePath;
use answer::AnswerMap;
use folder::Folder;
use path::Range;
use s3::S3;

/// What else than its content an answer may hold, in bytes of memory.
const BESIDE_CONTENT: usize = 16 << 10;

/// Which object is fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectSettings {
    /// The key of the object: its path in the bucket or folder.
    pub path: Template,
    /// The bytes of it, as HTTP writes ranges: `0-1023`, `1024-` or `-512` for the last ones; default: all.
    pub range: Option<Template>,
}

/// A store that objects are fetched from: one for the process, whatever functions share it.
#[derive(Debug, Clone)]
pub struct Objects(Arc<dyn Store>);

impl Objects {
    /// A bucket of a store that speaks the protocol of S3. Nothing is opened but files of certificates.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] if a setting is wrong, or a file of certificates.
    pub fn s3(settings: &S3Settings) -> Result<Self> {
        Ok(Self(Arc::new(S3::new(settings)?)))
    }

    /// The files below a folder of this machine; links in it are not followed.
    pub fn folder(path: FilePath) -> Self {
        Self(Arc::new(Folder::new(path)))
    }
}

/// What objects are fetched from.
#[async_trait]
trait Store: fmt::Debug + Send + Sync {
    /// One attempt to fetch an object. It reads no more than [`Wanted::bytes_max`].
    async fn fetch(&self, wanted: Wanted) -> Result<Object, CallError>;
}

/// What is wanted of which object.
#[derive(Debug, Clone)]
struct Wanted {
    /// Checked: pieces with `/` between, none of them empty, `.` or `..`.
    key: String,
    /// Which of its bytes.
    range: Option<Range>,
    /// Whether any.
    content: bool,
    bytes_max: usize,
}

/// An object.
#[derive(Debug, Clone)]
struct Object {
    /// Its content, as far as it was wanted.
    content: Bytes,
    /// Of the whole object.
    size: u64,
    etag: Option<String>,
    /// When it was written, in microseconds since 1970.
    modified_us: Option<i64>,
}

impl Wanted {
    /// The error if `bytes` are more than wanted.
    fn admit(&self, bytes: u64) -> Result<(), CallError> {
        if bytes <= self.bytes_max as u64 {
            return Ok(());
        }
        let limit = crate::pipeline::show_size(self.bytes_max as u64);
        Err(CallError::new(CallErrorKind::BadAnswer, format!("too much data: {bytes} bytes, and max_answer is {limit}")))
    }
}

/// The call that this row asks for is refused.
fn rejected(why: impl Into<String>) -> CallError {
    CallError::new(CallErrorKind::Rejected, why)
}

/// What there is not.
fn not_found() -> CallError {
    rejected("not found")
}

/// Objects as a function.
#[derive(Debug)]
struct ObjectFunction {
    path: Filling,
    range: Option<Filling>,
    answer: AnswerMap,
    store: Arc<dyn Store>,
    /// What messages call it: the path as it is written.
    shown: String,
    bytes_max: usize,
    time_zone: Arc<str>,
}

/// What is put together from the settings alone.
struct Parts {
    path: Filling,
    range: Option<Filling>,
    answer: AnswerMap,
}

/// The function of a declaration. A call fetches one object.
///
/// # Errors
/// [`crate::ErrorKind::Config`] if a setting is wrong.
pub fn function(
    signature: Signature,
    settings: &ObjectSettings,
    store: &Objects,
    calls: CallSettings,
    time_zone: Arc<str>,
    process: Arc<Budget>,
) -> Result<Function> {
    let parts = settings.parts(&signature).map_err(|mistakes| Mistake::error(&signature.name, &mistakes))?;
    // An array of one value holds no more.
    let bytes_max = calls.answer_bytes_max.min(i32::MAX as usize);
    let function = ObjectFunction {
        path: parts.path,
        range: parts.range,
        answer: parts.answer,
        store: store.0.clone(),
        shown: settings.path.to_string(),
        bytes_max,
        time_zone,
    };
    let calls = CallSettings { chunk_size: 1, answer_bytes_max: bytes_max.saturating_add(BESIDE_CONTENT), ..calls };
    Function::new(signature, Arc::new(function), calls, process)
}

impl ObjectSettings {
    /// Everything that is wrong with it.
    pub fn mistakes(&self, signature: &Signature) -> Vec<Mistake> {
        self.parts(signature).err().unwrap_or_default()
    }

    fn parts(&self, signature: &Signature) -> Result<Parts, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut noted = |setting: &'static str, message: String| mistakes.push(Mistake { setting, message });
        let path = Filling::new(self.path.clone(), &signature.args).and_then(|path| {
            let example: String = path.parts().map(|part| part.map_or("x".to_owned(), |text| text.expose().to_owned())).collect();
            path::check(&example).map(|()| path)
        });
        let path = path.map_err(|message| noted("path", message)).ok();
        let range = self.range.as_ref().map(|range| {
            if range.args().next().is_none() {
                Range::parse(&range.start())?;
            }
            Filling::new(range.clone(), &signature.args)
        });
        let range = range.transpose().map_err(|message| noted("range", message)).ok();
        let answer = AnswerMap::new(&signature.returns).map_err(|message| noted("returns", message)).ok();
        if self.range.is_some() && answer.as_ref().is_some_and(|answer| !answer.has_content()) {
            noted("range", "goes with content only, which is not returned".to_owned());
        }
        match (path, range, answer) {
            (Some(path), Some(range), Some(answer)) if mistakes.is_empty() => Ok(Parts { path, range, answer }),
            _ => Err(mistakes),
        }
    }
}

#[async_trait]
impl AsyncFunction for ObjectFunction {
    async fn call(&self, chunk: Chunk) -> Result<Reply, CallError> {
        debug_assert_eq!(chunk.args.num_rows(), 1, "a call is of one row");
        let context = chunk.context;
        let request_id = format!("{}/{}/{}", context.query, context.batch_id, context.rows.start);
        let args = Arguments { row: chunk.args, time_zone: self.time_zone.clone(), request_id: request_id.into() };
        let key = self.path.fill(&args, "path")?.ok_or_else(|| rejected("the path is null"))?;
        path::check(&key).map_err(rejected)?;
        let range = match &self.range {
            Some(range) => range.fill(&args, "range")?.map(|text| Range::parse(&text)).transpose().map_err(rejected)?,
            None => None,
        };
        let wanted = Wanted { key, range, content: self.answer.has_content(), bytes_max: self.bytes_max };
        let read = self.store.fetch(wanted).await.and_then(|object| self.answer.of(&object));
        let read = read.map_err(|error| CallError { message: format!("{}: {}", self.shown, error.message), ..error })?;
        Ok(read.into())
    }
}
