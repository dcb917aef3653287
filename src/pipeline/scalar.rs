//! One scalar: its text and what the setting holds → a value, or what was expected.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use ipnet::IpNet;

use super::duration::{parse_duration, show_duration};
use super::function;
use super::reference::{self, Lookup};
use super::settings::{Kind, or};
use super::size::{parse_size, show_size};
use super::spec::Trigger;
use super::suggest::nearest;
use super::text::{Address, FilePath, Text};
use crate::format::datetime::Zone;
use crate::function::Returns;
use crate::function::http::Template;
use crate::plan::OutputMode;

const NAME_CHARS_MAX: usize = 100;
const TRIGGER_WORDS: [&str; 3] = ["as_fast_as_possible", "available_now", "once"];

/// What a scalar setting holds.
#[derive(Debug, Clone)]
pub(super) enum Scalar {
    Bool(bool),
    Count(u64),
    Duration(Duration),
    Choice(&'static str),
    OutputMode(OutputMode),
    Trigger(Trigger),
    Width(Option<usize>),
    Character(Option<u8>),
    Word(String),
    Schema(SchemaRef),
    Path(FilePath),
    Address(Address),
    Text(Text),
    Network(IpNet),
    Statuses(RangeInclusive<u16>),
    Template(Template),
    Returns(Returns),
}

/// Why a scalar was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Spark's name for it.
    pub(super) condition: Option<&'static str>,
    /// What was expected and found.
    pub(super) message: String,
}

impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self { condition: None, message }
    }
}

/// The value that `raw` stands for.
pub(super) fn read(kind: Kind, raw: &str, lookup: Lookup<'_>) -> Result<Scalar, Refused> {
    match kind {
        Kind::Name | Kind::Column | Kind::Columns | Kind::Topics | Kind::Sql | Kind::Schema | Kind::Returns | Kind::Text => {
            Ok(read_shown(kind, &reference::resolve_literal(raw)?)?)
        }
        Kind::Template => match reference::resolve_template(raw, lookup)? {
            template if template == Template::default() => Err(format!("expected {}, found nothing", describe(kind)).into()),
            template => Ok(Scalar::Template(template)),
        },
        _ => read_text(kind, reference::resolve(raw, lookup)?, lookup),
    }
}

/// Values that names, plans and messages show, and that take no reference therefore.
fn read_shown(kind: Kind, text: &str) -> Result<Scalar, String> {
    match kind {
        Kind::Name => check_name(text).map(|()| Scalar::Word(text.to_owned())),
        Kind::Schema => match crate::plan::spark::types::parse_schema(text) {
            Ok(schema) if schema.fields().is_empty() => Err("expected at least one column".to_owned()),
            Ok(schema) => Ok(Scalar::Schema(Arc::new(schema))),
            Err(error) => Err(format!("expected columns as \"name STRING, amount DOUBLE\": {}", error.chain())),
        },
        Kind::Returns => match function::returns(text) {
            Ok(returns) => Ok(Scalar::Returns(returns)),
            Err(message) => Err(format!("expected {}: {message}", describe(kind))),
        },
        Kind::Text => Ok(Scalar::Word(text.to_owned())),
        _ if text.trim().is_empty() => Err(format!("expected {}, found nothing", describe(kind))),
        _ => Ok(Scalar::Word(text.to_owned())),
    }
}

fn read_text(kind: Kind, text: Text, lookup: Lookup<'_>) -> Result<Scalar, Refused> {
    let value = text.expose().trim();
    let expected = || Refused::from(format!("expected {}, found {}", describe(kind), quoted(&text)));
    let found = |message: String| Refused::from(format!("{message}, found {}", quoted(&text)));
    match kind {
        Kind::Bool => parse_bool(value).map(Scalar::Bool).ok_or_else(expected),
        Kind::Count { min, max } => {
            let count = value.parse().ok().filter(|count| (min..=max).contains(count));
            count.map(Scalar::Count).ok_or_else(expected)
        }
        Kind::Size { min, max } => match parse_size(value).map_err(found)? {
            bytes if (min..=max).contains(&bytes) => Ok(Scalar::Count(bytes)),
            _ => Err(expected()),
        },
        Kind::Duration { min } => match parse_duration(value).map_err(found)? {
            duration if duration >= min => Ok(Scalar::Duration(duration)),
            _ => Err(expected()),
        },
        Kind::Choice(words) => {
            let word = words.iter().find(|word| word.eq_ignore_ascii_case(value));
            word.map(|word| Scalar::Choice(word)).ok_or_else(|| with_nearest(expected(), value, &text, words))
        }
        Kind::OutputMode => output_mode(value).ok_or_else(|| Refused {
            condition: Some("STREAMING_OUTPUT_MODE.INVALID"),
            message: format!(
                "invalid streaming output mode: {}. Accepted output modes are 'Append', 'Complete', 'Update'",
                quoted(&text)
            ),
        }),
        Kind::Trigger => trigger(value, &text),
        Kind::Width => width(value).ok_or_else(expected),
        Kind::Character => character(text.expose()).ok_or_else(expected),
        Kind::TimeZone => match Zone::parse(value) {
            Some(_) => Ok(Scalar::Word(value.to_owned())),
            None => {
                let zones: Vec<&str> = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).collect();
                Err(with_nearest(expected(), value, &text, &zones))
            }
        },
        Kind::Path | Kind::Program if value.is_empty() || value.contains('\0') => Err(expected()),
        Kind::Path => Ok(Scalar::Path(FilePath::resolve(&text, lookup.folder))),
        Kind::Program => Ok(Scalar::Path(FilePath::program(&text, lookup.folder))),
        Kind::Address => Address::parse(&text).map(Scalar::Address).map_err(found),
        Kind::Choices(words) => read_text(Kind::Choice(words), text, lookup),
        Kind::Statuses => statuses(value).map(Scalar::Statuses).ok_or_else(expected),
        Kind::Networks => network(value).map(Scalar::Network).ok_or_else(expected),
        Kind::Value | Kind::Values if value.is_empty() => Err(expected()),
        Kind::Value | Kind::Values => Ok(Scalar::Text(text)),
        Kind::Name
        | Kind::Column
        | Kind::Columns
        | Kind::Topics
        | Kind::Sql
        | Kind::Schema
        | Kind::Returns
        | Kind::Template
        | Kind::Text => {
            unreachable!("read before references were replaced")
        }
        Kind::Table(_)
        | Kind::Named(_)
        | Kind::OneOrMore(_)
        | Kind::Tree(_)
        | Kind::Templates
        | Kind::Json { .. }
        | Kind::Properties => Err(expected()),
    }
}

/// What a setting of this kind takes, as messages and the guide say it.
pub(super) fn describe(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Count { min, max } if min == max => min.to_string(),
        Kind::Count { min, max: 9_007_199_254_740_992.. } => format!("a whole number of at least {min}"),
        Kind::Count { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Size { min: 0 | 1, max: u64::MAX } => "a size of at least 1 B, such as 64 MiB".to_owned(),
        Kind::Size { min, max } => format!("a size from {} to {}", show_size(min), show_size(max)),
        Kind::Duration { min } if min.is_zero() => "a duration such as 2s, 500ms or 7 days".to_owned(),
        Kind::Duration { min } => format!("a duration of at least {}", show_duration(min)),
        Kind::Choice(words) => or(words.iter().copied()),
        Kind::OutputMode => "append, update or complete".to_owned(),
        Kind::Trigger => format!("an interval such as 2 seconds, {}", or(TRIGGER_WORDS.into_iter())),
        Kind::Width => "true, false or a number of characters".to_owned(),
        Kind::Text | Kind::Value => "text".to_owned(),
        Kind::Values => "text or a list of texts".to_owned(),
        Kind::Topics => "a topic or a list of topics".to_owned(),
        Kind::Tree(what) => what.to_owned(),
        Kind::Returns => "a type, columns such as \"score DOUBLE, band STRING\", or TABLE (columns)".to_owned(),
        Kind::Template => "text, in which {argument} stands for an argument".to_owned(),
        Kind::Templates => "a map from names to texts, in which {argument} stands for an argument".to_owned(),
        Kind::Json { places: true } => "JSON, in whose texts {argument} stands for an argument".to_owned(),
        Kind::Json { places: false } => "a map from names to values".to_owned(),
        Kind::Statuses => "a status such as 200, a range such as 200-299, or a list of them".to_owned(),
        Kind::Choices(words) => format!("a list of {}", or(words.iter().copied())),
        Kind::Properties => "a map from properties of librdkafka to values".to_owned(),
        Kind::Character => "one ASCII character, or \"\" for none".to_owned(),
        Kind::Name => "a name".to_owned(),
        Kind::Column => "a column".to_owned(),
        Kind::Columns => "a column or a list of columns".to_owned(),
        Kind::Sql => "SQL".to_owned(),
        Kind::Schema => "columns such as \"name STRING, amount DOUBLE\"".to_owned(),
        Kind::TimeZone => "a time zone such as UTC, Europe/Rome or +02:00".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::Program => "the name of a program, or its path".to_owned(),
        Kind::Address => "host:port".to_owned(),
        Kind::Networks => "a network such as 10.0.0.0/8, an address, or a list of them".to_owned(),
        Kind::Table(table) if !table.branches.is_empty() => format!("a {}: {}", table.branch, table.branch_names()),
        Kind::Table(_) => "a map of settings".to_owned(),
        Kind::Named(_) => "a map from names to settings".to_owned(),
        Kind::OneOrMore(_) => "a map or a list of maps".to_owned(),
    }
}

/// Why `name` is no name, if it is none.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    let right = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && name.len() <= NAME_CHARS_MAX;
    if right {
        return Ok(());
    }
    let found = quoted(&Text::plain(name));
    Err(format!("expected a name (a letter, then at most {} letters, digits, _ or -), found {found}", NAME_CHARS_MAX - 1))
}

/// `text` as messages show it: never a secret, never long, never a control character.
pub(super) fn quoted(text: &Text) -> String {
    let shown: String = text.shown().chars().take(60).collect();
    let more = if shown.len() < text.shown().len() { "…" } else { "" };
    format!("\"{}{more}\"", shown.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
}

fn with_nearest(refused: Refused, value: &str, text: &Text, known: &[&str]) -> Refused {
    // Naming what is near would tell what a secret looks like.
    match nearest(value, known.iter().copied()).filter(|_| !text.is_secret()) {
        Some(near) => Refused { message: format!("{}; did you mean {near}?", refused.message), ..refused },
        None => refused,
    }
}

fn parse_bool(value: &str) -> Option<bool> {
    match value {
        _ if value.eq_ignore_ascii_case("true") => Some(true),
        _ if value.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn output_mode(value: &str) -> Option<Scalar> {
    let modes = [("append", OutputMode::Append), ("update", OutputMode::Update), ("complete", OutputMode::Complete)];
    let mode = modes.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(value));
    mode.map(|(_, mode)| Scalar::OutputMode(mode))
}

fn trigger(value: &str, text: &Text) -> Result<Scalar, Refused> {
    let word = TRIGGER_WORDS.into_iter().find(|word| word.eq_ignore_ascii_case(value));
    let trigger = match word {
        Some("as_fast_as_possible") => Trigger::AsFastAsPossible,
        Some("available_now") => Trigger::AvailableNow,
        Some(_) => Trigger::Once,
        None if value.starts_with('-') => return Err("the interval of trigger should not be negative".to_owned().into()),
        None => match parse_duration(value) {
            Ok(interval) => Trigger::every(interval),
            Err(message) if message.contains("month") => return Err(format!("{message}: {}", quoted(text)).into()),
            Err(_) => {
                let refused = format!("expected {}, found {}", describe(Kind::Trigger), quoted(text)).into();
                return Err(with_nearest(refused, value, text, &TRIGGER_WORDS));
            }
        },
    };
    Ok(Scalar::Trigger(trigger))
}

/// Spark's 20 characters for `true`; 0 is all, as `show` has it.
fn width(value: &str) -> Option<Scalar> {
    let width = match parse_bool(value) {
        Some(true) => 20,
        Some(false) => 0,
        None => value.parse::<u32>().ok()? as usize,
    };
    Some(Scalar::Width((width > 0).then_some(width)))
}

fn character(value: &str) -> Option<Scalar> {
    let byte = match value.as_bytes() {
        [] => None,
        b"\\t" => Some(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Some(*byte),
        _ => return None,
    };
    Some(Scalar::Character(byte))
}

fn statuses(value: &str) -> Option<RangeInclusive<u16>> {
    let status = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    let range = status(first)?..=status(last)?;
    (!range.is_empty()).then_some(range)
}

fn network(value: &str) -> Option<IpNet> {
    value.parse().ok().or_else(|| value.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}
