//! `tidemill init`: a commented starter file that runs.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use tidemill::{Attempt, ErrorKind, Result, pipeline};

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Where to write it; an existing file is left alone.
    #[arg(default_value = "pipeline.yaml")]
    file: PathBuf,
}

impl Init {
    pub(super) fn execute(&self) -> Result<()> {
        let shown = self.file.display();
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&self.file)
            .attempting(ErrorKind::Config, || format!("create {shown}"))?;
        file.write_all(pipeline::starter().as_bytes()).attempting(ErrorKind::Config, || format!("write {shown}"))?;
        super::print(&format!("wrote {shown}: run it with `tidemill run {shown}`\n"))
    }
}
