//! What a declared setting is. One declaration drives reading, suggestions, the JSON Schema and the guide.

use std::time::Duration;

/// A map of the pipeline file: its settings, and the keys of which it must have exactly one.
#[derive(Debug)]
pub(super) struct Table {
    /// Heading of the guide.
    pub(super) title: &'static str,
    /// What it is, in Markdown.
    pub(super) doc: &'static str,
    /// Its settings, in the guide's order.
    pub(super) settings: &'static [Setting],
    /// Connectors or formats: exactly one of these keys stands in the map. Its bare name stands for the key with an empty map.
    pub(super) branches: &'static [Branch],
    /// What a branch is called in messages: `connector`, `format`.
    pub(super) branch: &'static str,
}

/// A connector or format: its key and its settings.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) key: &'static str,
    pub(super) table: &'static Table,
}

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) presence: Presence,
    /// What it does, in Markdown.
    pub(super) doc: &'static str,
}

/// What happens when a setting is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is missed.
    Required,
    /// It has no value.
    Optional,
    /// It has this one, written as in a file.
    Default(&'static str),
}

/// What a setting holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number, bounds included.
    Count { min: u64, max: u64 },
    /// Bytes, bounds included.
    Size { min: u64, max: u64 },
    /// A length of time, at least `min`.
    Duration { min: Duration },
    /// One of these words, without regard to case.
    Choice(&'static [&'static str]),
    /// Spark's output modes.
    OutputMode,
    /// When a batch runs.
    Trigger,
    /// `true`, `false` or a number of characters.
    Width,
    /// Any text.
    Text,
    /// Any text, in which references may stand.
    Value,
    /// Such texts, or one.
    Values,
    /// Names of topics, or one.
    Topics,
    /// A tree of maps, lists and texts, or JSON text; numbers are text. The text says what it holds.
    Tree(&'static str),
    /// What a function returns.
    Returns,
    /// Text with places for arguments.
    Template,
    /// A map from names to such texts.
    Templates,
    /// JSON with places for arguments, or with none.
    Json { places: bool },
    /// HTTP statuses, ranges of them, or one.
    Statuses,
    /// Some of these words, or one, without regard to case.
    Choices(&'static [&'static str]),
    /// A map from properties of librdkafka to values.
    Properties,
    /// One ASCII character, or nothing.
    Character,
    /// A name that the user gives: a letter, then letters, digits, `_` or `-`.
    Name,
    /// A column name.
    Column,
    /// Column names, or one.
    Columns,
    /// SQL.
    Sql,
    /// Columns and types as Spark's DDL.
    Schema,
    /// A time zone: a region, an offset, or another name that Spark takes.
    TimeZone,
    /// A file, folder or glob.
    Path,
    /// A program: a path, or a name that is looked for where `PATH` says.
    Program,
    /// `host:port`.
    Address,
    /// Networks (`10.0.0.0/8`) or addresses, or one.
    Networks,
    /// A map.
    Table(&'static Table),
    /// A map from names that the user gives to such maps.
    Named(&'static Table),
    /// Such a map, or a list of them.
    OneOrMore(&'static Table),
}

impl Table {
    /// The setting called `name`.
    pub(super) fn setting(&self, name: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }

    /// The branch called `key`.
    pub(super) fn branch(&self, key: &str) -> Option<&'static Branch> {
        self.branches.iter().find(|branch| branch.key == key)
    }

    /// Whether a map that was not given stands for one with nothing in it.
    pub(super) fn has_defaults(&self) -> bool {
        self.branches.is_empty() && self.settings.iter().all(|setting| !matches!(setting.presence, Presence::Required))
    }

    /// Every key that may stand in the map.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.branches.iter().map(|branch| branch.key).chain(self.settings.iter().map(|setting| setting.name))
    }

    /// The tables below this one.
    pub(super) fn children(&self) -> impl Iterator<Item = &'static Table> {
        let nested = self.settings.iter().filter_map(|setting| setting.kind.table());
        self.branches.iter().map(|branch| branch.table).chain(nested)
    }

    /// The names of the branches as a sentence has them: `socket, file or rate`.
    pub(super) fn branch_names(&self) -> String {
        or(self.branches.iter().map(|branch| branch.key))
    }
}

impl Kind {
    /// The table of a nested map.
    pub(super) fn table(&self) -> Option<&'static Table> {
        match self {
            Self::Table(table) | Self::Named(table) | Self::OneOrMore(table) => Some(table),
            _ => None,
        }
    }
}

/// `a, b or c`.
pub(super) fn or<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
