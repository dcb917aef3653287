//! `tidemill check`: everything that a start would refuse, found without opening a socket or creating a file.

use clap::Args;
use tidemill::engine::start;
use tidemill::pipeline::Pipeline;
use tidemill::{Error, Result};

use super::FileArguments;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: FileArguments,
    /// Checks it for a start with this argument.
    #[arg(long)]
    i_know_insecure: bool,
}

impl Check {
    pub(super) fn execute(&self) -> Result<()> {
        let further = if self.i_know_insecure { &["service.i_know_insecure=true".to_owned()][..] } else { &[] };
        check(&self.file, &self.file.load(further)?)
    }
}

fn check(arguments: &FileArguments, pipeline: &Pipeline) -> Result<()> {
    let runtime = super::run::compute_runtime()?;
    let plans = runtime.block_on(start::plan_all(pipeline))?;
    start::check_files(pipeline)?;
    let differences = start::compare_with_checkpoint(pipeline, &plans)?;
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
