//! The declared fields of objects: which key is which column, and what becomes of its values.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::DataType;

use super::lexer::Pattern;

/// The keys below a column: what the columns themselves do not know.
#[derive(Debug)]
pub(super) enum Shape {
    Scalar,
    Struct(Keys, Vec<Shape>),
    /// An ARRAY's items or a MAP's values.
    Items(Box<Shape>),
}

impl Shape {
    pub(super) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Struct(fields) => {
                let keys = Keys::new(fields.iter().map(|f| (f.name().as_str(), Role::Keep)));
                Self::Struct(keys, fields.iter().map(|f| Self::of(f.data_type())).collect())
            }
            DataType::List(item) => Self::Items(Box::new(Self::of(item.data_type()))),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(entry) if entry.len() == 2 => Self::Items(Box::new(Self::of(entry[1].data_type()))),
                _ => Self::Scalar,
            },
            _ => Self::Scalar,
        }
    }
}

/// What becomes of a declared field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Its column is asked for.
    Keep,
    /// Its values are checked against its type and dropped.
    Check,
    /// Any value will do: it is skipped.
    Skip,
    /// It holds malformed lines and matches no key.
    Corrupt,
}

/// The declared fields of an object.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) fields: Vec<Key>,
    /// Places by name, once there are enough of them.
    places: Option<HashMap<Box<[u8]>, usize>>,
}

/// One declared field.
#[derive(Debug)]
pub(super) struct Key {
    name: Box<[u8]>,
    /// `"name":`, if no JSON text that begins like this can be another key.
    pub(super) plain: Option<Pattern>,
    /// What becomes of its values.
    pub(super) role: Role,
}

impl Keys {
    pub(super) fn new<'a>(fields: impl Iterator<Item = (&'a str, Role)>) -> Self {
        let fields: Vec<Key> = fields
            .map(|(name, role)| {
                let plain = name.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') && role != Role::Corrupt;
                Key { name: name.as_bytes().into(), plain: plain.then(|| Pattern::new(format!("\"{name}\":").as_bytes())), role }
            })
            .collect();
        let matched = fields.iter().enumerate().filter(|(_, key)| key.role != Role::Corrupt);
        let places = (fields.len() > 8).then(|| matched.map(|(at, key)| (key.name.clone(), at)).collect());
        Self { fields, places }
    }

    /// The place of the field called `name`.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(name).copied(),
            None => self.fields.iter().position(|key| *key.name == *name && key.role != Role::Corrupt),
        }
    }

    /// Whether two fields have the same name: which of them a key means depends on the order of the keys.
    pub(super) fn are_ambiguous(&self) -> bool {
        let names: HashSet<&[u8]> = self.fields.iter().map(|key| &*key.name).collect();
        names.len() < self.fields.len()
    }

    /// What becomes of each field.
    pub(super) fn roles(&self) -> impl Iterator<Item = Role> {
        self.fields.iter().map(|key| key.role)
    }
}
