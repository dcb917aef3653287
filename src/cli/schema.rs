//! `tidemill schema`: the JSON Schema of the pipeline file, for editors.

use tidemill::{Attempt, ErrorKind, Result, pipeline};

pub(super) fn execute() -> Result<()> {
    let text = serde_json::to_string_pretty(&pipeline::json_schema())
        .attempting(ErrorKind::Internal, || "write the schema".to_owned())?;
    super::print(&format!("{text}\n"))
}
