//! What is wrong with a pipeline file: all of it at once, a line each.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::spec::Position;
use crate::error::{Error, ErrorKind};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole.
    File,
    /// This line and column of the file.
    At(Position),
    /// This override of the command line, as it was given.
    Override(Arc<str>),
}

impl Place {
    /// The position in the file, if it is one.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::At(position) => Some(*position),
            Self::File | Self::Override(_) => None,
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// Spark's name for it, if Spark refuses the same.
    pub condition: Option<Cow<'static, str>>,
    /// What was expected and what was found, without any value that came from a reference.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.condition {
            Some(condition) => write!(f, "[{condition}] {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Every mistake of one file, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    problems: Vec<Problem>,
}

impl Problems {
    /// No mistakes in `file` yet.
    pub(super) fn of(file: &str) -> Self {
        Self { file: file.to_owned(), problems: Vec::new() }
    }

    pub(super) fn add(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Problem { place: place.clone(), condition: None, message: message.into() });
    }

    /// Adds one that Spark refuses too, under this name.
    pub(super) fn add_spark(&mut self, place: &Place, condition: impl Into<Cow<'static, str>>, message: impl Into<String>) {
        self.push(Problem { place: place.clone(), condition: Some(condition.into()), message: message.into() });
    }

    fn push(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// `value`, unless something is wrong.
    pub(super) fn unless_any<T>(mut self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => {
                assert!(!self.problems.is_empty(), "what could not be read was reported");
                self.problems.sort_by(|a, b| a.place.cmp(&b.place));
                Err(self)
            }
        }
    }

    /// The mistakes, in file order.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match &problem.place {
                Place::File => write!(f, "{}: {problem}", self.file)?,
                Place::At(position) => write!(f, "{}:{position}: {problem}", self.file)?,
                Place::Override(given) => write!(f, "--set {given}: {problem}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        let error = Error::config(problems.to_string());
        let first = problems.problems.iter().find_map(|problem| Some((problem.condition.clone()?, problem.message.clone())));
        match first {
            // As a cause it gives the error its condition without being printed twice.
            Some((condition, message)) => error.because(Error::spark(ErrorKind::Config, condition, message)),
            None => error,
        }
    }
}
