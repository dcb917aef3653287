//! Functions that read from Redis: what is under a key, for many rows with one round trip.
//!
//! Nothing here writes: a planned batch may run twice, and would write twice.

mod read;
mod values;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;

use super::policy::Budget;
use super::template::Template;
use super::{Answer, AsyncFunction, CallError, CallSettings, Chunk, Function, Mistake, Reply, Returns, Signature};
use crate::error::Result;
use crate::plan::spark::types::sql_name;
use crate::redis::{Keys, RedisConnection, Store, Stores};
use read::Reading;
use values::Values;

/// What a function reads, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// The server.
    pub connection: RedisConnection,
    /// What is read.
    pub read: Read,
}

/// What is read; keys have places for arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The string under a key.
    Get(Template),
    /// The fields of a hash that a STRUCT has, or all of them as a MAP.
    Hash(Template),
    /// One field of a hash.
    Field {
        /// The hash.
        key: Template,
        /// The field.
        field: Template,
    },
    /// The members of a set as an ARRAY.
    Members(Template),
}

impl Read {
    fn key(&self) -> (&'static str, &Template) {
        match self {
            Self::Get(key) => ("get", key),
            Self::Hash(key) | Self::Field { key, .. } => ("hash", key),
            Self::Members(key) => ("members", key),
        }
    }
}

impl RedisSettings {
    /// Everything that is wrong with it. Opens nothing.
    pub fn mistakes(&self, signature: &Signature) -> Vec<Mistake> {
        self.parts(signature, "UTC".into()).err().unwrap_or_default()
    }

    fn parts(&self, signature: &Signature, time_zone: Arc<str>) -> Result<(Keys, Option<Keys>, Reading, Values), Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let (setting, template) = self.read.key();
        let mut keys = |setting: &'static str, template: &Template| {
            let keys = Keys::new(template, &signature.args, time_zone.clone());
            keys.map_err(|message| mistakes.push(Mistake { setting, message })).ok()
        };
        let key = keys(setting, template);
        let field = match &self.read {
            Read::Field { field, .. } => keys("field", field).map(Some),
            _ => Some(None),
        };
        let fits = self.reading(&signature.returns).and_then(|reading| {
            let Returns::Value(data_type) = &signature.returns else { return Err("expected a type".to_owned()) };
            Ok((reading, Values::new(data_type, time_zone.clone())?))
        });
        let fits = fits.map_err(|message| mistakes.push(Mistake { setting, message })).ok();
        match (key, field, fits) {
            (Some(key), Some(field), Some((reading, values))) => Ok((key, field, reading, values)),
            _ => Err(mistakes),
        }
    }

    /// What is asked for so that `returns` can be answered.
    fn reading(&self, returns: &Returns) -> Result<Reading, String> {
        let data_type = match returns {
            Returns::Value(data_type) => data_type,
            Returns::Rows(_) => {
                return Err("returns one value for each row, not TABLE (…); explode makes rows of an ARRAY or a MAP".to_owned());
            }
        };
        match (&self.read, data_type) {
            (Read::Get(_), _) => Ok(Reading::Get),
            (Read::Field { .. }, _) => Ok(Reading::Field),
            (Read::Hash(_), DataType::Struct(fields)) => {
                Ok(Reading::Fields(fields.iter().map(|field| field.name().clone()).collect()))
            }
            (Read::Hash(_), DataType::Map(..)) => Ok(Reading::AllFields),
            (Read::Hash(_), other) => Err(format!(
                "returns columns, which are fields of the hash, or a MAP; for a single {} name its field too",
                sql_name(other)
            )),
            (Read::Members(_), DataType::List(_)) => Ok(Reading::Members),
            (Read::Members(_), other) => Err(format!("returns an ARRAY, not {}", sql_name(other))),
        }
    }
}

/// The function of a declaration. Nothing is connected to before it is called; files of certificates are read.
///
/// # Errors
/// [`crate::ErrorKind::Config`] if a setting is wrong, or such a file.
pub(crate) fn function(
    signature: Signature,
    settings: &RedisSettings,
    calls: CallSettings,
    stores: &Stores,
    time_zone: Arc<str>,
    process: Arc<Budget>,
) -> Result<Function> {
    let (key, field, reading, values) =
        settings.parts(&signature, time_zone).map_err(|mistakes| Mistake::error(&signature.name, &mistakes))?;
    let kind = RedisFunction { store: stores.store(&settings.connection)?, key, field, reading, values };
    Function::new(signature, Arc::new(kind), calls, process)
}

/// A function that reads from Redis.
#[derive(Debug)]
struct RedisFunction {
    store: Arc<Store>,
    key: Keys,
    field: Option<Keys>,
    reading: Reading,
    values: Values,
}

#[async_trait]
impl AsyncFunction for RedisFunction {
    async fn call(&self, chunk: Chunk) -> Result<Reply, CallError> {
        let rows = chunk.args.num_rows();
        let keys = self.key.fill(&chunk.args)?;
        let fields = match &self.field {
            Some(field) => field.fill(&chunk.args)?,
            None => Vec::new(),
        };
        let found = self.reading.read(&self.store, &keys, &fields).await?;
        debug_assert_eq!(found.len(), rows, "an answer for each row");
        let (values, failed) = self.values.decode(found)?;
        let named = |(row, error): (usize, CallError)| {
            let key = String::from_utf8_lossy(keys[row].as_deref().unwrap_or_default());
            (row, CallError { message: format!("key {key:?}: {}", error.message), ..error })
        };
        Ok(Reply { answer: Answer::Values(values), failed: failed.into_iter().map(named).collect() })
    }
}
