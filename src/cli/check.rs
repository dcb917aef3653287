//! `tidemill check`: everything that a start would refuse, found without opening a socket or creating a file.

use tidemill::engine::start;
use tidemill::{Error, Result};

use super::FileArguments;

pub(super) fn execute(arguments: &FileArguments) -> Result<()> {
    let pipeline = arguments.load()?;
    let runtime = super::run::compute_runtime()?;
    let plans = runtime.block_on(start::plan_all(&pipeline))?;
    start::check_files(&pipeline)?;
    let differences = start::compare_with_checkpoint(&pipeline, &plans)?;
    if !differences.is_empty() {
        return Err(Error::config(format!("the checkpoint does not fit this file:\n  {}", differences.join("\n  "))));
    }
    let queries: Vec<_> = plans.iter().map(|planned| planned.name()).collect();
    super::print(&format!(
        "{}: ok ({} {})\n",
        arguments.file.display(),
        queries.len(),
        if queries.len() == 1 { "query" } else { "queries" }
    ))
}
