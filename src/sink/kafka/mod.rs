//! Messages to Kafka topics, exactly once: a transaction for each batch, with the batch's mark inside.
//!
//! The mark is an offset of the sink's own group, with the commit's number and the checkpoint's id beside it, so that after any crash or
//! unclear answer the cluster itself tells whether a commit is in. Whoever opens the sink takes its transactional id over first, which
//! ends what another process had begun; after any failure the producer is thrown away and a new one asks again. The same goes for a
//! producer whose request may have been sent twice: the cluster knows a late one by its epoch, which only a new producer changes.

mod claim;
mod columns;
mod progress;
mod sending;
mod settings;
mod staged;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use tidemill_librdkafka::Code;

use super::mark::{self, Mark};
use super::{CommitId, Contains, Guarantee, Sink};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::is_hopeless;
use claim::Claim;
use columns::Columns;
use sending::{Threads, Transaction, Trouble, is_fenced};
use staged::{Packer, Staged};
use tidemill_librdkafka::{Client, Failure, Producer};

use settings::RETRY_PAUSE_MIN;

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
    /// None before the first commit, and after one that failed or was not clear.
    producer: Option<Producer>,
    /// A request of ours for the id may still be on its way: it would take the id from the producer that has it now.
    late_request: bool,
    /// Topics that are there.
    known: BTreeSet<String>,
    claim: Option<Claim>,
    threads: Threads,
}

impl KafkaSink {
    /// A sink; `id` names it if the settings do not. Timestamps in JSON are written in `time_zone`.
    pub fn new(settings: KafkaSinkSettings, id: &str, time_zone: &str) -> Self {
        let id = settings.transactional_id.clone().unwrap_or_else(|| id.to_owned());
        Self {
            settings,
            id,
            time_zone: time_zone.to_owned(),
            columns: None,
            reader: None,
            producer: None,
            late_request: false,
            known: BTreeSet::new(),
            claim: None,
            threads: Threads::default(),
        }
    }

    /// Refuses columns that are no messages; touches nothing.
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        Columns::new(schema, &self.settings, &self.time_zone).map(drop)
    }

    fn is_exactly_once(&self) -> bool {
        self.settings.guarantee == Guarantee::ExactlyOnce
    }

    /// Those topics must be there: librdkafka would wait for one that is not, and then say that time is over.
    async fn check_topics(&mut self, names: &[String]) -> Result<()> {
        let asked: Vec<String> = names.iter().filter(|name| !self.known.contains(*name)).cloned().collect();
        if asked.is_empty() {
            return Ok(());
        }
        let (client, timeout) = (self.reader.clone().ok_or_else(not_open)?, self.settings.request_timeout);
        let names = asked.clone();
        let found = self.threads.run(timeout + GRACE, move || client.describe(&names, timeout, &is_hopeless)).await?;
        let found = found.map_err(|failure| self.not_reached(failure))?;
        self.known.extend(found.into_iter().map(|topic| topic.name));
        match asked.iter().find(|name| !self.known.contains(*name)) {
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
    async fn new_producer(&mut self) -> Result<Producer> {
        let properties = self.settings.producer_properties(&self.id)?;
        let (timeout, takes_over) = (self.settings.request_timeout, self.is_exactly_once());
        // Until it is answered.
        let late_before = std::mem::replace(&mut self.late_request, takes_over);
        let made = self.threads.run(timeout + GRACE, move || {
            let producer = Producer::new(&properties).map_err(Error::config)?;
            let asked = Instant::now();
            let taken = if takes_over { producer.init_transactions(timeout) } else { Ok(()) };
            // One that has failed goes with this thread: that may take a while.
            Ok::<_, Error>((taken.map(|()| producer), asked.elapsed() < RETRY_PAUSE_MIN))
        });
        let (taken, is_clear) = made.await??;
        match taken {
            Ok(producer) => {
                self.late_request = late_before || (takes_over && !is_clear);
                Ok(producer)
            }
            Err(failure) if is_fenced(&failure) => {
                self.late_request = late_before;
                Err(self.fenced(failure).await)
            }
            Err(failure) => Err(self.not_reached(failure)),
        }
    }

    /// The mark that the group holds.
    async fn group_mark(&self, timeout: Duration) -> Result<Option<Mark>> {
        let client = self.reader.clone().ok_or_else(not_open)?;
        let topic = self.settings.marker_topic().ok_or_else(not_open)?.to_owned();
        let read = self.threads.run(timeout + GRACE, move || client.committed(&topic, timeout)).await?;
        let (offset, text) = read.map_err(|failure| self.not_reached(failure))?;
        let mark = Mark::read(&text).filter(|mark| mark.offset() == offset);
        if mark.is_none() && offset >= 0 {
            let message = format!(
                "the consumer group {:?} holds an offset that is no mark of a sink: consumers read as this group; set another \
                 transactional_id",
                self.id
            );
            return Err(Error::config(message));
        }
        Ok(mark)
    }

    /// The mark that the progress topic holds, if there is one.
    async fn progress_mark(&self) -> Result<Option<Mark>> {
        let Some(topic) = self.settings.progress_topic.clone() else { return Ok(None) };
        let properties = self.settings.reader_properties(&self.id)?;
        let key = self.id.clone();
        // What other sinks have begun there ends within their transaction's timeout, which will be like ours.
        let timeout = self.settings.transaction_timeout;
        let read = self.threads.run(timeout + GRACE, move || {
            let client = Client::consumer(&properties).map_err(Error::config)?;
            Ok::<_, Error>(progress::last(client, &topic, &key, timeout))
        });
        let text = read.await??.map_err(|failure| self.not_reached(failure))?;
        Ok(text.as_deref().and_then(Mark::read))
    }

    /// Names who has our transactional id, as far as the mark tells. Where only we have committed, a late request of our own may have been
    /// what the cluster saw: the id is taken over once more then.
    async fn fenced(&mut self, failure: Failure) -> Error {
        let mark = self.group_mark(GRACE).await.ok().flatten();
        if std::mem::take(&mut self.late_request) && mark.as_ref().is_none_or(Mark::is_ours) {
            let message = format!("a late request of our own has taken the transactional id {:?} from its successor", self.id);
            return Error::new(ErrorKind::Unavailable, message).because(failure);
        }
        let who = match mark {
            Some(Mark { query_id, number, owner, .. }) => {
                format!("the last commit there is {number}, by {owner}, of checkpoint {query_id}")
            }
            None => "nothing was committed there yet".to_owned(),
        };
        let message = format!("another producer has taken over the transactional id {:?}: {who}", self.id);
        Error::spark(ErrorKind::Fenced, "PRODUCER_FENCED", message).because(failure)
    }

    async fn explain(&mut self, id: &CommitId, trouble: Trouble) -> Error {
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
        if self.is_exactly_once() {
            self.claim = None;
            self.claim = Some(Claim::new(self.settings.connection.bootstrap_servers.expose(), &self.id)?);
        }
        let properties = self.settings.reader_properties(&self.id)?;
        self.reader = Some(Arc::new(Client::consumer(&properties).map_err(Error::config)?));
        self.check_topics(&self.settings.topics()).await
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
        let mark = match self.group_mark(self.settings.request_timeout).await? {
            // The group has it whenever the topic has, until it is forgotten.
            Some(mark) if mark.query_id == id.query_id => Some(mark),
            _ => self.progress_mark().await?,
        };
        Ok(mark::contains(id, mark.as_ref()))
    }

    async fn commit(&mut self, id: &CommitId, staged: &Bytes) -> Result<()> {
        let staged = Staged::open(staged)?;
        // A new producer may have ended a transaction, or waited for one that was being committed.
        if self.producer.is_none() && self.contains(id).await?.is_in(id)? {
            return Ok(());
        }
        self.check_topics(&staged.topics).await?;
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
            progress_topic: settings.progress_topic.clone(),
            mark: Mark::of(id, staged.messages),
            timeout: settings.transaction_timeout,
            request_timeout: settings.request_timeout,
        });
        let send_limit = settings.request_timeout + GRACE;
        let sent = self.threads.run(limit, move || {
            let is_clear = match &transaction {
                Some(transaction) => sending::transact(&producer, &staged, transaction)?,
                None => sending::send(&producer, &staged, send_limit).map(|()| true)?,
            };
            // Otherwise, and after a failure, the producer is of no use, and goes with this thread.
            Ok(is_clear.then_some(producer))
        });
        match sent.await? {
            Ok(producer) => {
                // What is late comes soon or never.
                self.late_request = false;
                self.producer = producer;
                // A new one at once: later it could be somebody else's turn. Who came in between is noticed by the mark, with the next
                // commit at the latest, which asks for it if there is no producer.
                if self.producer.is_none() && !matches!(self.contains(id).await, Ok(Contains::Yes)) {
                    self.producer = None;
                }
                Ok(())
            }
            Err(trouble) => {
                self.known.clear();
                Err(self.explain(id, trouble).await)
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};

    #[tokio::test]
    async fn two_sinks_of_a_process_cannot_have_one_id() {
        // Nobody answers there.
        let settings =
            KafkaSinkSettings { request_timeout: Duration::from_millis(100), ..KafkaSinkSettings::new("127.0.0.1:1", "t") };
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]));
        let sink = || KafkaSink::new(settings.clone(), "one id", "UTC");
        let (mut first, mut second) = (sink(), sink());
        assert_eq!(first.open(&schema).await.unwrap_err().kind(), ErrorKind::Unavailable);
        let refused = second.open(&schema).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config, "{refused:?}");
        assert!(refused.message().starts_with("another sink of this process has the transactional id \"one id\""), "{refused:?}");
        drop(first);
        assert_eq!(second.open(&schema).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(second.open(&schema).await.unwrap_err().kind(), ErrorKind::Unavailable, "it has it already");
    }
}
