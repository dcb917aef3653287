//! `--set queries.suspicious.trigger=once`: values of the command line put into the tree before it is checked.

use std::sync::Arc;

use super::problem::{Place, Problems};
use super::tree::{Content, Key, Node, parse_override};

const DEPTH_MAX: usize = 16;

/// Puts every override into `root`, later ones over earlier ones.
pub(super) fn apply(root: &mut Node, overrides: &[String], problems: &mut Problems) {
    for given in overrides {
        let place = Place::Override(Arc::from(shown(given).as_str()));
        if let Err(message) = apply_one(root, given, &place) {
            problems.add(&place, message);
        }
    }
}

/// Given by hand, so shown as given, on one line.
fn shown(given: &str) -> String {
    given.chars().take(200).collect::<String>().escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

fn apply_one(root: &mut Node, given: &str, place: &Place) -> Result<(), String> {
    let expected = || "expected KEY=VALUE, such as queries.fraud.trigger=once".to_owned();
    let (path, value) = given.split_once('=').ok_or_else(expected)?;
    let steps: Vec<&str> = path.trim().split('.').collect();
    if steps.iter().any(|step| step.is_empty()) || steps.len() > DEPTH_MAX {
        return Err(expected());
    }
    let value = parse_override(value, place)?;
    let mut node = root;
    for (depth, step) in steps.iter().enumerate() {
        node = descend(node, step, place).map_err(|message| format!("{message} at {}", steps[..=depth].join(".")))?;
    }
    *node = value;
    Ok(())
}

/// The part of `node` called `step`; a map that lacks it gets it.
fn descend<'a>(node: &'a mut Node, step: &str, place: &Place) -> Result<&'a mut Node, String> {
    if matches!(node.content, Content::Nothing) {
        *node = Node::empty_map(place.clone());
    }
    match &mut node.content {
        Content::Map(entries) => {
            let index = entries.iter().position(|(key, _)| key.text == step).unwrap_or_else(|| {
                let key = Key { place: place.clone(), text: step.to_owned() };
                entries.push((key, Node::new(place.clone(), Content::Nothing)));
                entries.len() - 1
            });
            Ok(&mut entries[index].1)
        }
        Content::List(items) => {
            let count = items.len();
            let item = step.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            item.ok_or_else(|| format!("expected an index below {count}"))
        }
        Content::Scalar(_) => Err("expected a map or a list, found a value".to_owned()),
        Content::Nothing => unreachable!("became a map above"),
    }
}
