//! From settings to a function: what can be seen without starting anything is checked.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::connection::Launch;
use super::pool::Pool;
use super::process::Program;
use super::rows::{answer_schema, encode_schema};
use super::{PythonFunction, PythonSettings, WORKERS_MAX};
use crate::error::{Error, Result};
use crate::function::policy::Budget;
use crate::function::{CallSettings, Function, Mistake, Returns, Signature};
use crate::plan::spark::types::interval::IntervalRange;

/// Longest start.
const START_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The function of a declaration.
///
/// # Errors
/// [`crate::ErrorKind::Config`] if a setting is wrong.
pub fn function(signature: Signature, settings: &PythonSettings, calls: CallSettings, process: Arc<Budget>) -> Result<Function> {
    let kind = settings.build(&signature, &calls)?;
    Function::new(signature, Arc::new(kind), calls, process)
}

impl PythonSettings {
    /// Everything that is wrong with it, as far as can be seen without starting anything.
    pub fn mistakes(&self, signature: &Signature) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut note = |setting, message| mistakes.push(Mistake { setting, message });
        if !self.file.is_file() {
            note("file", format!("expected a file, found no {}", self.file));
        }
        if self.function.as_ref().is_some_and(|name| !is_identifier(name)) {
            note("function", "expected the name of a function".to_owned());
        }
        if find(&self.interpreter).is_none() {
            note("interpreter", format!("expected a program, found no {}", self.interpreter));
        }
        if !(1..=WORKERS_MAX).contains(&self.workers) {
            note("workers", format!("expected 1 to {WORKERS_MAX}"));
        }
        if self.start_timeout.is_zero() || self.start_timeout > START_MAX {
            note("start_timeout", "expected more than 0 and at most a day".to_owned());
        }
        if signature.args.iter().any(|arg| has_months(arg.data_type())) {
            note("args", MONTHS.to_owned());
        }
        let returned = match &signature.returns {
            Returns::Value(data_type) => has_months(data_type),
            Returns::Rows(schema) => schema.fields().iter().any(|field| has_months(field.data_type())),
        };
        if returned {
            note("returns", MONTHS.to_owned());
        }
        mistakes
    }

    /// The function, for [`Session::register_function`](crate::session::Session::register_function) with the same signature and settings.
    /// Nothing is started before the first call.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] if a setting is wrong.
    pub fn build(&self, signature: &Signature, calls: &CallSettings) -> Result<PythonFunction> {
        let mistakes = self.mistakes(signature);
        let wrong = |message: String| Error::config(format!("function {:?}: {message}", signature.name));
        let interpreter = match find(&self.interpreter) {
            Some(interpreter) if mistakes.is_empty() => interpreter,
            _ => return Err(Mistake::error(&signature.name, &mistakes)),
        };
        let file = std::path::absolute(&*self.file).map_err(|error| wrong(format!("file: {error}")))?;
        let file = file.into_os_string().into_string().map_err(|_| wrong("file: expected a path in UTF-8".to_owned()))?;
        let returns = encode_schema(&answer_schema(&signature.returns)).map_err(|error| wrong(format!("returns: {error}")))?;
        // What stands around an answer in a frame, and how it is aligned, may take as much again.
        let frame_bytes_max = calls.answer_bytes_max.saturating_mul(2).saturating_add(1 << 20).min(1 << 31);
        let setup = json!({
            "name": signature.name,
            "file": file,
            "function": self.function.as_ref().unwrap_or(&signature.name),
            "returns": STANDARD.encode(returns),
            "rows": matches!(signature.returns, Returns::Rows(_)),
            "answer_bytes_max": calls.answer_bytes_max,
            "frame_bytes_max": frame_bytes_max,
            "parameters": *calls.parameters,
        });
        let launch = Launch {
            program: Program { interpreter, shown: [signature.name.clone(), file], function: signature.name.as_str().into() },
            setup: setup.as_object().cloned().unwrap_or_default(),
            start_timeout: self.start_timeout,
            frame_bytes_max,
        };
        Ok(PythonFunction { returns: signature.returns.clone(), pool: Pool::new(launch, self.workers) })
    }
}

const MONTHS: &str = "an interval of months is nothing that Python has";

fn has_months(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| has_months(field.data_type())),
        DataType::List(item) | DataType::Map(item, _) => has_months(item.data_type()),
        other => IntervalRange::of(other).is_some_and(IntervalRange::is_months),
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// The program that is meant: a path, or a name that is looked for where `PATH` says.
fn find(program: &Path) -> Option<PathBuf> {
    let is_program =
        |path: &PathBuf| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    // Not followed to what a link leads to: a virtual environment's interpreter knows by its name which one it is.
    let is_name =
        program.components().count() == 1 && !program.as_os_str().is_empty() && program.file_name() == Some(program.as_os_str());
    if !is_name {
        return std::path::absolute(program).ok().filter(is_program);
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(AsRef::<OsStr>::as_ref(program))).find(is_program)
}
