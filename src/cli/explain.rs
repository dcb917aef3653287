//! `tidemill explain`: what each query runs and what it keeps.

use tidemill::Result;
use tidemill::engine::start;

use super::FileArguments;

pub(super) fn execute(arguments: &FileArguments) -> Result<()> {
    let pipeline = arguments.load(&[])?;
    let plans = super::run::compute_runtime()?.block_on(start::plan_all(&pipeline))?;
    let mut text = String::new();
    for planned in &plans {
        text.push_str(&format!("== Query {} ==\n{}\n", planned.name(), planned.explain()));
    }
    super::print(&text)
}
