//! The JSON Schema of a pipeline file, for editors: derived from the declared settings.

use serde_json::{Map, Value, json};

use super::scalar::describe;
use super::settings::{Kind, Presence, Table};
use super::tables::ROOT;

const NAME: &str = "^[A-Za-z][A-Za-z0-9_-]{0,99}$";
const REFERENCE: &str = r"\$\{";

/// The JSON Schema (draft 2020-12) of a pipeline file. It knows every setting and refuses every unknown key; rules between
/// settings are for `tidemill check`.
pub fn json_schema() -> Value {
    let mut schema = table_schema(&ROOT);
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("title".to_owned(), json!("Tidemill pipeline"));
    }
    schema
}

/// The map of a table; with branches, also the bare name of one whose settings all have defaults.
fn table_schema(table: &Table) -> Value {
    let mut properties = Map::new();
    for branch in table.branches {
        properties.insert(branch.key.to_owned(), nullable_when_optional(branch.table));
    }
    for setting in table.settings {
        properties.insert(setting.name.to_owned(), documented(kind_schema(setting.kind), setting.doc, setting.presence));
    }
    let required: Vec<&str> =
        table.settings.iter().filter(|setting| setting.presence == Presence::Required).map(|setting| setting.name).collect();
    let mut map = json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        map["required"] = json!(required);
    }
    if table.branches.is_empty() {
        return map;
    }
    let one: Vec<Value> = table.branches.iter().map(|branch| json!({ "required": [branch.key] })).collect();
    map["oneOf"] = json!(one);
    let bare = table.branches.iter().filter(|branch| !needs_settings(branch.table)).map(|branch| branch.key);
    let bare: Vec<&str> = if needs_settings_itself(table) { Vec::new() } else { bare.collect() };
    if bare.is_empty() { map } else { json!({ "anyOf": [{ "enum": bare }, map] }) }
}

/// `console:` without a map takes every default.
fn nullable_when_optional(table: &Table) -> Value {
    let schema = table_schema(table);
    if needs_settings(table) { schema } else { json!({ "anyOf": [schema, { "type": "null" }] }) }
}

fn needs_settings(table: &Table) -> bool {
    !table.branches.is_empty() || needs_settings_itself(table)
}

fn needs_settings_itself(table: &Table) -> bool {
    table.settings.iter().any(|setting| setting.presence == Presence::Required)
}

fn documented(mut schema: Value, doc: &str, presence: Presence) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), json!(doc));
        if let Presence::Default(default) = presence {
            object.insert("default".to_owned(), json!(default));
        }
    }
    schema
}

/// A value, a text that reads as one, or a text with a reference in its place.
fn or_text(schema: Value, pattern: &str) -> Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": format!("{pattern}|{REFERENCE}") }] })
}

/// One of `words`, offered as written and taken without regard to case.
fn words_schema(words: &[&str]) -> Value {
    let folded = |word: &&str| -> String {
        word.chars()
            .map(|c| {
                if c.is_ascii_alphabetic() { format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase()) } else { c.into() }
            })
            .collect()
    };
    let patterns: Vec<String> = words.iter().map(folded).collect();
    or_text(json!({ "enum": words }), &format!("^({})$", patterns.join("|")))
}

fn kind_schema(kind: Kind) -> Value {
    match kind {
        Kind::Bool => json!({ "anyOf": [{ "type": "boolean" }, words_schema(&["true", "false"])] }),
        Kind::Count { min, max } => or_text(json!({ "type": "integer", "minimum": min, "maximum": max }), "^[0-9]+$"),
        Kind::Size { .. } => json!({ "type": ["string", "integer"], "examples": ["64 MiB"] }),
        Kind::Duration { .. } => json!({ "type": "string", "examples": ["30s"] }),
        Kind::Choice(words) => words_schema(words),
        Kind::OutputMode => words_schema(&["append", "update", "complete"]),
        Kind::Trigger => json!({
            "type": "string",
            "examples": ["2 seconds", "as_fast_as_possible", "available_now", "once"],
        }),
        Kind::Width => {
            or_text(json!({ "anyOf": [{ "type": "boolean" }, { "type": "integer", "minimum": 0 }] }), "^([0-9]+|true|false)$")
        }
        Kind::Text | Kind::Value => json!({ "type": ["string", "number", "boolean"] }),
        Kind::Tree(_) => json!({ "type": ["string", "object"] }),
        Kind::Templates => json!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"], "minLength": 1 },
        }),
        Kind::Json { places: true } => json!({ "type": ["object", "array", "string", "number", "boolean", "null"] }),
        Kind::Json { places: false } => json!({ "type": "object" }),
        Kind::Statuses => {
            let one = or_text(
                json!({ "type": "integer", "minimum": 100, "maximum": 599 }),
                "^ *[1-5][0-9][0-9] *(- *[1-5][0-9][0-9] *)?$",
            );
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Kind::Choices(words) => {
            let one = words_schema(words);
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Kind::Properties => json!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"] },
        }),
        Kind::Character => json!({ "anyOf": [{ "type": "string", "maxLength": 2 }, { "type": "string", "pattern": REFERENCE }] }),
        Kind::Name => json!({ "type": "string", "pattern": NAME }),
        Kind::Column
        | Kind::Sql
        | Kind::Schema
        | Kind::Returns
        | Kind::Template
        | Kind::TimeZone
        | Kind::Path
        | Kind::Program
        | Kind::Address => {
            json!({ "type": "string", "minLength": 1, "examples": [describe(kind)] })
        }
        Kind::Columns | Kind::Networks | Kind::Topics | Kind::Values => {
            let item = json!({ "type": "string", "minLength": 1 });
            json!({ "anyOf": [item, { "type": "array", "items": item }] })
        }
        Kind::Table(table) => table_schema(table),
        Kind::Named(table) => json!({
            "type": "object",
            "patternProperties": { NAME: table_schema(table) },
            "additionalProperties": false,
        }),
        Kind::OneOrMore(table) => {
            let one = table_schema(table);
            json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
        }
    }
}
