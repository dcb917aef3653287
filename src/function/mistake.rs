//! What is wrong with how a function is set up, found before anything is opened.

use crate::error::Error;

/// A setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Its name in a pipeline file: one of the kind's own, or `args` or `returns`.
    pub setting: &'static str,
    /// What was expected.
    pub message: String,
}

impl Mistake {
    /// The error of a function `name` with these mistakes.
    pub(super) fn error(name: &str, mistakes: &[Self]) -> Error {
        let mistakes: Vec<String> = mistakes.iter().map(|mistake| format!("{}: {}", mistake.setting, mistake.message)).collect();
        Error::config(format!("function {name:?}: {}", mistakes.join("; ")))
    }
}
