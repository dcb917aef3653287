//! What an acknowledgement is worth: on disk at the server, and with as many replicas as were asked for.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, Value, cmd};

use super::{failure, refusal};
use crate::function::{CallError, CallErrorKind};

/// What an acknowledgement is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durability {
    /// Whether what is acknowledged must be on the server's disk (`appendonly yes`, `appendfsync always`).
    pub durable: bool,
    /// How many replicas must have it, too (`WAIT`).
    pub replicas: u32,
}

impl Default for Durability {
    /// On disk, without replicas.
    fn default() -> Self {
        Self { durable: true, replicas: 0 }
    }
}

impl Durability {
    /// Refuses a server whose acknowledgements are worth less.
    pub(super) async fn check(
        self,
        connection: &mut MultiplexedConnection,
        limit: Duration,
        shown: &str,
    ) -> Result<(), CallError> {
        if !self.durable {
            return Ok(());
        }
        // One pattern: several names at once are understood by newer servers only.
        let answer = within(limit, shown, connection, cmd("CONFIG").arg("GET").arg("append*")).await;
        let config = |message: String| {
            let instead = "durable: false goes without, and may then lose what was acknowledged when the server fails";
            CallError::new(CallErrorKind::Config, format!("{message}; {instead}"))
        };
        let unknown = |why: &str| config(format!("Redis at {shown} does not tell whether it keeps what it acknowledges: {why}"));
        let pairs = match answer {
            Ok(Value::Array(pairs)) => pairs,
            Ok(_) => return Err(unknown("CONFIG GET was answered with something else")),
            Err(error) if matches!(error.kind, CallErrorKind::Rejected | CallErrorKind::Config) => {
                return Err(unknown(&error.message));
            }
            Err(error) => return Err(error),
        };
        let value = |name: &str| {
            let found = pairs.chunks(2).find(|pair| matches!(pair, [Value::BulkString(key), _] if key == name.as_bytes()));
            match found {
                Some([_, Value::BulkString(value)]) => String::from_utf8_lossy(value).into_owned(),
                _ => String::new(),
            }
        };
        let (kept, synced) = (value("appendonly"), value("appendfsync"));
        if kept == "yes" && synced == "always" {
            return Ok(());
        }
        let found = format!("appendonly is {kept:?} and appendfsync is {synced:?}");
        Err(config(format!("Redis at {shown} may lose what it acknowledges: {found} instead of \"yes\" and \"always\"")))
    }

    /// The command that waits for the replicas, if any are asked for.
    pub(crate) fn wait(self, limit: Duration) -> Option<Cmd> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        (self.replicas > 0).then(|| cmd("WAIT").arg(self.replicas).arg(limit_ms).take())
    }

    /// Whether enough replicas have it, as `WAIT` was answered.
    pub(crate) fn acknowledged(self, answer: &Value, shown: &str) -> Result<(), CallError> {
        let had = match answer {
            Value::Int(had) => *had,
            Value::ServerError(error) => return Err(refusal(error, shown)),
            _ => 0,
        };
        if had >= i64::from(self.replicas) {
            return Ok(());
        }
        let message = format!("of the {} replicas of Redis at {shown} that must have it, {had} said so in time", self.replicas);
        Err(CallError::new(CallErrorKind::Unavailable, message))
    }
}

async fn within(limit: Duration, shown: &str, connection: &mut MultiplexedConnection, command: &Cmd) -> Result<Value, CallError> {
    let answer = tokio::time::timeout(limit, connection.send_packed_command(command)).await;
    match answer {
        Ok(Ok(Value::ServerError(error))) => Err(refusal(&error, shown)),
        Ok(answer) => answer.map_err(|error| failure(&error, shown)),
        Err(_) => Err(CallError::new(CallErrorKind::Timeout, format!("Redis at {shown} did not answer in time"))),
    }
}
