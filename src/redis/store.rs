//! One connection that everybody shares: made when it is first needed, and anew after it broke.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Client, Cmd, Pipeline, RedisResult, Value};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use super::connection::{RedisConnection, connect};
use super::{Durability, failure, refusal};
use crate::error::Result;
use crate::function::{CallError, CallErrorKind};

type Connecting = Shared<BoxFuture<'static, Result<MultiplexedConnection, CallError>>>;

/// A server, by one connection that everybody shares.
///
/// What was sent when it broke has been done or not: who asked is told that it failed, and nothing is sent twice.
pub(crate) struct Store {
    client: Client,
    connect_timeout: Duration,
    /// The server as messages name it.
    shown: Arc<str>,
    /// What every connection must find there.
    durability: Option<Durability>,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// How many there were.
    number: u64,
    connection: Option<Connecting>,
}

impl Store {
    /// Connects to nothing yet; files of certificates are read.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] for such a file.
    pub(crate) fn new(connection: &RedisConnection, durability: Option<Durability>) -> Result<Self> {
        Ok(Self {
            client: connection.client()?,
            connect_timeout: connection.connect_timeout,
            shown: connection.address.to_string().into(),
            durability,
            current: Mutex::default(),
        })
    }

    /// The server as messages name it.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// What a command is answered, its error being the call's, and the number of the connection.
    pub(crate) async fn ask(&self, command: &Cmd) -> Result<(u64, Value), CallError> {
        let (connection, asking) = self.connection().await?;
        let number = asking.number;
        Ok((number, self.ask_by(connection, asking, command).await?))
    }

    /// The same on one connection, or not at all.
    pub(crate) async fn ask_on(&self, number: u64, command: &Cmd) -> Result<Value, CallError> {
        let (connection, asking) = self.connection().await?;
        if asking.number != number {
            asking.leave();
            let message = format!("the connection to Redis at {} broke before its replicas had what was written", self.shown);
            return Err(CallError::new(CallErrorKind::Unavailable, message));
        }
        self.ask_by(connection, asking, command).await
    }

    async fn ask_by(
        &self,
        mut connection: MultiplexedConnection,
        mut asking: Asking<'_>,
        command: &Cmd,
    ) -> Result<Value, CallError> {
        match asking.answered(connection.send_packed_command(command).await)? {
            Value::ServerError(error) => Err(refusal(&error, &self.shown)),
            answer => Ok(answer),
        }
    }

    /// What each of the commands is answered, errors among them. Nobody else's command comes between them.
    pub(crate) async fn ask_all(&self, commands: &Pipeline) -> Result<Vec<Value>, CallError> {
        let (mut connection, mut asking) = self.connection().await?;
        asking.answered(connection.send_packed_commands(commands, 0, commands.len()).await)
    }

    /// A connection for one user, who may watch keys.
    pub(crate) async fn own_connection(&self) -> Result<MultiplexedConnection, CallError> {
        open(self.client.clone(), self.connect_timeout, self.shown.clone(), self.durability).await
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, Asking<'_>), CallError> {
        let (number, connecting) = {
            let mut current = self.lock();
            if current.connection.is_none() {
                current.number += 1;
                let open = open(self.client.clone(), self.connect_timeout, self.shown.clone(), self.durability);
                current.connection = Some(open.boxed().shared());
            }
            (current.number, current.connection.clone().expect("it was just made"))
        };
        // Who gives up while connecting gives up the connection too, which may never come about.
        let asking = Asking { store: self, number, is_answered: false };
        let connection = connecting.await?;
        Ok((connection, asking))
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("server", &self.shown).finish_non_exhaustive()
    }
}

async fn open(
    client: Client,
    connect_timeout: Duration,
    shown: Arc<str>,
    durability: Option<Durability>,
) -> Result<MultiplexedConnection, CallError> {
    let mut connection = connect(&client, connect_timeout, &shown).await?;
    if let Some(durability) = durability {
        // The server may have been set up anew since.
        durability.check(&mut connection, connect_timeout, &shown).await?;
    }
    Ok(connection)
}

/// A question that waits for its answer. One that never came, as who asked gave up or the connection broke, ends the connection's use: it may
/// hang, and nobody would notice.
struct Asking<'a> {
    store: &'a Store,
    number: u64,
    is_answered: bool,
}

impl Asking<'_> {
    /// Nothing was asked.
    fn leave(mut self) {
        self.is_answered = true;
    }

    fn answered<T>(&mut self, answer: RedisResult<T>) -> Result<T, CallError> {
        self.is_answered = answer.as_ref().map_or_else(|error| !error.is_unrecoverable_error() && !error.is_timeout(), |_| true);
        answer.map_err(|error| failure(&error, &self.store.shown))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let mut current = self.store.lock();
        if current.number == self.number {
            current.connection = None;
        }
    }
}

/// The servers of a pipeline, one connection for each way to reach one.
#[derive(Debug, Default)]
pub(crate) struct Stores(Mutex<Vec<(RedisConnection, Arc<Store>)>>);

impl Stores {
    /// The server that is reached in this way.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub(crate) fn store(&self, connection: &RedisConnection) -> Result<Arc<Store>> {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, store)) = stores.iter().find(|(known, _)| known == connection) {
            return Ok(store.clone());
        }
        let store = Arc::new(Store::new(connection, None)?);
        stores.push((connection.clone(), store.clone()));
        Ok(store)
    }
}
