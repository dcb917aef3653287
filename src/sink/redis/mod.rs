//! Operations on keys of Redis, exactly once: each chunk of a batch's operations is one transaction with the batch's mark inside.
//!
//! The mark is a string under a key of the sink's own: which commit, and how many of its operations are in. It is watched from before it is
//! read until the transaction, so that of two who would do the same chunk (a restarted process, and what its predecessor had sent but
//! nobody heard of) the server lets one through. What a crash leaves half done goes on behind the last chunk that is in.

mod chunk;
mod rows;
mod settings;
mod staged;

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Pipeline, Value, cmd};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

use super::mark::{self, Mark};
use super::{CommitId, Contains, Guarantee, Sink};
use crate::error::{Error, ErrorKind, Result};
use crate::function::{CallError, CallErrorKind};
use crate::redis::{Store, failure, refusal, to_error};
use chunk::Chunk;
use rows::Rows;
use staged::{Packer, Position, Staged};

pub use settings::{OPERATIONS_MAX, RedisCondition, RedisOperation, RedisSinkSettings, RedisValue, Template};

/// How often others may change keys of a chunk between a look and the transaction, until the commit is given up for now. Each time the chunk
/// is halved.
const DISTURBED_MAX: usize = 32;

/// The sink that writes to Redis.
#[derive(Debug)]
pub struct RedisSink {
    settings: RedisSinkSettings,
    /// Key of the mark.
    marker: String,
    time_zone: String,
    rows: Option<Rows>,
    store: Option<Store>,
    /// None before the first use, and after a failure.
    connection: Option<MultiplexedConnection>,
}

impl RedisSink {
    /// A sink; `marker` is the key of its mark if the settings name none. Timestamps are written in `time_zone`.
    pub fn new(settings: RedisSinkSettings, marker: &str, time_zone: &str) -> Self {
        let marker = settings.marker.clone().unwrap_or_else(|| marker.to_owned());
        Self { settings, marker, time_zone: time_zone.to_owned(), rows: None, store: None, connection: None }
    }

    /// Refuses columns that no operations can be made of; touches nothing.
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        Rows::new(schema, &self.settings, &self.time_zone).map(drop)
    }

    /// A conversation with the server. If it is not given back, the next one begins with a new connection.
    async fn session(&mut self) -> Result<Session> {
        let store = self.store.as_ref().ok_or_else(not_open)?;
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => store.own_connection().await.map_err(to_error)?,
        };
        Ok(Session { connection, limit: self.settings.request_timeout, shown: store.shown().to_owned() })
    }

    /// Does what is not done yet.
    async fn go_on(&self, session: &mut Session, id: &CommitId, staged: &Staged) -> Result<()> {
        let all = staged.head.operations;
        let (mut at, mut operations_max, mut disturbed) = (Position::default(), self.settings.chunk_size, 0);
        // Whether an acknowledgement of ours says that the replicas have what is in.
        let mut is_replicated = self.settings.durability.replicas == 0;
        loop {
            let chunk = Chunk::take(staged, at, operations_max)?;
            let questions = chunk.questions();
            let mut look = Pipeline::new();
            look.cmd("WATCH").arg(&self.marker).arg(questions.keys());
            look.cmd("GET").arg(&self.marker);
            for command in &questions.commands {
                look.add_command(command.clone());
            }
            let answers = session.all(&look).await?;
            let marked = Marked::of(answers.get(1));
            let done = marked.done(id)?;
            if done == all {
                return if is_replicated { session.unwatch().await } else { self.mark_again(session, &marked).await };
            }
            if done != at.done {
                // What a predecessor did, or a request of ours whose answer never came.
                at = staged.after(done)?;
                continue;
            }
            let mut transaction = Pipeline::new();
            transaction.cmd("MULTI");
            chunk.transaction(&questions, answers.get(2..).unwrap_or_default(), &mut transaction)?;
            let mark = format!("{};{}", chunk.end.done, Mark::of(id, all).text());
            transaction.cmd("SET").arg(&self.marker).arg(mark);
            transaction.cmd("EXEC");
            if session.exec(&transaction).await? {
                self.replicated(session).await?;
                is_replicated = true;
                at = chunk.end;
                if at.done == all {
                    return Ok(());
                }
                continue;
            }
            disturbed += 1;
            operations_max = (operations_max / 2).max(1);
            if disturbed > DISTURBED_MAX {
                let message = format!("other clients of Redis at {} keep changing the keys of a batch", session.shown);
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        }
    }

    /// Waits for the replicas, if any are asked for.
    async fn replicated(&self, session: &mut Session) -> Result<()> {
        let durability = self.settings.durability;
        let Some(wait) = durability.wait(self.settings.request_timeout) else { return Ok(()) };
        let mut pipeline = Pipeline::new();
        pipeline.add_command(wait);
        // The server answers at the limit, with as many as there are by then.
        let answers = session.all_within(&pipeline, session.limit * 2).await?;
        durability.acknowledged(answers.first().unwrap_or(&Value::Nil), &session.shown).map_err(to_error)
    }

    /// Writes the mark, which is watched, once more as it is: replicas tell how far they are behind what this connection wrote, and who has
    /// this has all that came before it.
    async fn mark_again(&self, session: &mut Session, marked: &Marked) -> Result<()> {
        let Marked(Some((done, mark))) = marked else { return session.unwatch().await };
        let mut again = Pipeline::new();
        again.cmd("MULTI");
        again.cmd("SET").arg(&self.marker).arg(format!("{done};{}", mark.text()));
        again.cmd("EXEC");
        if session.exec(&again).await? {
            return self.replicated(session).await;
        }
        let message = format!("another process writes to Redis at {} under the mark {:?}", session.shown, self.marker);
        Err(Error::new(ErrorKind::Unavailable, message))
    }
}

#[async_trait]
impl Sink for RedisSink {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    async fn open(&mut self, schema: &SchemaRef) -> Result<()> {
        self.rows = Some(Rows::new(schema, &self.settings, &self.time_zone)?);
        self.store = Some(Store::new(&self.settings.connection, Some(self.settings.durability))?);
        self.connection = None;
        let session = self.session().await?;
        self.connection = Some(session.connection);
        Ok(())
    }

    fn stage(&mut self, rows: &[RecordBatch]) -> Result<Bytes> {
        let packing = self.rows.as_ref().ok_or_else(not_open)?;
        let ttl_ms = self.settings.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let mut packer = Packer::new(packing.kind, ttl_ms);
        for rows in rows {
            packing.pack(rows, &mut packer)?;
        }
        Ok(if packer.is_empty() { Bytes::new() } else { packer.finish() })
    }

    async fn contains(&mut self, id: &CommitId) -> Result<Contains> {
        let mut session = self.session().await?;
        let mut look = Pipeline::new();
        look.cmd("WATCH").arg(&self.marker);
        look.cmd("GET").arg(&self.marker);
        let answers = session.all(&look).await?;
        let marked = Marked::of(answers.get(1));
        let contains = marked.contains(id);
        if contains == Contains::Yes && self.settings.durability.replicas > 0 {
            self.mark_again(&mut session, &marked).await?;
        } else {
            session.unwatch().await?;
        }
        self.connection = Some(session.connection);
        Ok(contains)
    }

    async fn commit(&mut self, id: &CommitId, staged: &Bytes) -> Result<()> {
        let staged = Staged::open(staged)?;
        let mut session = self.session().await?;
        let done = self.go_on(&mut session, id, &staged).await;
        // After a failure it may have keys that are watched, or answers that nobody waits for.
        done.map_err(|error| {
            let kind = error.kind();
            Error::new(kind, format!("batch {} could not be written to Redis", id.batch_id)).because(error)
        })?;
        self.connection = Some(session.connection);
        Ok(())
    }
}

/// What the key of the mark holds.
#[derive(Debug)]
struct Marked(Option<(usize, Mark)>);

impl Marked {
    fn of(answer: Option<&Value>) -> Self {
        let text = match answer {
            Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        };
        let parts = text.and_then(|text| text.split_once(';'));
        Self(parts.and_then(|(done, mark)| Some((done.parse().ok()?, Mark::read(mark)?))))
    }

    fn contains(&self, id: &CommitId) -> Contains {
        let contains = mark::contains(id, self.0.as_ref().map(|(_, mark)| mark));
        match &self.0 {
            Some((done, mark)) if *done < mark.rows => match contains {
                // In part.
                Contains::Yes => Contains::No,
                // The one before it was never finished, although the log says so.
                Contains::No if mark.query_id == id.query_id && !id.is_accepted => Contains::MarkerLost,
                other => other,
            },
            _ => contains,
        }
    }

    /// How many operations of `id` are in.
    fn done(&self, id: &CommitId) -> Result<usize> {
        let is_in = self.contains(id).is_in(id)?;
        Ok(match &self.0 {
            Some((done, mark)) if is_in || (mark.query_id == id.query_id && mark.number == id.number) => *done,
            _ => 0,
        })
    }
}

/// A connection on which keys may be watched.
#[derive(Debug)]
struct Session {
    connection: MultiplexedConnection,
    limit: Duration,
    shown: String,
}

impl Session {
    /// The answers. Errors are among them only where a key holds another kind of value.
    async fn all(&mut self, commands: &Pipeline) -> Result<Vec<Value>> {
        let limit = self.limit;
        let answers = self.all_within(commands, limit).await?;
        match answers.iter().filter_map(server_error).find(|error| error.code() != "WRONGTYPE") {
            Some(error) => Err(to_error(refusal(error, &self.shown))),
            None => Ok(answers),
        }
    }

    async fn all_within(&mut self, commands: &Pipeline, limit: Duration) -> Result<Vec<Value>> {
        let asked = self.connection.send_packed_commands(commands, 0, commands.len());
        match tokio::time::timeout(limit, asked).await {
            Ok(answers) => answers.map_err(|error| to_error(failure(&error, &self.shown))),
            Err(_) => {
                let message = format!("Redis at {} did not answer within {limit:?}", self.shown);
                Err(to_error(CallError::new(CallErrorKind::Timeout, message)))
            }
        }
    }

    /// Runs a transaction. Whether it was done: not if a watched key has changed.
    async fn exec(&mut self, transaction: &Pipeline) -> Result<bool> {
        let limit = self.limit;
        let answers = self.all_within(transaction, limit).await?;
        let (last, queued) = answers.split_last().ok_or_else(|| Error::internal("a transaction without an answer"))?;
        if let Some(error) = queued.iter().find_map(server_error).or(server_error(last)) {
            // Refused as a whole.
            return Err(to_error(refusal(error, &self.shown)));
        }
        match last {
            Value::Nil => Ok(false),
            Value::Array(results) => match results.iter().find_map(server_error) {
                None => Ok(true),
                Some(error) => {
                    let message = format!("Redis at {} has done a batch in part: {}", self.shown, refusal(error, &self.shown));
                    Err(Error::new(ErrorKind::Corrupt, message))
                }
            },
            _ => Err(Error::internal("EXEC was answered with something else")),
        }
    }

    async fn unwatch(&mut self) -> Result<()> {
        let mut unwatch = Pipeline::new();
        unwatch.add_command(cmd("UNWATCH"));
        self.all(&unwatch).await.map(drop)
    }
}

fn server_error(value: &Value) -> Option<&::redis::ServerError> {
    if let Value::ServerError(error) = value { Some(error) } else { None }
}

fn not_open() -> Error {
    Error::internal("a Redis sink was used before it was opened")
}
