//! What the stream looks like and how fast it comes.

use clap::{Args, ValueEnum};

/// How amounts are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Amounts {
    /// As JSON numbers.
    #[default]
    Number,
    /// As JSON strings, as older lectures did.
    String,
}

/// A stream of transactions.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Options {
    /// Lines per second and client; 0 is as fast as they are taken.
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    pub rate: f64,
    /// Lines per client, then the connection is closed; without it the stream is endless.
    #[arg(long)]
    pub count: Option<u64>,
    /// Seed: the same seed gives the same lines.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How amount and delta_t are written.
    #[arg(long, value_enum, default_value_t)]
    pub amounts: Amounts,
    /// Share of lines with flag 1, from 0 to 1.
    #[arg(long, default_value_t = 0.2, value_parser = share)]
    pub flag_rate: f64,
    /// Distinct users: up to 64 from names and surnames; above that each line has a field `user` (`u0000000`) too.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub users: u32,
    /// Adds a field `ts`, an instant in UTC.
    #[arg(long)]
    pub event_time: bool,
    /// The first `ts`, in milliseconds since 1970 (default 2026-01-01).
    #[arg(long, default_value_t = 1_767_225_600_000, value_parser = clap::value_parser!(i64).range(0..=253_402_300_799_999))]
    pub event_start_ms: i64,
    /// From one `ts` to the next, in milliseconds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(0..=86_400_000))]
    pub event_step_ms: i64,
    /// Share of lines whose `ts` lies back, from 0 to 1, evenly spread: of n lines n times as much, rounded.
    #[arg(long, default_value_t = 0.0, value_parser = share, requires = "event_time")]
    pub late: f64,
    /// How far back it lies, in milliseconds (default an hour).
    #[arg(long, default_value_t = 3_600_000, requires = "late", value_parser = clap::value_parser!(i64).range(1..=31_536_000_000))]
    pub late_by_ms: i64,
    /// Share of lines that are no JSON, from 0 to 1, evenly spread: of n lines n times as much, rounded.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub malformed: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate: 5.0,
            count: None,
            seed: 1,
            amounts: Amounts::Number,
            flag_rate: 0.2,
            users: 25,
            event_time: false,
            event_start_ms: 1_767_225_600_000,
            event_step_ms: 100,
            late: 0.0,
            late_by_ms: 3_600_000,
            malformed: 0.0,
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    in_range(text, 0.0, 1e9)
}

fn share(text: &str) -> Result<f64, String> {
    in_range(text, 0.0, 1.0)
}

fn in_range(text: &str, min: f64, max: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (min..=max).contains(&value) { Ok(value) } else { Err(format!("{value} is not between {min} and {max}")) }
}
