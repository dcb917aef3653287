//! A commit, as calls to librdkafka one after the other. They block, and some do not keep their time limit: they are made on a thread
//! that is left to itself when it takes too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidemill_librdkafka::Code;
use tokio::sync::oneshot;

use super::mark::Mark;
use super::progress;
use super::settings::RETRY_PAUSE_MIN;
use super::staged::Staged;
use crate::error::{Error, ErrorKind, Result};
use tidemill_librdkafka::{At, Failure, Producer, Record};

/// Threads that may hang in librdkafka before no more are begun.
const HANGING_MAX: usize = 8;
/// Longest single wait for delivery reports: how soon a time limit is noticed.
const POLL: Duration = Duration::from_millis(100);

/// The threads of a sink.
#[derive(Debug, Clone, Default)]
pub(super) struct Threads(Arc<AtomicUsize>);

impl Threads {
    /// Does `work` on a thread of its own; gives up waiting for it after `limit`. What it would have answered is then dropped there.
    pub(super) async fn run<T, F>(&self, limit: Duration, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if self.0.load(Ordering::Relaxed) >= HANGING_MAX {
            let message = "the Kafka client hangs: earlier calls have not come back";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let (tell, told) = oneshot::channel();
        let running = self.0.clone();
        running.fetch_add(1, Ordering::Relaxed);
        let spawned = std::thread::Builder::new().name("kafka-sink".to_owned()).spawn(move || {
            let answer = work();
            running.fetch_sub(1, Ordering::Relaxed);
            drop(tell.send(answer));
        });
        if let Err(cause) = spawned {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::Unavailable, "could not begin a thread").because(cause));
        }
        match tokio::time::timeout(limit, told).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Error::internal("a thread of the Kafka sink ended unexpectedly")),
            Err(_) => {
                let after = humantime::format_duration(limit);
                let message = format!("the Kafka client did not come back within {after}");
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }
}

/// Why a commit did not end well. Whether it is in, the mark tells.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A step of the transaction.
    Step { attempt: &'static str, failure: Failure },
    /// A message was not taken: its place in the batch, where it should have gone, and its bytes.
    Message { number: usize, topic: String, bytes: usize, failure: Failure },
    /// Another producer has our transactional id.
    Fenced(Failure),
    /// The staged bytes.
    Staged(Error),
}

/// What a transaction is made with.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    pub(super) group: String,
    pub(super) marker_topic: String,
    /// Where the mark is sent to, too.
    pub(super) progress_topic: Option<String>,
    pub(super) mark: Mark,
    /// After which the cluster aborts it.
    pub(super) timeout: Duration,
    pub(super) request_timeout: Duration,
}

/// Messages on their way: those of the batch, and what comes behind them.
struct Load<'a> {
    staged: &'a Staged,
    /// Those of the batch, and more.
    topics: Vec<&'a str>,
    last: Option<Record<'a>>,
}

impl<'a> Load<'a> {
    fn of(staged: &'a Staged) -> Self {
        Self { staged, topics: staged.topics.iter().map(String::as_str).collect(), last: None }
    }

    /// With a message of our own, to the partition of marks.
    fn and(mut self, topic: &'a str, key: &'a str, value: &'a str) -> Self {
        let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        self.last = Some(Record { topic: self.topics.len(), partition: progress::PARTITION, key, value, ..Record::default() });
        self.topics.push(topic);
        self
    }

    fn records(&self) -> impl Iterator<Item = Result<Record<'_>>> {
        self.staged.records().chain(self.last.clone().map(Ok))
    }

    fn messages(&self) -> usize {
        self.staged.messages + usize::from(self.last.is_some())
    }

    /// What became of a message.
    fn trouble(&self, number: usize, failure: Failure) -> Trouble {
        let record = self.records().nth(number).and_then(Result::ok).unwrap_or_default();
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let topic = self.topics.get(record.topic).copied().unwrap_or_default().to_owned();
        Trouble::Message { number, topic, bytes, failure }
    }
}

/// Sends the messages and waits until each is delivered.
pub(super) fn send(producer: &Producer, staged: &Staged, limit: Duration) -> Result<(), Trouble> {
    deliver(producer, &Load::of(staged), limit)
}

fn deliver(producer: &Producer, load: &Load<'_>, limit: Duration) -> Result<(), Trouble> {
    let deadline = Instant::now() + limit;
    let topics = producer.topics(&load.topics).map_err(|failure| Trouble::Step { attempt: "open the topics", failure })?;
    let mut reports = Reports::default();
    for (number, record) in load.records().enumerate() {
        let record = record.map_err(Trouble::Staged)?;
        while let Err(failure) = topics.send(number, &record) {
            if failure.code != Code::RD_KAFKA_RESP_ERR__QUEUE_FULL {
                return Err(load.trouble(number, failure));
            }
            reports.wait(producer, deadline)?;
            reports.check(load)?;
        }
    }
    while reports.delivered < load.messages() {
        reports.check(load)?;
        reports.wait(producer, deadline)?;
    }
    reports.check(load)
}

/// The delivery reports of a commit.
#[derive(Debug, Default)]
struct Reports {
    delivered: usize,
    failed: Option<(usize, Failure)>,
    /// What a connection met last.
    heard: Option<Failure>,
}

impl Reports {
    fn wait(&mut self, producer: &Producer, deadline: Instant) -> Result<(), Trouble> {
        let (delivered, failed) = (&mut self.delivered, &mut self.failed);
        let heard = producer.delivered(POLL, &mut |number, failure| match failure {
            None => *delivered += 1,
            Some(failure) => {
                failed.get_or_insert((number, failure));
            }
        });
        self.heard = heard.or(self.heard.take());
        if Instant::now() < deadline {
            return Ok(());
        }
        // What a connection met says more than that reports did not come.
        let failure = self.heard.take().unwrap_or_else(|| Failure::of(Code::RD_KAFKA_RESP_ERR__TIMED_OUT));
        Err(Trouble::Step { attempt: "deliver the messages in time", failure })
    }

    fn check(&mut self, load: &Load<'_>) -> Result<(), Trouble> {
        match self.failed.take() {
            Some((number, failure)) => Err(load.trouble(number, failure)),
            None => Ok(()),
        }
    }
}

/// Sends the messages and their mark in one transaction. The answer is whether each request was sent to the cluster once only: if not,
/// the other may still be on its way, and would end the producer's next transaction in its midst. The producer must not have one then.
pub(super) fn transact(producer: &Producer, staged: &Staged, transaction: &Transaction) -> Result<bool, Trouble> {
    let began = Instant::now();
    let trouble = match in_transaction(producer, staged, transaction) {
        Ok(is_clear) => return Ok(is_clear),
        Err(trouble) => trouble,
    };
    let Some(failure) = fenced(producer, &trouble) else {
        // Readers need not wait for the transaction to time out. Who did not hear of the abort asks the mark all the same.
        if producer.fatal().is_none() {
            let _ = producer.abort(transaction.request_timeout);
        }
        return Err(trouble);
    };
    if began.elapsed() < transaction.timeout {
        return Err(Trouble::Fenced(failure));
    }
    // The cluster takes the id from a producer whose transaction was open too long.
    Err(Trouble::Step { attempt: "commit before the transaction timed out", failure })
}

fn in_transaction(producer: &Producer, staged: &Staged, transaction: &Transaction) -> Result<bool, Trouble> {
    let step = |attempt: &'static str| move |failure: Failure| Trouble::Step { attempt, failure };
    let Transaction { group, marker_topic, progress_topic, mark, timeout, request_timeout } = transaction;
    let text = mark.text();
    let load = match progress_topic {
        Some(topic) => Load::of(staged).and(topic, group, &text),
        None => Load::of(staged),
    };
    producer.begin().map_err(step("begin a transaction"))?;
    deliver(producer, &load, *timeout)?;
    let at = At { topic: marker_topic.as_str().into(), partition: 0, offset: mark.offset() };
    let asked = Instant::now();
    producer.send_offset(group, &at, &text, *request_timeout).map_err(step("write the mark"))?;
    let marked = Instant::now();
    producer.commit(*request_timeout).map_err(step("commit the transaction"))?;
    Ok(marked - asked < RETRY_PAUSE_MIN && marked.elapsed() < RETRY_PAUSE_MIN)
}

fn fenced(producer: &Producer, trouble: &Trouble) -> Option<Failure> {
    let met = match trouble {
        Trouble::Step { failure, .. } | Trouble::Message { failure, .. } => Some(failure.clone()),
        Trouble::Fenced(_) | Trouble::Staged(_) => None,
    };
    met.into_iter().chain(producer.fatal()).find(is_fenced)
}

/// Whether it says that another producer has the transactional id.
pub(super) fn is_fenced(failure: &Failure) -> bool {
    matches!(
        failure.code,
        Code::RD_KAFKA_RESP_ERR__FENCED
            | Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED
            | Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
    )
}
