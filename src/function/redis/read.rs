//! The commands that read a chunk's keys, one round trip for all of them.

use ::redis::{Cmd, Pipeline, Value, cmd};

use crate::function::{CallError, CallErrorKind};
use crate::redis::{Store, refusal};

/// What is asked of each key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    Get,
    Fields(Vec<String>),
    AllFields,
    Field,
    Members,
}

/// What was found under a key.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Nothing,
    One(Vec<u8>),
    /// The declared fields, in their order.
    Fields(Vec<Option<Vec<u8>>>),
    /// Fields by name.
    Pairs(Vec<(Vec<u8>, Vec<u8>)>),
    Members(Vec<Vec<u8>>),
    /// The key holds something else.
    Refused(CallError),
}

impl Reading {
    /// What is under each key; where there is none, nothing is.
    pub(super) async fn read(
        &self,
        store: &Store,
        keys: &[Option<Vec<u8>>],
        fields: &[Option<Vec<u8>>],
    ) -> Result<Vec<Found>, CallError> {
        let field = |row: usize| fields.get(row).map_or(Some(&[][..]), Option::as_deref);
        let asked: Vec<usize> = (0..keys.len()).filter(|row| keys[*row].is_some() && field(*row).is_some()).collect();
        let mut found: Vec<Found> = keys.iter().map(|_| Found::Nothing).collect();
        if asked.is_empty() {
            return Ok(found);
        }
        let key = |row: usize| keys[row].as_deref().unwrap_or_default();
        let answers = if *self == Self::Get {
            let mut all = Cmd::with_capacity(asked.len() + 1, asked.iter().map(|row| key(*row).len()).sum::<usize>() + 4);
            all.arg("MGET");
            for row in &asked {
                all.arg(key(*row));
            }
            match store.ask(&all).await? {
                (_, Value::Array(answers)) => answers,
                _ => return Err(unexpected(store)),
            }
        } else {
            let mut all = Pipeline::with_capacity(asked.len());
            for row in &asked {
                all.add_command(self.command(key(*row), field(*row).unwrap_or_default()));
            }
            store.ask_all(&all).await?
        };
        if answers.len() != asked.len() {
            return Err(unexpected(store));
        }
        for (row, answer) in asked.into_iter().zip(answers) {
            found[row] = match answer {
                Value::ServerError(error) => match refusal(&error, store.shown()) {
                    refused if refused.kind == CallErrorKind::Rejected => Found::Refused(refused),
                    // This is not about the key.
                    failure => return Err(failure),
                },
                answer => self.found(answer).ok_or_else(|| unexpected(store))?,
            };
        }
        Ok(found)
    }

    fn command(&self, key: &[u8], field: &[u8]) -> Cmd {
        match self {
            Self::Get => cmd("GET").arg(key).take(),
            Self::Fields(fields) => cmd("HMGET").arg(key).arg(fields).take(),
            Self::AllFields => cmd("HGETALL").arg(key).take(),
            Self::Field => cmd("HGET").arg(key).arg(field).take(),
            Self::Members => cmd("SMEMBERS").arg(key).take(),
        }
    }

    fn found(&self, answer: Value) -> Option<Found> {
        let values = match (self, answer) {
            (Self::Get | Self::Field, answer) => return Some(text(answer)?.map_or(Found::Nothing, Found::One)),
            (_, Value::Array(values) | Value::Set(values)) => values,
            (_, Value::Map(pairs)) => pairs.into_iter().flat_map(|(key, value)| [key, value]).collect(),
            _ => return None,
        };
        let mut texts = values.into_iter().map(text).collect::<Option<Vec<_>>>()?;
        Some(match self {
            // A hash that is there may have none of these, but who would tell?
            Self::Fields(_) if texts.iter().all(Option::is_none) => Found::Nothing,
            Self::Fields(_) => Found::Fields(texts),
            // There are no empty hashes and sets.
            _ if texts.is_empty() => Found::Nothing,
            Self::Members => {
                texts.sort_unstable();
                Found::Members(texts.into_iter().collect::<Option<_>>()?)
            }
            _ => {
                let mut texts = texts.into_iter().flatten();
                let mut pairs = Vec::new();
                while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
                    pairs.push((name, value));
                }
                pairs.sort_unstable();
                Found::Pairs(pairs)
            }
        })
    }
}

/// The bytes of an answer, none if there is nothing; `None` if it is something else.
fn text(answer: Value) -> Option<Option<Vec<u8>>> {
    match answer {
        Value::Nil => Some(None),
        Value::BulkString(bytes) => Some(Some(bytes)),
        Value::SimpleString(text) => Some(Some(text.into_bytes())),
        Value::Int(number) => Some(Some(number.to_string().into_bytes())),
        _ => None,
    }
}

fn unexpected(store: &Store) -> CallError {
    CallError::new(CallErrorKind::BadAnswer, format!("Redis at {} answered something else than was asked", store.shown()))
}
