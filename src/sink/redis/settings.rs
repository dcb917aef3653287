//! What a Redis sink is told.

use std::time::Duration;

use crate::pipeline::Address;
use crate::redis::{Durability, RedisConnection};

pub use crate::function::http::Template;

/// Most operations of one transaction, and so outstanding at a time.
pub const OPERATIONS_MAX: usize = 1024;

/// Settings of a Redis sink. Templates have places for columns: `fraud:{userID}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSinkSettings {
    /// The server.
    pub connection: RedisConnection,
    /// What is done with each row.
    pub operation: RedisOperation,
    /// The key that it is done with.
    pub key: Template,
    /// How long a key lives after the last write to it; `None` is for ever.
    pub ttl: Option<Duration>,
    /// What an acknowledgement must be worth: by default, on disk.
    pub durability: Durability,
    /// Operations of one transaction, 1 to [`OPERATIONS_MAX`], which is the default.
    pub chunk_size: usize,
    /// Longest wait for an answer of the server, and for its replicas (10 s).
    pub request_timeout: Duration,
    /// Key of the mark of the last commit. `None`: `tidemill.<pipeline>.<query>.<sink>`.
    pub marker: Option<String>,
}

impl RedisSinkSettings {
    /// The defaults, for database 0 of a server.
    pub fn new(address: Address, operation: RedisOperation, key: Template) -> Self {
        Self {
            connection: RedisConnection::new(address),
            operation,
            key,
            ttl: None,
            durability: Durability::default(),
            chunk_size: OPERATIONS_MAX,
            request_timeout: Duration::from_secs(10),
            marker: None,
        }
    }
}

/// What is done with each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisOperation {
    /// Writes it.
    Put(RedisValue),
    /// Adds a member to a set.
    SetAdd {
        /// The member.
        member: Template,
    },
    /// Adds a number to a field of a hash, or to a string.
    AtomicAdd {
        /// The field; `None` adds to a string.
        field: Option<Template>,
        /// Column with the number.
        amount: String,
    },
    /// Writes it if a condition holds, and does nothing otherwise.
    CondPut(RedisCondition, RedisValue),
    /// Deletes the key.
    Delete,
}

impl RedisOperation {
    /// As in a pipeline file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::SetAdd { .. } => "set_add",
            Self::AtomicAdd { .. } => "atomic_add",
            Self::CondPut(..) => "cond_put",
            Self::Delete => "delete",
        }
    }
}

/// What is written under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisValue {
    /// Columns as fields of a hash, all of them unless some are named; a null deletes its field.
    Fields(Option<Vec<String>>),
    /// A text as a string.
    Text(Template),
    /// The row as a JSON object, as a string.
    Json,
}

/// When something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisCondition {
    /// If the key is not there.
    Absent,
    /// If these fields of the hash have these values; a null in the value asks for a field that is not there.
    Equal(Vec<(String, Template)>),
}
