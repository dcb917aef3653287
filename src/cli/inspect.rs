//! `tidemill inspect`: what a checkpoint root holds. Takes no lock and changes nothing, so it may look at a running process's root.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use tidemill::checkpoint::storage::LocalVfs;
use tidemill::checkpoint::{FirstStep, Inspection, inspect, list_queries};
use tidemill::sink::console;
use tidemill::{Error, Result, state};

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The checkpoint root.
    root: PathBuf,
    /// Only this query.
    #[arg(long)]
    query: Option<String>,
    /// Frames of the log shown, the newest ones.
    #[arg(long, default_value_t = 20)]
    frames: usize,
    /// Rows of state shown per operator.
    #[arg(long, default_value_t = 20)]
    rows: usize,
}

impl Inspect {
    pub(super) fn execute(&self) -> Result<()> {
        let files = LocalVfs::shared();
        let queries = list_queries(&files, &self.root)?;
        let wanted: Vec<_> = queries.iter().filter(|name| self.query.as_ref().is_none_or(|query| query == *name)).collect();
        if wanted.is_empty() {
            let known = if queries.is_empty() { "none".to_owned() } else { queries.join(", ") };
            return Err(Error::config(format!("{} holds no such query; there are: {known}", self.root.display())));
        }
        let mut text = String::new();
        for name in wanted {
            let inspection = inspect(&files, &self.root, name)?;
            let _ = writeln!(text, "== Query {name} ==");
            self.describe(&inspection, &mut text)?;
        }
        super::print(&text)
    }

    fn describe(&self, inspection: &Inspection, text: &mut String) -> Result<()> {
        let recovered = &inspection.recovered;
        let _ = writeln!(text, "id {}, time zone {}", inspection.query_id, inspection.identity.time_zone);
        let step = match &recovered.first_step {
            FirstStep::Plan(batch) => format!("plan batch {batch}"),
            FirstStep::Run(planned) => format!("run batch {} again, with its logged ranges", planned.batch),
            FirstStep::CommitSinks(planned, _) => format!("commit batch {} to its sinks", planned.batch),
        };
        let _ = writeln!(text, "a start would: {step}");
        if let Some(last) = &recovered.last {
            for (source, range) in &last.planned.sources {
                let _ = writeln!(text, "offset of {source}: {}", range.end.as_json());
            }
        }
        let _ =
            writeln!(text, "-- Log (last {} of {} frames) --", self.frames.min(inspection.frames.len()), inspection.frames.len());
        for frame in inspection.frames.iter().rev().take(self.frames).rev() {
            let batch = frame.batch.map_or("-".to_owned(), |batch| batch.to_string());
            let _ = writeln!(
                text,
                "{:<10} batch {batch:<8} {}@{:<10} {:>8} B  {}",
                frame.kind, frame.segment, frame.offset, frame.bytes, frame.detail
            );
        }
        for (operator, pages) in &recovered.state {
            let keys = inspection.identity.operators.get(operator).and_then(|o| o["keys"].as_array()).map_or(0, Vec::len);
            let Some(rows) = state::rows_of_changelogs(pages, keys)? else { continue };
            let _ = writeln!(text, "-- State of {operator}: {} rows --", rows.num_rows());
            text.push_str(&console::show(&rows, self.rows, &inspection.identity.time_zone)?);
        }
        Ok(())
    }
}
