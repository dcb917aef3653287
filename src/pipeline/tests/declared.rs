use super::*;

#[test]
fn every_default_is_right_and_every_table_is_described() {
    for table in suggest::all_tables() {
        assert!(!table.doc.is_empty() && table.doc.ends_with('.'), "{}", table.title);
        for setting in table.settings {
            assert!(setting.doc.ends_with('.'), "{} {}", table.title, setting.name);
            assert!(table.branch(setting.name).is_none(), "{} is a connector and a setting", setting.name);
            if let settings::Presence::Default(text) = setting.presence {
                let lookup = reference::Lookup { env: &|_| None, folder: Path::new(".") };
                assert!(scalar::read(setting.kind, text, lookup).is_ok(), "{} {}", table.title, setting.name);
            }
        }
    }
}

#[test]
fn the_schema_takes_every_right_file_and_no_unknown_key() {
    let schema = json_schema();
    let right = examples().into_iter().map(|path| std::fs::read_to_string(path).expect("read"));
    for text in right.chain([starter().to_owned(), EVERY_SETTING.to_owned(), format!("{RATE}{QUERY}")]) {
        let value = as_json(&text);
        validate(&schema, &value).unwrap_or_else(|message| panic!("{message} in {text}"));
    }
    for wrong in [
        format!("{RATE}{QUERY}zebra: 1"),
        RATE.to_owned(),
        format!("sources: {{ r: {{ from: {{ rate: {{ rowsPerSecond: 1 }} }} }} }}\n{QUERY}"),
        format!("sources: {{ r: {{ from: {{ rate: {{}}, file: {{ path: x }} }} }} }}\n{QUERY}"),
        format!("sources: {{ r: {{ from: file }} }}\n{QUERY}"),
        format!("sources: {{ r: {{ from: rate, format: json }} }}\n{QUERY}"),
        format!("sources: {{ \"1\": {{ from: rate }} }}\n{QUERY}"),
        format!("{RATE}{QUERY}limits: {{ json_depth: 1001 }}"),
        format!("{RATE}queries: {{ q: {{ sql: S, to: [] }} }}"),
        format!("{RATE}queries: {{ q: {{ sql: S, to: {{ kinesis: {{}} }} }} }}"),
    ] {
        assert!(validate(&schema, &as_json(&wrong)).is_err(), "{wrong}");
    }
}

/// YAML as editors see it: plain scalars are numbers and booleans where they look like them.
fn as_json(text: &str) -> serde_json::Value {
    use serde_json::Value;
    use tree::{Content, Node};
    fn convert(node: &Node) -> Value {
        match &node.content {
            Content::Nothing => Value::Null,
            Content::Scalar(text) => match text.parse::<serde_json::Number>() {
                Ok(number) => Value::Number(number),
                Err(_) => text.parse::<bool>().map_or_else(|_| Value::String(text.clone()), Value::Bool),
            },
            Content::List(items) => items.iter().map(convert).collect(),
            Content::Map(entries) => entries.iter().map(|(key, value)| (key.text.clone(), convert(value))).collect(),
        }
    }
    convert(&tree::parse(text, &mut Problems::of("x")).expect("YAML"))
}

/// As much of JSON Schema as ours uses.
fn validate(schema: &serde_json::Value, value: &serde_json::Value) -> Result<(), String> {
    use serde_json::Value;
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let each = |rules: &Value| rules.as_array().expect("a list").iter().filter(|rule| validate(rule, value).is_ok()).count();
        let right = match (keyword.as_str(), value) {
            ("$schema" | "title" | "description" | "default" | "examples", _) => true,
            ("type", _) => {
                let name = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(number) if number.is_f64() => "number",
                    Value::Number(_) => "integer",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                let is = |rule: &Value| rule == name || (rule == "number" && name == "integer");
                rule.as_array().map_or_else(|| is(rule), |rules| rules.iter().any(is))
            }
            ("enum", _) => rule.as_array().expect("a list").contains(value),
            ("anyOf", _) => each(rule) > 0,
            ("oneOf", _) => each(rule) == 1,
            ("minimum", Value::Number(number)) => number.as_f64() >= rule.as_f64(),
            ("maximum", Value::Number(number)) => number.as_f64() <= rule.as_f64(),
            ("minLength", Value::String(text)) => text.chars().count() as u64 >= rule.as_u64().expect("a count"),
            ("maxLength", Value::String(text)) => text.chars().count() as u64 <= rule.as_u64().expect("a count"),
            ("pattern", Value::String(text)) => {
                regex::Regex::new(rule.as_str().expect("a pattern")).expect("right").is_match(text)
            }
            ("minItems", Value::Array(items)) => items.len() as u64 >= rule.as_u64().expect("a count"),
            ("items", Value::Array(items)) => items.iter().try_for_each(|item| validate(rule, item)).map(|()| true)?,
            ("required", Value::Object(map)) => {
                rule.as_array().expect("a list").iter().all(|key| map.contains_key(key.as_str().expect("a key")))
            }
            ("properties", Value::Object(map)) => {
                let mut known = map.iter().filter_map(|(key, value)| Some((rule.get(key)?, value, key)));
                known
                    .try_for_each(|(rule, value, key)| validate(rule, value).map_err(|m| format!("{key}: {m}")))
                    .map(|()| true)?
            }
            ("patternProperties", Value::Object(map)) => {
                let (pattern, rule) = rule.as_object().expect("a map").iter().next().expect("one pattern");
                let pattern = regex::Regex::new(pattern).expect("right");
                let mut known = map.iter().filter(|(key, _)| pattern.is_match(key));
                known.try_for_each(|(key, value)| validate(rule, value).map_err(|m| format!("{key}: {m}"))).map(|()| true)?
            }
            ("additionalProperties", Value::Object(map)) if rule.is_object() => {
                map.iter().try_for_each(|(key, value)| validate(rule, value).map_err(|m| format!("{key}: {m}"))).map(|()| true)?
            }
            ("additionalProperties", Value::Object(map)) => map.keys().all(|key| {
                schema.get("properties").is_some_and(|known| known.get(key).is_some())
                    || schema
                        .get("patternProperties")
                        .and_then(Value::as_object)
                        .is_some_and(|known| known.keys().any(|pattern| regex::Regex::new(pattern).expect("right").is_match(key)))
            }),
            (
                "minimum"
                | "maximum"
                | "minLength"
                | "maxLength"
                | "pattern"
                | "minItems"
                | "items"
                | "required"
                | "properties"
                | "patternProperties"
                | "additionalProperties",
                _,
            ) => true,
            (other, _) => panic!("keyword {other} is not known to this check"),
        };
        if !right {
            return Err(format!("{keyword} {rule} refuses {value}"));
        }
    }
    Ok(())
}

#[test]
fn the_guide_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pipeline-file.md");
    let page = guide::page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/pipeline-file.md is out of date: UPDATE_DOCS=1 cargo test -p tidemill --lib pipeline::");
}

#[test]
fn all_examples_and_the_starter_load() {
    for path in examples() {
        load(&path, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    }
    read(starter());
}

/// The starter's comments show settings too: they must be right when someone takes the `#` away.
#[test]
fn the_starters_commented_settings_are_right() {
    let open = starter().replace("  # transactions:", "  transactions:").replace("  # orders:", "  orders:");
    let open =
        open.replace("  #   from:", "    from:").replace("  #   format:", "    format:").replace("# checkpoint:", "checkpoint:");
    let open =
        open.replace("    to: { console: { truncate: false } }", "").replace("    # to:", "    to:").replace("update", "append");
    let pipeline = read(&open);
    assert_eq!((pipeline.sources.len(), pipeline.queries[0].sinks[0].name.as_str()), (3, "file"));
}
