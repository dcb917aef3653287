//! Encoding a batch's output per sink, before anything is decided.

use arrow::array::RecordBatch;

use super::query::{Query, QuerySink};
use super::report::BatchReport;
use crate::checkpoint::{PlannedBatch, StagedOutput};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Malformed;
use crate::plan::BatchOutput;
use crate::plan::running_batch::Moment;
use crate::sink::dead_letter;

impl Query {
    /// The bytes that each sink will be given, in commit order; sinks for which the batch holds nothing are left out.
    pub(super) async fn stage(
        &mut self,
        planned: &PlannedBatch,
        output: &BatchOutput,
        malformed: &[(String, Vec<Malformed>)],
        report: &mut BatchReport,
    ) -> Result<Vec<StagedOutput>> {
        let mut staged = Vec::new();
        for sink in &mut self.parts.sinks {
            let rows = match &mut sink.select {
                Some(select) => {
                    select.run(output.rows.clone(), Moment { time_us: planned.batch_time_us, seed: planned.seed }).await?
                }
                None => output.rows.clone(),
            };
            if self.parts.shows_rows {
                report.leaves.rows(&sink.name, &rows);
            }
            stage_one(sink, &rows, &self.sink_numbers, report, &mut staged)?;
        }
        if self.parts.shows_rows {
            malformed.iter().for_each(|(source, lines)| report.leaves.malformed(planned.batch.0, source, lines));
        }
        if let Some(sink) = &mut self.parts.dead_letter {
            let mut rows = Vec::new();
            for (source, lines) in malformed {
                rows.push(dead_letter::of_malformed(&self.parts.name, planned.batch.0, planned.batch_time_us, source, lines)?);
            }
            for aside in &output.event_time.set_aside {
                let (query, batch, zone) = (&self.parts.name, planned.batch.0, &self.parts.time_zone);
                rows.push(dead_letter::of_set_aside(query, batch, planned.batch_time_us, aside, zone)?);
            }
            report.dead_lettered(count(&rows));
            stage_one(sink, &rows, &self.sink_numbers, report, &mut staged)?;
        }
        let bytes: u64 = staged.iter().map(|output| output.bytes.len() as u64).sum();
        if bytes > self.parts.stage_bytes_max {
            let message = format!(
                "batch {} stages {bytes} bytes of output, more than limits.stage ({} bytes): raise the limit, or start anew with --fresh and a lower max_rows_per_trigger",
                planned.batch, self.parts.stage_bytes_max
            );
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(staged)
    }
}

fn stage_one(
    sink: &mut QuerySink,
    rows: &[RecordBatch],
    numbers: &std::collections::BTreeMap<String, u64>,
    report: &mut BatchReport,
    staged: &mut Vec<StagedOutput>,
) -> Result<()> {
    let total = count(rows);
    report.sink(&sink.name, total, sink.sink.guarantee());
    if total == 0 && !sink.takes_empty {
        return Ok(());
    }
    let bytes = sink.sink.stage(rows)?;
    staged.push(StagedOutput { sink: sink.name.clone(), number: numbers.get(&sink.name).copied().unwrap_or(0), bytes });
    Ok(())
}

fn count(rows: &[RecordBatch]) -> u64 {
    rows.iter().map(|batch| batch.num_rows() as u64).sum()
}
