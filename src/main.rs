//! The `tidemill` binary: arguments in, a command run, an exit code out.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
