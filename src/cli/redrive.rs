//! `tidemill redrive`: dead letters back into the source that they came from.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::Args;
use globset::GlobBuilder;
use tidemill::checkpoint::storage::LocalVfs;
use tidemill::maintenance::{Counts, Redrive as Wanted, plan_redrive};
use tidemill::pipeline::{FileFormat, FormatSpec, Pipeline, SinkConnector, SourceConnector, SourceSpec};
use tidemill::{Error, Result};

use super::FileArguments;

/// Arguments of `redrive`.
#[derive(Debug, Args)]
pub(super) struct Redrive {
    #[command(flatten)]
    file: FileArguments,
    /// The query whose dead letters are fed back.
    #[arg(long)]
    query: String,
    /// The source that they came from; needed if the pipeline has several.
    #[arg(long)]
    source: Option<String>,
    /// The folder that gets the lines, if not the source's own.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Only those with this text in their reason.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those of batches of this time or later, such as `2026-01-31T12:00:00Z`.
    #[arg(long, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Only those of batches before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// Says what it would do, and ends.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
}

impl Redrive {
    pub(super) fn execute(self) -> Result<()> {
        let pipeline = self.file.load(&[])?;
        let source = self.source_of(&pipeline)?;
        let wanted = self.wanted(&pipeline, source)?;
        let (from, to) = (wanted.dead_letters.display().to_string(), wanted.to.display().to_string());
        let planned = plan_redrive(LocalVfs::shared(), wanted)?;
        super::print(&describe(&planned.counts, &from, &to))?;
        if planned.is_empty() || self.dry_run {
            return Ok(());
        }
        super::confirm("feed them back?", self.yes)?;
        let lines = planned.counts.lines;
        planned.apply()?;
        super::print(&format!("done: {lines} lines are in {to}\n"))
    }

    fn source_of<'a>(&self, pipeline: &'a Pipeline) -> Result<&'a SourceSpec> {
        let names = || pipeline.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
        match (&self.source, pipeline.sources.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(Error::config(format!("which source the lines are for has to be said, by --source: {}", names()))),
            (Some(name), sources) => sources
                .iter()
                .find(|source| source.name == *name)
                .ok_or_else(|| Error::config(format!("there is no source {name}; there are: {}", names()))),
        }
    }

    fn wanted(&self, pipeline: &Pipeline, source: &SourceSpec) -> Result<Wanted> {
        let query = pipeline.queries.iter().find(|query| query.name == self.query);
        let query = query.ok_or_else(|| Error::config(format!("there is no query {}", self.query)))?;
        let dead_letters = match query.dead_letter.as_ref().map(|sink| &sink.connector) {
            Some(SinkConnector::File(file)) if file.format == FileFormat::Json => file.path.to_path_buf(),
            _ => {
                let message =
                    format!("query {} has no dead_letter of files with format: json, which is what can be fed back", self.query);
                return Err(Error::config(message));
            }
        };
        let (extension, header) = match &source.format {
            Some(FormatSpec::Json { .. }) => ("json", None),
            Some(FormatSpec::Csv { schema, csv }) => {
                let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                ("csv", csv.header.then(|| names.join(&char::from(csv.separator).to_string())))
            }
            Some(FormatSpec::Text) => ("txt", None),
            Some(FormatSpec::Parquet) | None => return Err(Error::config(format!("source {} does not read lines", source.name))),
        };
        Ok(Wanted {
            dead_letters,
            to: self.to.clone().map_or_else(|| folder_of(source, extension), Ok)?,
            extension: extension.to_owned(),
            header,
            line_bytes_max: pipeline.limits.lines.line_bytes_max,
            source: Some(source.name.clone()),
            reason: self.reason.clone(),
            since: self.since,
            until: self.until,
        })
    }
}

/// The folder that a file source reads, if a new file in it is read.
fn folder_of(source: &SourceSpec, extension: &str) -> Result<PathBuf> {
    let refused = |why: &str| Err(Error::config(format!("source {} {why}: name a folder by --to", source.name)));
    let SourceConnector::File(file) = &source.connector else { return refused("reads no files") };
    let path: &Path = &file.path;
    let is_glob = |path: &Path| path.to_str().is_some_and(|text| text.contains(['*', '?', '[', '{']));
    match path.parent() {
        _ if path.is_dir() => Ok(path.to_owned()),
        Some(folder) if is_glob(path) && !is_glob(folder) => {
            let glob = path.to_str().and_then(|text| GlobBuilder::new(text).literal_separator(true).build().ok());
            let example = folder.join(format!("redriven-0.{extension}"));
            match glob {
                Some(glob) if glob.compile_matcher().is_match(example) => Ok(folder.to_owned()),
                _ => refused(&format!("does not read files whose names end with .{extension}")),
            }
        }
        _ => refused("reads no single folder"),
    }
}

fn describe(counts: &Counts, from: &str, to: &str) -> String {
    let Counts { lines, files, before, others, without_line, cut, unfinished } = *counts;
    let mut text = format!("{lines} lines of the dead letters in {from} will be fed back, in {files} new files in {to}\n");
    let rest = [
        (unfinished, "files of an earlier run are finished"),
        (before, "lines were fed back before, and are not again"),
        (others, "dead letters are not asked for"),
        (without_line, "are rows without a raw line (late, in the future, or a call that failed), and stay"),
        (cut, "lines were cut at limits.line, and stay"),
    ];
    for (count, what) in rest.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(text, "{count} {what}");
    }
    text
}
