//! What objects have, and what is wrong with an operation before it is sent.

use std::collections::BTreeSet;

use crate::pipeline::nearest;

/// What an attribute holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeKind {
    /// Text; at first nothing.
    Text,
    /// A whole number of 64 bits; at first 0.
    Int,
    /// A set of texts; at first empty.
    Set,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribute {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A set of texts.
    Set(BTreeSet<String>),
}

impl Attribute {
    /// What it is.
    pub fn kind(&self) -> AttributeKind {
        match self {
            Self::Text(_) => AttributeKind::Text,
            Self::Int(_) => AttributeKind::Int,
            Self::Set(_) => AttributeKind::Set,
        }
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl<const N: usize> From<[&str; N]> for Attribute {
    fn from(members: [&str; N]) -> Self {
        Self::Set(members.into_iter().map(str::to_owned).collect())
    }
}

impl From<BTreeSet<String>> for Attribute {
    fn from(members: BTreeSet<String>) -> Self {
        Self::Set(members)
    }
}

/// Why an operation is not issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The space has no such attribute.
    #[error("space {space:?} has no attribute {attribute:?}{hint}")]
    UnknownAttribute {
        /// The space.
        space: String,
        /// What was named.
        attribute: String,
        /// What may have been meant.
        hint: String,
    },
    /// The attribute holds something else.
    #[error("attribute {attribute:?} of space {space:?} is a {declared:?}, not a {given:?}")]
    WrongKind {
        /// The space.
        space: String,
        /// The attribute.
        attribute: String,
        /// What it holds.
        declared: AttributeKind,
        /// What was given, or asked for.
        given: AttributeKind,
    },
    /// The attribute is given twice.
    #[error("attribute {attribute:?} is given twice")]
    Twice {
        /// The attribute.
        attribute: String,
    },
    /// Conditions compare texts and numbers.
    #[error("a condition compares texts and numbers, and {attribute:?} is a set")]
    ConditionOnSet {
        /// The attribute.
        attribute: String,
    },
}

/// A space's name and attributes.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) space: String,
    pub(super) attributes: Vec<(String, AttributeKind)>,
}

impl Declared {
    /// # Errors
    /// A name that is wrong or there twice.
    pub(super) fn new(space: &str, attributes: &[(String, AttributeKind)]) -> Result<Self, String> {
        // Keys are told apart by the characters that names cannot have.
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        let names = std::iter::once(space).chain(attributes.iter().map(|(name, _)| name.as_str()));
        if let Some(wrong) = names.into_iter().find(|name| !is_name(name)) {
            return Err(format!("expected a name of letters, digits, _ and -, found {wrong:?}"));
        }
        let mut known = BTreeSet::new();
        match attributes.iter().find(|(name, _)| !known.insert(name)) {
            Some((twice, _)) => Err(format!("attribute {twice:?} is declared twice")),
            None => Ok(Self { space: space.to_owned(), attributes: attributes.to_vec() }),
        }
    }

    /// Refuses an attribute that is not there, or holds something else.
    pub(super) fn check(&self, attribute: &str, given: AttributeKind) -> Result<(), Refused> {
        match self.attributes.iter().find(|(name, _)| name == attribute) {
            Some((_, declared)) if *declared == given => Ok(()),
            Some((_, declared)) => {
                let (space, attribute) = (self.space.clone(), attribute.to_owned());
                Err(Refused::WrongKind { space, attribute, declared: *declared, given })
            }
            None => {
                let near = nearest(attribute, self.attributes.iter().map(|(name, _)| name.as_str()));
                let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                Err(Refused::UnknownAttribute { space: self.space.clone(), attribute: attribute.to_owned(), hint })
            }
        }
    }

    /// Refuses attributes one of which is wrong, or there twice.
    pub(super) fn check_all(&self, attributes: &[(&str, Attribute)]) -> Result<(), Refused> {
        for (nth, (name, value)) in attributes.iter().enumerate() {
            self.check(name, value.kind())?;
            if attributes[..nth].iter().any(|(other, _)| other == name) {
                return Err(Refused::Twice { attribute: (*name).to_owned() });
            }
        }
        Ok(())
    }

    /// The sets that objects have.
    pub(super) fn sets(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().filter(|(_, kind)| *kind == AttributeKind::Set).map(|(name, _)| name.as_str())
    }

    /// The key of an object.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.space)
    }

    /// The key of a set of an object.
    pub(super) fn set_key(&self, attribute: &str, key: &str) -> String {
        format!("{}.{attribute}:{key}", self.space)
    }
}
