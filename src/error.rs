//! One error type for the library.
//!
//! The kind says what to do about it, the message what we were attempting, and `source()` why it failed. An error that Spark
//! would raise too carries Spark's condition name (`DIVIDE_BY_ZERO`), which users can search for.

use std::borrow::Cow;

/// Boxed cause of an [`Error`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
/// Result with the library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the person or process that sees the error should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Fix the pipeline file, the query or the command line. Exit code 2.
    Config,
    /// The outside world is not there just now: retried with back-off. Exit code 75.
    Unavailable,
    /// No space left: the query pauses and resumes by itself when there is space again.
    NoSpace,
    /// A row made the query fail (`DIVIDE_BY_ZERO`, `on_malformed: fail`): fix the data or the query. Exit code 1.
    Data,
    /// A checkpoint file is damaged or belongs to something else: stop, never guess. Exit code 1.
    Corrupt,
    /// Another process owns the checkpoint, or this one lost it. Exit code 75.
    Fenced,
    /// A file could not be made durable; the process must not go on. Exit code 74.
    Storage,
    /// A limit of the pipeline file would be exceeded (state memory, line length). Exit code 1.
    Limit,
    /// A defect in Tidemill. Exit code 1.
    Internal,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Config,
        Self::Unavailable,
        Self::NoSpace,
        Self::Data,
        Self::Corrupt,
        Self::Fenced,
        Self::Storage,
        Self::Limit,
        Self::Internal,
    ];
}

/// What went wrong, in the library's own words; the cause chain has the rest.
#[derive(Debug, thiserror::Error)]
#[error("{}{message}", self.prefix())]
pub struct Error {
    kind: ErrorKind,
    condition: Option<Cow<'static, str>>,
    message: String,
    #[source]
    cause: Option<BoxError>,
    more: Option<Box<More>>,
}

/// What few errors have.
#[derive(Debug, Default)]
struct More {
    facts: Vec<(&'static str, String)>,
    way_out: Option<String>,
}

impl Error {
    /// An error without a cause. The message is lower case and has no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, condition: None, message: message.into(), cause: None, more: None }
    }

    /// Shorthand for [`ErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Shorthand for [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// An error that Spark raises too: `condition` is Spark's name for it, `message` Spark's sentence or a better one.
    pub fn spark(kind: ErrorKind, condition: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { kind, condition: Some(condition.into()), message: message.into(), cause: None, more: None }
    }

    /// Adds why it failed.
    #[must_use]
    pub fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what a way out of the error needs to know, such as the sink that it is about.
    #[must_use]
    pub fn with_fact(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.more.get_or_insert_default().facts.push((name, value.into()));
        self
    }

    /// Ends what a person is shown with what can be done about it.
    #[must_use]
    pub fn with_way_out(mut self, way_out: impl Into<String>) -> Self {
        self.more.get_or_insert_default().way_out = Some(way_out.into());
        self
    }

    /// A fact, here or in the nearest cause that has it.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.ours().find_map(|error| {
            let facts = &error.more.as_ref()?.facts;
            facts.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
        })
    }

    /// What can be done about it, if somebody has said so.
    pub fn way_out(&self) -> Option<&str> {
        self.ours().find_map(|error| error.more.as_ref()?.way_out.as_deref())
    }

    /// This error and its causes that are ours.
    fn ours(&self) -> impl Iterator<Item = &Self> {
        let causes = std::iter::successors(std::error::Error::source(self), |error| error.source());
        std::iter::once(self).chain(causes.filter_map(|cause| cause.downcast_ref::<Self>()))
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Spark's condition name, here or in the nearest cause that is ours.
    pub fn condition(&self) -> Option<&str> {
        self.ours().find_map(|error| error.condition.as_deref())
    }

    /// What logs tell it by: Spark's condition name, or the kind (`UNAVAILABLE`).
    pub fn code(&self) -> &str {
        self.condition().unwrap_or(self.kind_code())
    }

    /// The kind as [`Error::code`] tells it (`UNAVAILABLE`).
    pub fn kind_code(&self) -> &'static str {
        match self.kind {
            ErrorKind::Config => "CONFIG",
            ErrorKind::Unavailable => "UNAVAILABLE",
            ErrorKind::NoSpace => "NO_SPACE",
            ErrorKind::Data => "DATA",
            ErrorKind::Corrupt => "CORRUPT",
            ErrorKind::Fenced => "FENCED",
            ErrorKind::Storage => "STORAGE",
            ErrorKind::Limit => "LIMIT",
            ErrorKind::Internal => "INTERNAL",
        }
    }

    /// The message without the condition and without the cause chain.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The message followed by every cause, `: ` between them, and by the way out: what a person is shown.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.contains(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        if let Some(way_out) = self.way_out() {
            text.push_str("; to go on: ");
            text.push_str(way_out);
        }
        text
    }

    fn prefix(&self) -> String {
        self.condition.as_ref().map(|c| format!("[{c}] ")).unwrap_or_default()
    }
}

/// Names the attempt at the place where a foreign error becomes ours.
pub trait Attempt<T> {
    /// `storage.read(path).attempting(ErrorKind::Unavailable, || format!("read {path}"))?` gives `could not read …`.
    fn attempting(self, kind: ErrorKind, attempt: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<BoxError>> Attempt<T> for std::result::Result<T, E> {
    fn attempting(self, kind: ErrorKind, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error::new(kind, format!("could not {}", attempt())).because(cause))
    }
}

/// An error of ours that travelled through DataFusion comes back as itself; any other becomes one of `kind`.
pub fn from_datafusion(error: datafusion::error::DataFusionError, kind: ErrorKind) -> Error {
    use datafusion::error::DataFusionError as D;
    match error {
        D::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => match other.downcast::<D>() {
                Ok(nested) => from_datafusion(*nested, kind),
                Err(other) => Error::new(kind, other.to_string()),
            },
        },
        D::Context(_, inner) | D::Diagnostic(_, inner) => from_datafusion(*inner, kind),
        D::ArrowError(inner, backtrace) => match *inner {
            arrow::error::ArrowError::ExternalError(inner) => from_datafusion(D::External(inner), kind),
            other => Error::new(kind, D::ArrowError(Box::new(other), backtrace).strip_backtrace()),
        },
        D::Shared(shared) => match std::sync::Arc::try_unwrap(shared) {
            Ok(inner) => from_datafusion(inner, kind),
            Err(shared) => match find_ours(shared.as_ref()) {
                Some(ours) => {
                    let more = ours
                        .more
                        .as_ref()
                        .map(|more| Box::new(More { facts: more.facts.clone(), way_out: more.way_out.clone() }));
                    Error { kind: ours.kind, condition: ours.condition.clone(), message: ours.message.clone(), cause: None, more }
                }
                None => Error::new(kind, shared.strip_backtrace()),
            },
        },
        D::Execution(message) if message.contains("Scalar subquery returned more than one row") => {
            let message = "more than one row returned by a subquery used as an expression";
            Error::spark(ErrorKind::Data, "SCALAR_SUBQUERY_TOO_MANY_ROWS", message)
        }
        other => Error::new(kind, other.strip_backtrace()),
    }
}

fn find_ours<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(ours) = error.downcast_ref::<Error>() {
            return Some(ours);
        }
        current = error.source();
    }
    None
}

impl From<Error> for datafusion::error::DataFusionError {
    fn from(error: Error) -> Self {
        datafusion::error::DataFusionError::External(Box::new(error))
    }
}
