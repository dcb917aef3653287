//! `tidemill inspect`: what a checkpoint root holds. Takes no lock and changes nothing, so it may look at a running process's root.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use tidemill::checkpoint::storage::LocalVfs;
use tidemill::checkpoint::{FirstStep, Inspection, LastBatch, inspect, list_queries};
use tidemill::engine::progress::iso_millis;
use tidemill::engine::summary::EventTimeSummary;
use tidemill::sink::console;
use tidemill::watermark::WatermarkPolicy;
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
        let mut event_time = EventTimeSummary::default();
        if let Some(last) = &recovered.last {
            for (source, range) in &last.planned.sources {
                let _ = writeln!(text, "offset of {source}: {}", range.end.as_json());
            }
            event_time = EventTimeSummary::of(&last.summary);
            describe_watermarks(last, &event_time, text);
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
            let shown = match event_time.endings.get(operator) {
                Some(ending) => {
                    let schema = rows.schema();
                    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                    let _ = writeln!(text, "expires when the watermark reaches {}; soonest first", ending.describe(&names));
                    ending.soonest_first(&rows, self.rows)?
                }
                None => rows.slice(0, rows.num_rows().min(self.rows)),
            };
            text.push_str(&console::show(&shown, self.rows, &inspection.identity.time_zone)?);
            if shown.num_rows() < rows.num_rows() {
                let _ = writeln!(text, "{} more", rows.num_rows() - shown.num_rows());
            }
        }
        Ok(())
    }
}

/// The query's watermark, and what each source or view with one has come to.
fn describe_watermarks(last: &LastBatch, event_time: &EventTimeSummary, text: &mut String) {
    let Some(reached) = &event_time.watermarks else { return };
    let at = |ms: i64| iso_millis(ms.saturating_mul(1000));
    let of = match (reached.nodes.len() + reached.silent.len(), reached.policy) {
        (..2, _) => "",
        (_, WatermarkPolicy::Min) => ", the smallest of:",
        (_, WatermarkPolicy::Max) => ", the largest of:",
    };
    let _ = writeln!(text, "watermark: {}{of}", at(last.next_watermark_ms));
    let _ = writeln!(text, "late: rows that ended before {}", at(last.planned.watermark_ms));
    for (id, reached_ms) in &reached.nodes {
        let _ = writeln!(text, "  {id}: {}", at(*reached_ms));
    }
    for id in &reached.silent {
        let _ = writeln!(text, "  {id}: no row yet");
    }
}
