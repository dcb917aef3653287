//! Logs on standard error, as text or JSON.

use clap::{Args, ValueEnum};
use tidemill::{Error, Result};
use tracing_subscriber::EnvFilter;

use super::status_line::StatusLine;

/// How logs look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// Arguments that shape logs.
#[derive(Debug, Clone, Args)]
pub(super) struct LogArguments {
    /// How logs look.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: String,
}

impl LogArguments {
    /// Starts logging; libraries speak up only from `warn` on.
    pub(super) fn start(&self, status: &StatusLine) -> Result<()> {
        let known = ["error", "warn", "info", "debug", "trace"];
        if !known.contains(&self.log_level.as_str()) {
            return Err(Error::config(format!("unknown log level {:?}: use one of {}", self.log_level, known.join(", "))));
        }
        let filter = EnvFilter::new(format!("warn,tidemill={0}", self.log_level));
        let writer = status.clone();
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(move || writer.stderr());
        let started = match self.log_format {
            LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
        };
        started.map_err(|cause| Error::internal("could not start logging").because(cause))
    }
}
