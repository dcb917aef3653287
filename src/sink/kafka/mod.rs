//! Messages to Kafka topics, exactly once: a transaction for each batch, with the batch's mark inside.
//!
//! The mark is an offset of the sink's own group, with the commit's number and the checkpoint's id beside it, so that after any crash or
//! unclear answer the cluster itself tells whether a commit is in. Whoever opens the sink takes its transactional id over first, which
//! ends what another process had begun; after any failure the producer is thrown away and a new one asks again.

mod columns;
mod mark;
mod sending;
mod settings;
mod staged;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use tidemill_librdkafka::Code;

use super::{CommitId, Contains, Guarantee, Sink};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::is_hopeless;
use columns::Columns;
use mark::Mark;
use sending::{Threads, Transaction, Trouble, is_fenced};
use staged::{Packer, Staged};
use tidemill_librdkafka::{Client, Failure, Producer};

pub use settings::{KafkaSinkSettings, KafkaValue};

/// How much longer than its own limits a call may take before it counts as hanging.
const GRACE: Duration = Duration::from_secs(5);

/// The sink that sends to Kafka.
#[derive(Debug)]
pub struct KafkaSink {
    settings: KafkaSinkSettings,
    /// Transactional id, and the group of the mark.
    id: String,
    time_zone: String,
    columns: Option<Columns>,
    reader: Option<Arc<Client>>,
    /// None before the first commit, and after one that failed.
    producer: Option<Producer>,
    threads: Threads,
}

impl KafkaSink {
    /// A sink; `id` names it if the settings do not. Timestamps in JSON are written in `time_zone`.
    pub fn new(settings: KafkaSinkSettings, id: &str, time_zone: &str) -> Self {
        let id = settings.transactional_id.clone().unwrap_or_else(|| id.to_owned());
        let (columns, reader, producer) = (None, None, None);
        Self { settings, id, time_zone: time_zone.to_owned(), columns, reader, producer, threads: Threads::default() }
    }

    /// Refuses columns that are no messages; touches nothing.
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        Columns::new(schema, &self.settings, &self.time_zone).map(drop)
    }

    fn is_exactly_once(&self) -> bool {
        self.settings.guarantee == Guarantee::ExactlyOnce
    }

    /// The topics that are named must be there.
    async fn check_topics(&self, client: Arc<Client>) -> Result<()> {
        let (settings, timeout) = (&self.settings, self.settings.request_timeout);
        let mark = settings.marker_topic().filter(|_| self.is_exactly_once());
        let mut names: Vec<String> = settings.topic.as_deref().into_iter().chain(mark).map(str::to_owned).collect();
        names.dedup();
        let asked = names.clone();
        let found = self.threads.run(timeout + GRACE, move || client.describe(&asked, timeout, &is_hopeless)).await?;
        let found = found.map_err(|failure| self.not_reached(failure))?;
        match names.iter().find(|name| !found.iter().any(|topic| topic.name == **name)) {
            Some(name) => {
                let message = format!("the Kafka cluster has no topic {name:?}, or does not let us see it");
                Err(Error::spark(ErrorKind::Config, "UNKNOWN_TOPIC_OR_PARTITION", message))
            }
            None => Ok(()),
        }
    }

    fn not_reached(&self, failure: Failure) -> Error {
        let servers = self.settings.connection.bootstrap_servers.shown();
        let refused = is_hopeless(&failure)
            || matches!(
                failure.code,
                Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
                    | Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
                    | Code::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT
            );
        if refused {
            let message = format!("the Kafka cluster at {servers} refuses the sink");
            return Error::config(message).because(failure);
        }
        Error::new(ErrorKind::Unavailable, format!("the Kafka cluster at {servers} did not answer")).because(failure)
    }

    /// A producer that nobody has used before, which has the transactional id for itself.
    async fn new_producer(&self) -> Result<Producer> {
        let properties = self.settings.producer_properties(&self.id)?;
        let (timeout, takes_over) = (self.settings.request_timeout, self.is_exactly_once());
        let made = self.threads.run(timeout + GRACE, move || {
            let producer = Producer::new(&properties).map_err(Error::config)?;
            let taken = if takes_over { producer.init_transactions(timeout) } else { Ok(()) };
            Ok::<_, Error>((producer, taken))
        });
        let (producer, taken) = made.await??;
        match taken {
            Ok(()) => Ok(producer),
            Err(failure) if is_fenced(&failure) => Err(self.fenced(failure).await),
            Err(failure) => Err(self.not_reached(failure)),
        }
    }

    /// What the group holds: an offset, and the text beside it.
    async fn read_mark(&self, timeout: Duration) -> Result<(i64, String)> {
        let client = self.reader.clone().ok_or_else(not_open)?;
        let topic = self.settings.marker_topic().ok_or_else(not_open)?.to_owned();
        let read = self.threads.run(timeout + GRACE, move || client.committed(&topic, timeout)).await?;
        read.map_err(|failure| self.not_reached(failure))
    }

    /// Names who has our transactional id, as far as the mark tells.
    async fn fenced(&self, failure: Failure) -> Error {
        let mark = self.read_mark(GRACE).await.ok().and_then(|(offset, text)| Mark::read(offset, &text));
        let who = match mark {
            Some(mark) => {
                let Mark { query_id, number, owner, .. } = mark;
                format!("the last commit there is {number}, by {owner}, of checkpoint {query_id}")
            }
            None => "nothing was committed there yet".to_owned(),
        };
        let message = format!("another producer has taken over the transactional id {:?}: {who}", self.id);
        Error::spark(ErrorKind::Fenced, "PRODUCER_FENCED", message).because(failure)
    }

    async fn explain(&self, id: &CommitId, trouble: Trouble) -> Error {
        match trouble {
            Trouble::Staged(error) => error,
            Trouble::Fenced(failure) => self.fenced(failure).await,
            Trouble::Step { attempt, failure } => {
                let kind = if is_hopeless(&failure) { ErrorKind::Config } else { ErrorKind::Unavailable };
                Error::new(kind, format!("could not {attempt} (batch {})", id.batch_id)).because(failure)
            }
            Trouble::Message { number, topic, bytes, failure } => {
                let kind = if is_for_good(&failure) { ErrorKind::Data } else { ErrorKind::Unavailable };
                let which = format!("message {number} of batch {} ({bytes} bytes)", id.batch_id);
                Error::new(kind, format!("topic {topic:?} does not take {which}")).because(failure)
            }
        }
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn guarantee(&self) -> Guarantee {
        self.settings.guarantee
    }

    async fn open(&mut self, schema: &SchemaRef) -> Result<()> {
        self.columns = Some(Columns::new(schema, &self.settings, &self.time_zone)?);
        let properties = self.settings.reader_properties(&self.id)?;
        let client = Arc::new(Client::consumer(&properties).map_err(Error::config)?);
        self.check_topics(client.clone()).await?;
        self.reader = Some(client);
        Ok(())
    }

    fn stage(&mut self, rows: &[RecordBatch]) -> Result<Bytes> {
        let columns = self.columns.as_ref().ok_or_else(not_open)?;
        let mut packer = Packer::default();
        for rows in rows {
            columns.pack(rows, &mut packer)?;
        }
        Ok(packer.finish())
    }

    async fn contains(&mut self, id: &CommitId) -> Result<Contains> {
        if !self.is_exactly_once() {
            return Ok(Contains::No);
        }
        // First the id, then the mark: nobody else can change it any more.
        if self.producer.is_none() {
            self.producer = Some(self.new_producer().await?);
        }
        let (offset, text) = self.read_mark(self.settings.request_timeout).await?;
        Ok(mark::contains(id, offset, &text))
    }

    async fn commit(&mut self, id: &CommitId, staged: &Bytes) -> Result<()> {
        let staged = Staged::open(staged)?;
        if self.producer.is_none() {
            // A new producer may have ended a transaction, or waited for one that was being committed.
            match self.contains(id).await? {
                Contains::Yes => return Ok(()),
                Contains::No => {}
                Contains::Ahead | Contains::MarkerLost => {
                    let message = format!("the group {:?} does not hold the mark before commit {}", self.id, id.number);
                    return Err(Error::spark(ErrorKind::Corrupt, "MARKER_LOST", message));
                }
            }
        }
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.new_producer().await?,
        };
        let settings = &self.settings;
        let limit = settings.transaction_timeout + settings.request_timeout * 3 + GRACE;
        let marker_topic = settings.marker_topic().filter(|_| self.is_exactly_once());
        let transaction = marker_topic.map(|marker_topic| Transaction {
            group: self.id.clone(),
            marker_topic: marker_topic.to_owned(),
            mark: Mark::of(id, staged.messages),
            timeout: settings.transaction_timeout,
            request_timeout: settings.request_timeout,
        });
        let send_limit = settings.request_timeout + GRACE;
        let sent = self.threads.run(limit, move || {
            let done = match &transaction {
                Some(transaction) => sending::transact(&producer, &staged, transaction),
                None => sending::send(&producer, &staged, send_limit),
            };
            // After a failure the producer is of no use, and goes with this thread.
            done.map(|()| producer)
        });
        match sent.await? {
            Ok(producer) => {
                self.producer = Some(producer);
                Ok(())
            }
            Err(trouble) => Err(self.explain(id, trouble).await),
        }
    }
}

fn not_open() -> Error {
    Error::internal("a Kafka sink was used before it was opened")
}

/// Whether the cluster will never take this message.
fn is_for_good(failure: &Failure) -> bool {
    matches!(
        failure.code,
        Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
            | Code::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE
            | Code::RD_KAFKA_RESP_ERR_INVALID_RECORD
            | Code::RD_KAFKA_RESP_ERR_POLICY_VIOLATION
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
            | Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION
            | Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
    )
}
