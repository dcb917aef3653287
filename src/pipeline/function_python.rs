//! Settings of functions in Python.

use std::sync::Arc;

use super::function::fits;
use super::problem::Problems;
use super::settings::Kind;
use super::settings::Presence::{Default, Optional, Required};
use super::settings::Table;
use super::tables::{ANY_DURATION, plain, setting};
use super::values::Values;
use crate::function::policy::Budget;
use crate::function::python::{PythonSettings, WORKERS_MAX, function as python_function};
use crate::function::{CallSettings, Function, Signature};

/// A function in Python.
pub(super) static PYTHON: Table = plain(
    "Function `python`",
    "`functions.<name>.python`: chunks of rows go to an async generator function, which workers of your own interpreter run. The \
     interpreter needs `pyarrow`.",
    &[
        setting("file", Kind::Path, Required, "The file with the function. What lies beside it can be imported."),
        setting("function", Kind::Text, Optional, "Name of the function in the file. Default: its name here."),
        setting(
            "interpreter",
            Kind::Program,
            Default("python3"),
            "The interpreter: a name that is looked for where `PATH` says, or a path such as `venv/bin/python`.",
        ),
        setting(
            "workers",
            Kind::Count { min: 1, max: WORKERS_MAX as u64 },
            Default("1"),
            "Processes of this function, shared by all queries. Each runs several calls at once; more are for code that computes.",
        ),
        setting("start_timeout", ANY_DURATION, Default("60s"), "How long a worker may take to start, with all imports."),
    ],
);

/// The function, or what is wrong with its settings.
pub(super) fn function(
    declaration: &Values,
    signature: Signature,
    calls: CallSettings,
    process: Arc<Budget>,
    problems: &mut Problems,
) -> Option<Function> {
    let (_, values) = declaration.branch.as_ref()?;
    let mut settings = PythonSettings::new("");
    settings.file = values.path("file")?;
    settings.function = values.word("function");
    settings.interpreter = values.path("interpreter")?;
    settings.workers = usize::try_from(values.count("workers")?).unwrap_or(usize::MAX);
    settings.start_timeout = values.duration("start_timeout")?;
    fits(declaration, values, &settings.mistakes(&signature), problems)?;
    let built = python_function(signature, &settings, calls, process);
    built.map_err(|error| problems.add(&values.place, values.about("", &error.chain()))).ok()
}
