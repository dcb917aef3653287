//! What Tidemill is deployed with: the image, compose.yaml, the unit of systemd, and the stack without containers.

mod compose;
mod image;
mod stack;
mod unit;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::binary::{Ended, Running};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The folder of the programs under test.
fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tidemill")).parent().unwrap()
}

/// `tidemill-producer`. The tests of the whole workspace have built it before; those of this package alone have not.
fn producer() -> PathBuf {
    let path = programs().join("tidemill-producer");
    if !path.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "tidemill-producer", "--target-dir"]).arg(programs().parent().unwrap());
        if programs().ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.current_dir(root()).status().unwrap().success(), "the producer could not be built");
    }
    path
}

fn run(command: Command) -> Ended {
    Running::of(command).end()
}
