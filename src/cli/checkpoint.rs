//! `tidemill checkpoint`: looks after a root that no process has open.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tidemill::checkpoint::CheckpointRoot;
use tidemill::checkpoint::storage::LocalVfs;
use tidemill::maintenance::{Verified, plan_accept, plan_copy, verify};
use tidemill::{Error, ErrorKind, Result};

/// The commands on a checkpoint root.
#[derive(Debug, Subcommand)]
pub(super) enum Checkpoint {
    /// Reads every byte that means something and says what is wrong; exit code 1 if anything is.
    Verify(Verify),
    /// Says where a sink stands, after it was found ahead of the checkpoint (`SINK_AHEAD`) or without its mark (`MARKER_LOST`).
    Accept(Accept),
    /// Copies a whole root, to be kept or to be run elsewhere.
    Copy(Copy),
}

/// Arguments of `checkpoint verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The checkpoint root.
    root: PathBuf,
}

/// Arguments of `checkpoint copy`.
#[derive(Debug, Args)]
pub(super) struct Copy {
    /// The checkpoint root.
    root: PathBuf,
    /// Where the copy will be; must not be there.
    to: PathBuf,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
}

/// Arguments of `checkpoint accept`.
#[derive(Debug, Args)]
pub(super) struct Accept {
    /// The checkpoint root.
    root: PathBuf,
    /// The query.
    #[arg(long)]
    query: String,
    /// The sink, as the error names it.
    #[arg(long)]
    sink: String,
    /// The sink's next commit: those below count as in, whatever its mark says.
    #[arg(long, value_name = "N")]
    at: u64,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
}

impl Checkpoint {
    pub(super) fn execute(&self) -> Result<()> {
        match self {
            Self::Accept(accept) => accept.execute(),
            Self::Copy(copy) => copy.execute(),
            Self::Verify(verify) => verify.execute(),
        }
    }
}

impl Verify {
    fn execute(&self) -> Result<()> {
        let root = CheckpointRoot::open_existing(LocalVfs::shared(), &self.root)?;
        let parts = verify(&root)?;
        let mut text = String::new();
        for part in &parts {
            describe(part, &mut text);
        }
        super::print(&text)?;
        let (path, faults) = (self.root.display(), parts.iter().map(|part| part.faults.len()).sum::<usize>());
        if faults == 0 {
            return super::print(&format!("{path} is whole\n"));
        }
        let what =
            format!("{path} is damaged in {faults} places; put a copy of the whole root back, or start over with `run --fresh`");
        Err(Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", what))
    }
}

impl Copy {
    fn execute(&self) -> Result<()> {
        let root = CheckpointRoot::open_existing(LocalVfs::shared(), &self.root)?;
        let planned = plan_copy(&root, &self.to)?;
        super::print(&format!(
            "{} is whole and will be copied to {}\n\
             the copy counts the same commits: let one of the two go on, as a sink takes a commit from the first that brings it\n",
            self.root.display(),
            self.to.display()
        ))?;
        super::confirm("copy it?", self.yes)?;
        let copied = planned.apply()?;
        super::print(&format!("done: {} files, {} bytes, read through once more\n", copied.files, copied.bytes))
    }
}

impl Accept {
    fn execute(&self) -> Result<()> {
        let root = CheckpointRoot::open_existing(LocalVfs::shared(), &self.root)?;
        let planned = plan_accept(&root, &self.query, &self.sink, self.at)?;
        let (query, sink, at, next) = (&self.query, &self.sink, self.at, planned.next);
        let mut text =
            format!("commits of sink {sink} below {at} will count as in it, whatever its mark says; commit {at} comes next\n");
        if !planned.is_known {
            let _ = writeln!(text, "query {query} has not committed to a sink {sink} so far");
        }
        match planned.open {
            Some((batch, true)) => {
                let _ = writeln!(
                    text,
                    "batch {batch} is decided: its output for the sink, commit {next}, counts as in and is not written"
                );
            }
            Some((batch, false)) => {
                let _ = writeln!(
                    text,
                    "batch {batch} is decided: its output for the sink, commit {next}, is written at the next start"
                );
            }
            None => {}
        }
        text.push_str(if at > next {
            "what the query reads from its offsets on is written once more if the sink has it already: `tidemill offsets set` leaves it out\n"
        } else {
            "rows of earlier commits that the sink does not have any more are not written again: `tidemill offsets set` reads them again\n"
        });
        super::print(&text)?;
        super::confirm("go on from there?", self.yes)?;
        planned.apply(&root)?;
        super::print("done\n")
    }
}

fn describe(part: &Verified, text: &mut String) {
    let verdict = if part.faults.is_empty() { "whole" } else { "DAMAGED" };
    let holds = if part.holds.is_empty() { String::new() } else { format!(" ({})", part.holds) };
    let _ = writeln!(text, "{}: {verdict}{holds}", part.part);
    for remark in &part.remarks {
        let _ = writeln!(text, "  note: {remark}");
    }
    for fault in &part.faults {
        let _ = writeln!(text, "  fault: {fault}");
    }
}
