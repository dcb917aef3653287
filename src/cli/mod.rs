//! Arguments → command; one file per command.

mod check;
mod checkpoint;
mod demo;
mod explain;
mod functions;
mod health;
mod init;
mod inspect;
mod logging;
mod offsets;
mod printable;
mod redrive;
mod open_files;
mod run;
mod schema;
mod status_line;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, setrlimit};
use tidemill::pipeline::{self, Pipeline};
use tidemill::{Error, ErrorKind, Result};

/// Spark Structured Streaming's model in one native binary: micro-batches of SQL over streams, exactly once.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the queries of a pipeline file until they end or a signal comes.
    Run(run::Run),
    /// Checks a pipeline file, and an existing checkpoint against it, without opening or creating anything.
    Check(check::Check),
    /// Shows each query's logical, incremental and physical plan and what it keeps in state.
    Explain(FileArguments),
    /// Prints the JSON Schema of the pipeline file.
    Schema,
    /// Lists the functions that SQL may call, or tells of one.
    Functions(functions::Functions),
    /// Writes a commented starter file that runs.
    Init(init::Init),
    /// Shows what a checkpoint root holds: log, offsets, and the contents of state.
    Inspect(inspect::Inspect),
    /// Looks after a checkpoint root that no process has open.
    #[command(subcommand)]
    Checkpoint(checkpoint::Checkpoint),
    /// Shows or moves from where a query reads on.
    #[command(subcommand)]
    Offsets(offsets::Offsets),
    /// Asks a running process whether it is well; ends with 0 if it is, with 1 if not.
    Health(health::Health),
    /// Feeds dead letters back into the source that they came from, each line once.
    Redrive(redrive::Redrive),
    /// Runs a producer of card transactions and the fraud query on it, in one process.
    Demo(demo::Demo),
}

/// A pipeline file and changes to it.
#[derive(Debug, Args)]
struct FileArguments {
    /// The pipeline file (YAML or JSON).
    file: PathBuf,
    /// Overrides a setting of the file, e.g. `queries.suspicious.trigger=once`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl FileArguments {
    /// The pipeline, with `further` changes after those that were asked for.
    fn load(&self, further: &[String]) -> Result<Pipeline> {
        Ok(pipeline::load(&self.file, &[&self.overrides, further].concat())?)
    }
}

/// Parses the arguments, runs the command, and answers with the exit code of the guide.
pub(crate) fn main() -> ExitCode {
    forbid_core_dumps();
    let outcome = match Arguments::parse().command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(),
        Command::Explain(file) => explain::execute(&file),
        Command::Schema => schema::execute(),
        Command::Functions(functions) => functions.execute(),
        Command::Init(init) => init.execute(),
        Command::Inspect(inspect) => inspect.execute(),
        Command::Checkpoint(checkpoint) => checkpoint.execute(),
        Command::Offsets(offsets) => offsets.execute(),
        Command::Health(health) => health.execute(),
        Command::Redrive(redrive) => redrive.execute(),
        Command::Demo(demo) => demo.execute(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What is wrong with a row quotes it, and then a line end is one that somebody sent.
            let has_lines = error.kind() != ErrorKind::Data;
            let _ = writeln!(std::io::stderr(), "error: {}", printable::printable(&error.chain(), has_lines));
            ExitCode::from(exit_code(error.kind()))
        }
    }
}

/// No memory is written to disk when the process crashes, as it holds secrets.
fn forbid_core_dumps() {
    // What limits the process anyhow may refuse it; a crash then does what the system says.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Config => 2,
        ErrorKind::Storage => 74,
        ErrorKind::Unavailable | ErrorKind::NoSpace | ErrorKind::Fenced => 75,
        ErrorKind::Data | ErrorKind::Corrupt | ErrorKind::Limit | ErrorKind::Internal => 1,
    }
}

/// Asks on standard error whether to go on, unless `yes` was said before; anything but `y` or `yes` is no, which is
/// [`ErrorKind::Config`], as is a standard input that nobody can answer at.
fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::config("nothing was changed: standard input is no terminal to ask at, so that --yes is needed"));
    }
    let failed = |cause| Error::new(ErrorKind::Data, "could not ask").because(cause);
    let mut err = std::io::stderr().lock();
    write!(err, "{question} [y/N] ").and_then(|()| err.flush()).map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Error::config("nothing was changed")) }
}

/// Prints to standard output; a closed pipe (`| head`) is not an error.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Data, "could not print to standard output").because(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::error::ErrorKind::MissingRequiredArgument;
    use tidemill::Error;
    use tidemill::engine::way_out::{About, WAYS_OUT};

    use super::*;

    /// Every command between backticks, as arguments.
    fn commands(text: &str) -> Vec<Vec<String>> {
        let quoted = text.split('`').skip(1).step_by(2);
        let commands = quoted.filter(|text| text.starts_with("tidemill "));
        // What stands in brackets may be left out.
        let words = |command: &str| {
            let words = command.split_whitespace().take_while(|word| *word != ">");
            words.filter(|word| !word.starts_with('[')).map(example).collect()
        };
        commands.map(words).collect()
    }

    /// What might stand for a word in capitals.
    fn example(word: &str) -> String {
        match word {
            "N" => "7".to_owned(),
            "JSON" => "{}".to_owned(),
            "TIME" => "2026-01-31T12:00:00Z".to_owned(),
            _ => word.to_owned(),
        }
    }

    #[test]
    fn each_command_that_a_person_is_told_to_run_exists() {
        let nothing = Error::internal("");
        let whole: Vec<_> = WAYS_OUT.iter().flat_map(|way| commands(&way.text_for(&nothing, &About::default()))).collect();
        assert!(whole.len() > 10, "{whole:?}");
        let refused = |command: &Vec<String>| Arguments::try_parse_from(command).err();
        let wrong = whole.iter().find_map(|command| Some((command, refused(command)?)));
        assert!(wrong.is_none(), "{wrong:?}");
        for page in ["failures.md", "command-line.md", "checkpoint.md"] {
            let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)).unwrap();
            // Blocks between fences hold examples of other kinds.
            for command in text.split("```").step_by(2).flat_map(commands) {
                // The guide may tell what else is needed in the next sentence.
                let wrong = refused(&command).filter(|refused| refused.kind() != MissingRequiredArgument);
                let wrong = wrong.filter(|_| !is_prefix(&command)).map(|refused| refused.to_string());
                assert_eq!(wrong, None, "{page}: {command:?}");
            }
        }
    }

    /// `tidemill offsets`, `tidemill-producer`: named without what has to follow.
    fn is_prefix(command: &[String]) -> bool {
        use clap::CommandFactory;
        let mut known = Arguments::command();
        command.iter().skip(1).all(|word| match known.find_subcommand(word).cloned() {
            Some(found) => {
                known = found;
                true
            }
            None => false,
        })
    }
}
