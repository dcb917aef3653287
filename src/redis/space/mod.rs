//! A space: objects with declared attributes under keys of Redis, for programs that issue many operations and wait for them later.
//!
//! What is wrong with an operation is said when it is issued; what comes back is a future for a
//! [`CallWindow`](crate::function::CallWindow). Each operation is done as a whole by one command, or one script, of the server. An object
//! is a hash with its texts and numbers under `space:key`; each of its sets lies under a key of its own, `space.attribute:key`.

mod attribute;
mod command;
mod replication;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, Pipeline, Value};

use super::connection::RedisConnection;
use super::{Durability, Store, refusal, to_error};
use crate::error::{Error, Result};
use crate::function::{CallError, CallErrorKind};
use crate::pipeline::Address;

use attribute::Declared;
pub use attribute::{Attribute, AttributeKind, Refused};
use replication::Replication;

/// When something is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// If there is no object under the key.
    Absent,
    /// If there is one, and these attributes of it, texts and numbers, have these values.
    Equal(&'a [(&'a str, Attribute)]),
}

/// Settings of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceSettings {
    /// The server.
    pub connection: RedisConnection,
    /// The space's name: letters, digits, `_` and `-`.
    pub name: String,
    /// What its objects have, by names of the same kind.
    pub attributes: Vec<(String, AttributeKind)>,
    /// What an acknowledgement must be worth: by default, on disk.
    pub durability: Durability,
    /// How long an operation may take (10 s).
    pub timeout: Duration,
}

impl SpaceSettings {
    /// A space in database 0 of a server.
    pub fn new(address: Address, name: &str, attributes: &[(&str, AttributeKind)]) -> Self {
        Self {
            connection: RedisConnection::new(address),
            name: name.to_owned(),
            attributes: attributes.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
            durability: Durability::default(),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Objects under keys; clones are the same space, over the same connection.
///
/// Operations that were issued take effect in no particular order: who needs B after A waits for A before issuing B. One that succeeded is
/// as durable as the space was asked to be. One that failed as the server went away was done or not, and is not done again by itself.
///
/// ```no_run
/// use tidemill::function::CallWindow;
/// use tidemill::redis::{AttributeKind, Space, SpaceSettings};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let attributes = [("first", AttributeKind::Text), ("friends", AttributeKind::Set)];
/// let friends = Space::open(&SpaceSettings::new("localhost:6379".parse()?, "friendlists", &attributes)).await?;
/// let window = CallWindow::new(1024);
/// for (key, first) in [("jsmith1", "John"), ("jd", "John"), ("bjones1", "Brian")] {
///     window.issue(friends.put(key, &[("first", first.into())])?).await;
/// }
/// while let Ok(put) = window.next_completed().await {
///     assert!(put.result??);
/// }
/// assert!(friends.set_add("jd", "friends", "bjones1")?.await?);
/// println!("{:?}", friends.get("jd").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Space {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    declared: Declared,
    store: Arc<Store>,
    replication: Replication,
    timeout: Duration,
}

impl Space {
    /// Connects to the server. Must be called within a runtime, which the connection is then tied to.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if a name is wrong or there twice, the server does not let us in or is not as durable as
    /// asked for; [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if it does not answer.
    pub async fn open(settings: &SpaceSettings) -> Result<Self> {
        let declared = Declared::new(&settings.name, &settings.attributes).map_err(Error::config)?;
        let store = Arc::new(Store::new(&settings.connection, Some(settings.durability))?);
        let replication = Replication::new(settings.durability, settings.timeout);
        let inner = Arc::new(Inner { declared, store, replication, timeout: settings.timeout });
        inner.ask(&::redis::cmd("PING")).await.map_err(to_error)?;
        Ok(Self { inner })
    }

    /// Puts attributes of an object, which is made if it is not there; its others stay. The future's value is `true`.
    ///
    /// # Errors
    /// An attribute that the space has not, or with another kind of value.
    pub fn put(
        &self,
        key: &str,
        attributes: &[(&str, Attribute)],
    ) -> Result<impl Future<Output = Result<bool, CallError>> + Send + use<>, Refused> {
        let command = command::put(&self.inner.declared, key, attributes)?;
        Ok(self.write(command))
    }

    /// The object under a key: all declared attributes, those that were never put being empty or 0. `None` if there is none.
    pub fn get(&self, key: &str) -> impl Future<Output = Result<Option<BTreeMap<String, Attribute>>, CallError>> + Send + use<> {
        let inner = self.inner.clone();
        let commands = command::get(&inner.declared, key);
        async move {
            let answers = inner.ask_all(&commands).await?;
            command::read(&inner.declared, answers.into_iter().next_back(), inner.store.shown())
        }
    }

    /// Adds a member to a set of an object, which is made if it is not there. The future's value is `true`.
    ///
    /// # Errors
    /// An attribute that the space has not, or that is no set.
    pub fn set_add(
        &self,
        key: &str,
        attribute: &str,
        member: &str,
    ) -> Result<impl Future<Output = Result<bool, CallError>> + Send + use<>, Refused> {
        let command = command::set_add(&self.inner.declared, key, attribute, member)?;
        Ok(self.write(command))
    }

    /// Adds to a number of an object, which is made if it is not there, with 0. The future's value is `true`; it fails if the sum is
    /// out of range.
    ///
    /// # Errors
    /// An attribute that the space has not, or that is no number.
    pub fn atomic_add(
        &self,
        key: &str,
        attribute: &str,
        amount: i64,
    ) -> Result<impl Future<Output = Result<bool, CallError>> + Send + use<>, Refused> {
        let command = command::atomic_add(&self.inner.declared, key, attribute, amount)?;
        let write = self.write(command);
        Ok(async move { write.await.map(|_| true) })
    }

    /// Puts attributes of an object if a condition holds; the future's value is whether it did.
    ///
    /// # Errors
    /// As [`Self::put`]; also a condition on a set.
    pub fn cond_put(
        &self,
        key: &str,
        condition: Condition<'_>,
        attributes: &[(&str, Attribute)],
    ) -> Result<impl Future<Output = Result<bool, CallError>> + Send + use<>, Refused> {
        let command = command::cond_put(&self.inner.declared, key, condition, attributes)?;
        Ok(self.write_if(command))
    }

    /// Deletes an object; the future's value is whether it was there.
    pub fn delete(&self, key: &str) -> impl Future<Output = Result<bool, CallError>> + Send + use<> {
        self.write_if(command::delete(&self.inner.declared, key))
    }

    fn write(&self, command: Cmd) -> impl Future<Output = Result<bool, CallError>> + Send + use<> {
        let inner = self.inner.clone();
        async move { inner.write(&command).await.map(|_| true) }
    }

    /// A write whose answer counts what it did.
    fn write_if(&self, command: Cmd) -> impl Future<Output = Result<bool, CallError>> + Send + use<> {
        let inner = self.inner.clone();
        async move { inner.write(&command).await.map(|answer| matches!(answer, Value::Int(count) if count > 0)) }
    }
}

impl Inner {
    async fn ask(&self, command: &Cmd) -> Result<Value, CallError> {
        self.in_time(self.store.ask(command)).await.map(|(_, answer)| answer)
    }

    async fn write(&self, command: &Cmd) -> Result<Value, CallError> {
        let (connection, answer) = self.in_time(self.store.ask(command)).await?;
        self.replication.acknowledged(&self.store, connection).await?;
        Ok(answer)
    }

    async fn ask_all(&self, commands: &Pipeline) -> Result<Vec<Value>, CallError> {
        let answers = self.in_time(self.store.ask_all(commands)).await?;
        match answers.iter().find_map(|answer| if let Value::ServerError(error) = answer { Some(error) } else { None }) {
            Some(error) => Err(refusal(error, self.store.shown())),
            None => Ok(answers),
        }
    }

    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        let limit = self.timeout;
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
            let message = format!("Redis at {} did not answer within {limit:?}", self.store.shown());
            Err(CallError::new(CallErrorKind::Timeout, message))
        })
    }
}
