//! `tidemill checkpoint`: looks after a root that no process has open.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tidemill::checkpoint::CheckpointRoot;
use tidemill::checkpoint::storage::LocalVfs;
use tidemill::maintenance::{Verified, verify};
use tidemill::{Error, ErrorKind, Result};

/// The commands on a checkpoint root.
#[derive(Debug, Subcommand)]
pub(super) enum Checkpoint {
    /// Reads every byte that means something and says what is wrong; exit code 1 if anything is.
    Verify(Verify),
}

/// Arguments of `checkpoint verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The checkpoint root.
    root: PathBuf,
}

impl Checkpoint {
    pub(super) fn execute(&self) -> Result<()> {
        match self {
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
