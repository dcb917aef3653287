//! Logs on standard error, as text or JSON.

use std::fmt::{self, Write};

use clap::{Args, ValueEnum};
use tidemill::{Error, Result};
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use super::printable::Printable;
use super::status_line::StatusLine;

/// Bytes of a field that are shown: what one may hold is cut where it is put together, so this is for what nobody thought of.
const FIELD_BYTES_MAX: usize = 64 << 10;

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
    /// Starts logging; libraries speak up only from `warn` on, and who controlled a query is said at every level.
    pub(super) fn start(&self, status: &StatusLine) -> Result<()> {
        let known = ["error", "warn", "info", "debug", "trace"];
        if !known.contains(&self.log_level.as_str()) {
            return Err(Error::config(format!("unknown log level {:?}: use one of {}", self.log_level, known.join(", "))));
        }
        let filter = EnvFilter::new(format!("warn,tidemill={},tidemill::audit=info", self.log_level));
        let writer = status.clone();
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(move || writer.stderr());
        let started = match self.log_format {
            LogFormat::Text => {
                let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
                builder.with_ansi(is_terminal).fmt_fields(debug_fn(write_field).delimited(" ")).try_init()
            }
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
        };
        started.map_err(|cause| Error::internal("could not start logging").because(cause))
    }
}

/// Writes a field of a text log: no value can end the line or move a terminal's cursor.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match (field.name(), writer.has_ansi_escapes()) {
        ("message", _) => {}
        (name, true) => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
        (name, false) => write!(writer, "{name}=")?,
    }
    write!(Printable::line(writer, FIELD_BYTES_MAX), "{value:?}")
}
