//! Files of YAML, as far as those here use it.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};

use super::read;

/// A file of YAML as JSON whose scalars are texts, with merge keys merged.
pub(super) fn yaml(name: &str) -> Value {
    let text = read(name);
    let mut anchors = HashMap::new();
    let mut events = Parser::new_from_str(&text).map(|event| event.unwrap_or_else(|error| panic!("{name}: {error}")).0);
    let first = events.find(|event| !matches!(event, Event::StreamStart | Event::DocumentStart(_)));
    node(first.unwrap(), &mut events, &mut anchors)
}

fn node<'a>(event: Event<'a>, events: &mut dyn Iterator<Item = Event<'a>>, anchors: &mut HashMap<usize, Value>) -> Value {
    let (value, anchor) = match event {
        Event::Alias(anchor) => (anchors[&anchor].clone(), 0),
        Event::Scalar(text, _, anchor, _) => (Value::from(text), anchor),
        Event::SequenceStart(anchor, _) => {
            let mut items = Vec::new();
            loop {
                match events.next().unwrap() {
                    Event::SequenceEnd => break (Value::Array(items), anchor),
                    event => items.push(node(event, events, anchors)),
                }
            }
        }
        Event::MappingStart(anchor, _) => {
            let (mut entries, mut merged) = (Map::new(), Map::new());
            loop {
                match events.next().unwrap() {
                    Event::MappingEnd => break,
                    key => {
                        let key = node(key, events, anchors).as_str().unwrap().to_owned();
                        let event = events.next().unwrap();
                        match (key.as_str(), node(event, events, anchors)) {
                            ("<<", Value::Object(others)) => merged = others,
                            (_, value) => assert!(entries.insert(key.clone(), value).is_none(), "{key} is there twice"),
                        }
                    }
                }
            }
            merged.extend(entries);
            (Value::Object(merged), anchor)
        }
        event => panic!("{event:?}"),
    };
    anchors.insert(anchor, value.clone());
    value
}

/// The texts of a list; none of what is not there.
pub(super) fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map(|items| items.iter().map(|item| item.as_str().unwrap()).collect()).unwrap_or_default()
}
