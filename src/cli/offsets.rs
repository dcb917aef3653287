//! `tidemill offsets`: from where a query reads on.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tidemill::checkpoint::CheckpointRoot;
use tidemill::checkpoint::storage::LocalVfs;
use tidemill::maintenance::{Target, ask_kafka, offsets, plan_move};
use tidemill::pipeline::{self, Pipeline, SourceConnector};
use tidemill::{Error, Result};

/// The commands on offsets.
#[derive(Debug, Subcommand)]
pub(super) enum Offsets {
    /// Shows from where each query reads each source on.
    Show(Show),
    /// Lets a query read a source on from another place.
    Set(Set),
}

/// Arguments of `offsets show`.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The checkpoint root.
    root: PathBuf,
    /// Only this query.
    #[arg(long)]
    query: Option<String>,
}

/// Arguments of `offsets set`.
#[derive(Debug, Args)]
pub(super) struct Set {
    /// The checkpoint root.
    root: PathBuf,
    /// The query.
    #[arg(long)]
    query: String,
    /// The source.
    #[arg(long)]
    source: String,
    #[command(flatten)]
    to: To,
    /// The pipeline file, whose source says how to ask Kafka.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct To {
    /// The oldest that is kept.
    #[arg(long)]
    earliest: bool,
    /// Behind all that is kept.
    #[arg(long)]
    latest: bool,
    /// What was received at this time or later, such as `2026-01-31T12:00:00Z`; of an ingest log, or Kafka.
    #[arg(long, value_name = "TIME")]
    time: Option<chrono::DateTime<chrono::Utc>>,
    /// An offset as `offsets show` prints it; of Kafka `{"topic":{"0":120}}`.
    #[arg(long, value_name = "JSON", value_parser = json)]
    offset: Option<serde_json::Value>,
}

/// As `FromStr` reads it: clap would take any text for a JSON string.
fn json(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    text.parse()
}

impl Offsets {
    pub(super) fn execute(self) -> Result<()> {
        match self {
            Self::Show(show) => show.execute(),
            Self::Set(set) => set.execute(),
        }
    }
}

impl Show {
    fn execute(&self) -> Result<()> {
        let root = CheckpointRoot::open_existing(LocalVfs::shared(), &self.root)?;
        let queries = match &self.query {
            Some(query) => vec![query.clone()],
            None => root.queries()?,
        };
        let mut text = String::new();
        for query in queries {
            for (source, at) in offsets(&root, &query)? {
                let _ = writeln!(text, "{query} reads {source} from {}", at.offset.as_json());
                if let Some(kept) = &at.kept {
                    let _ = writeln!(text, "  kept: {} to {}", kept.start.as_json(), kept.end.as_json());
                }
                if let Some(planned) = &at.planned {
                    let _ = writeln!(text, "  planned and not decided: up to {}", planned.end.as_json());
                }
            }
        }
        super::print(&text)
    }
}

impl Set {
    /// Where the cluster of the source says that `target` is.
    fn ask(&self, pipeline: &Pipeline, target: &Target) -> Result<Target> {
        let source = pipeline.sources.iter().find(|source| source.name == self.source);
        let source = source.ok_or_else(|| Error::config(format!("there is no source {} in {}", self.source, pipeline.name)))?;
        let SourceConnector::Kafka(settings) = &source.connector else {
            return Err(Error::config(format!("source {} is not Kafka's: leave --file out", self.source)));
        };
        let client = format!("tidemill.{}.{}.{}", pipeline.name, self.query, self.source);
        super::run::compute_runtime()?.block_on(ask_kafka(settings, &client, target))
    }

    fn execute(self) -> Result<()> {
        let root = CheckpointRoot::open_existing(LocalVfs::shared(), &self.root)?;
        let target = match &self.to {
            To { earliest: true, .. } => Target::Earliest,
            To { latest: true, .. } => Target::Latest,
            To { time: Some(time), .. } => Target::Time(time.timestamp_micros()),
            To { offset: Some(offset), .. } => Target::Offset(offset.clone()),
            To { .. } => return Err(Error::config("where to is missing: --earliest, --latest, --time or --offset")),
        };
        let target = match &self.file {
            Some(file) => self.ask(&pipeline::load(file, &[])?, &target)?,
            None => target,
        };
        let planned = plan_move(&root, &self.query, &self.source, &target)?;
        let (query, source, from, to) = (&self.query, &self.source, planned.from.as_json(), planned.to.as_json());
        if from == to {
            return super::print(&format!("{query} reads {source} from {to} already\n"));
        }
        let mut text = format!(
            "{query} will read {source} from {to} instead of {from}\n\
             what lies between is left out, or read and written once more; state and watermark stay as they are\n"
        );
        if let Some(batch) = planned.replans {
            let _ = writeln!(text, "batch {batch}, which is planned and not decided, is planned anew");
        }
        super::print(&text)?;
        super::confirm("move it?", self.yes)?;
        planned.apply(&root)?;
        super::print("done\n")
    }
}
