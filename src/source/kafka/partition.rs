//! One partition that is being fetched, and reading spans of it in order.
//!
//! librdkafka fetches ahead into a queue per partition. A span takes its messages from there, exactly up to its end, into a buffer of
//! records; the next span of the same partition takes its turn as soon as that is done, while the first one is being decoded. The
//! end is known by offsets and never by counting, for control records and compaction leave holes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemill_librdkafka::Code;
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result};
use crate::source::PartitionTimes;
use tidemill_librdkafka::{At, Client, Failure, Flow, Message, PartitionQueue};

/// How long one look into an empty queue waits: what was cancelled ends so fast.
const LOOK: Duration = Duration::from_millis(100);

/// What is shared by the spans of one range.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Nobody waits for the rest.
    pub(super) is_cancelled: AtomicBool,
    /// An offset was not there.
    pub(super) is_out_of_range: AtomicBool,
    pub(super) read: Arc<ReadSoFar>,
}

/// What has been read since the source was opened; tells how large records are.
#[derive(Debug, Default)]
pub(super) struct ReadSoFar {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// Takes in messages.
pub(super) trait Collect {
    /// Adds a record; whether there is room for another.
    fn add(&mut self, message: &Record<'_>) -> Flow;
    /// Hands out what was added, if anything was.
    fn flush(&mut self) -> Result<()>;
}

/// A message with a value or without.
pub(super) enum Record<'a> {
    /// As librdkafka lends it.
    Lent(Message<'a>),
    /// Kept from an earlier look.
    Kept(&'a Carried),
}

/// A message that was taken from the queue before its turn came.
#[derive(Debug, Clone, Default)]
pub(super) struct Carried {
    pub(super) offset: i64,
    pub(super) value: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) timestamp: (i64, i32),
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Carried {
    fn new(message: &Message<'_>) -> Self {
        let mut headers = Vec::new();
        message.headers(|name, value| headers.push((name.to_vec(), value.map(<[u8]>::to_vec))));
        let (value, key) = (message.value().map(<[u8]>::to_vec), message.key().map(<[u8]>::to_vec));
        Self { offset: message.offset(), value, key, timestamp: message.timestamp(), headers }
    }
}

impl Record<'_> {
    pub(super) fn offset(&self) -> i64 {
        match self {
            Self::Lent(message) => message.offset(),
            Self::Kept(kept) => kept.offset,
        }
    }

    pub(super) fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Lent(message) => message.value(),
            Self::Kept(kept) => kept.value.as_deref(),
        }
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Lent(message) => message.key(),
            Self::Kept(kept) => kept.key.as_deref(),
        }
    }

    /// Milliseconds since 1970, and whether the broker set them.
    pub(super) fn timestamp(&self) -> (i64, i32) {
        match self {
            Self::Lent(message) => message.timestamp(),
            Self::Kept(kept) => kept.timestamp,
        }
    }

    pub(super) fn headers(&self, mut show: impl FnMut(&[u8], Option<&[u8]>)) {
        match self {
            Self::Lent(message) => message.headers(show),
            Self::Kept(kept) => kept.headers.iter().for_each(|(name, value)| show(name, value.as_deref())),
        }
    }
}

/// A partition of a topic, fetched from wherever it was asked for last.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    client: Arc<Client>,
    /// Silence after which reading gives up for now.
    patience: Duration,
    /// When what was read was written.
    times: Arc<PartitionTimes>,
    state: Mutex<State>,
    /// A span has ended.
    turn: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// The next offset that the queue gives; `None` while nothing is fetched.
    position: Option<i64>,
    carried: Option<Carried>,
}

struct Queue(PartitionQueue);

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

/// What one look into the queue found, beside records.
#[derive(Default)]
struct Look {
    next: Option<i64>,
    carried: Option<Carried>,
    failure: Option<Failure>,
    is_full: bool,
    records: u64,
    bytes: u64,
    /// When one of the last records was written, in milliseconds since 1970.
    written_ms: Option<i64>,
}

impl Partition {
    pub(super) fn new(
        client: &Arc<Client>,
        topic: &Arc<str>,
        partition: i32,
        wake: &Arc<Notify>,
        patience: Duration,
        times: Arc<PartitionTimes>,
    ) -> Result<Self, Failure> {
        let queue = Queue(PartitionQueue::new(client.clone(), topic, partition, wake.clone())?);
        let state = Mutex::new(State { queue, position: None, carried: None });
        let (topic, client) = (topic.clone(), client.clone());
        Ok(Self { topic, partition, client, patience, times, state, turn: Condvar::new() })
    }

    /// `topic[partition]`, as messages name it.
    pub(super) fn name(&self) -> Arc<str> {
        format!("{}[{}]", self.topic, self.partition).into()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, offset: i64) -> At {
        At { topic: self.topic.clone(), partition: self.partition, offset }
    }

    /// Fetches from `offset`, unless that is what comes next anyway.
    pub(super) fn go_to(&self, offset: i64) -> Result<()> {
        self.place(&mut self.lock(), offset)
    }

    fn place(&self, state: &mut State, offset: i64) -> Result<()> {
        if state.position == Some(offset) {
            return Ok(());
        }
        self.forget(state);
        self.client.assign(&[self.at(offset)]).map_err(|failure| self.failed("fetch", failure))?;
        state.position = Some(offset);
        Ok(())
    }

    /// Ends fetching, and forgets what was fetched ahead.
    pub(super) fn stop(&self) {
        self.forget(&mut self.lock());
    }

    /// Ends fetching: the next reading begins anew.
    fn forget(&self, state: &mut State) {
        state.carried = None;
        if state.position.take().is_some()
            && let Err(failure) = self.client.unassign(&[self.at(0)])
        {
            tracing::debug!(partition = %self.name(), %failure, "could not stop fetching");
        }
    }

    /// Whether something that was not asked for yet has arrived. After `false` the queue is empty, so that its next message wakes.
    pub(super) fn has_more(&self) -> bool {
        let Ok(mut state) = self.state.try_lock() else { return true };
        if state.carried.is_some() {
            return true;
        }
        let mut look = Look::default();
        state.queue.0.consume(Duration::ZERO, |message| match message.error() {
            Some(failure) if failure.code == Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => Flow::Next,
            Some(failure) => {
                look.failure = Some(failure);
                Flow::Enough
            }
            None => {
                look.carried = Some(Carried::new(&message));
                Flow::Enough
            }
        });
        state.carried = look.carried;
        if look.failure.is_some() {
            self.forget(&mut state);
        }
        state.carried.is_some() || look.failure.is_some()
    }

    /// Reads the records with offsets of `from` up to `to`, exactly, in order. Waits for its turn unless it is the `first` span of its
    /// range.
    pub(super) fn read(&self, from: i64, to: i64, first: bool, run: &Run, records: &mut impl Collect) -> Result<()> {
        let mut state = self.lock();
        while !first && state.position != Some(from) {
            self.check(run)?;
            (state, _) = self.turn.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner);
        }
        self.place(&mut state, from)?;
        let outcome = self.read_to(&mut state, to, run, records);
        match &outcome {
            Ok(()) => state.position = Some(to),
            Err(_) => self.forget(&mut state),
        }
        drop(state);
        self.turn.notify_all();
        outcome?;
        records.flush()
    }

    fn read_to(&self, state: &mut State, to: i64, run: &Run, records: &mut impl Collect) -> Result<()> {
        let mut heard = Instant::now();
        while state.position.is_some_and(|position| position < to) {
            self.check(run)?;
            if let Some(carried) = state.carried.take() {
                if carried.offset >= to {
                    state.carried = Some(carried);
                    return Ok(());
                }
                state.position = Some(carried.offset + 1);
                self.times.read(carried.timestamp.0);
                if records.add(&Record::Kept(&carried)) == Flow::Enough {
                    records.flush()?;
                }
                continue;
            }
            let look = look(&mut state.queue.0, state.position.unwrap_or(to), to, records);
            if let Some(next) = look.next {
                (state.position, heard) = (Some(next), Instant::now());
            }
            state.carried = look.carried;
            look.written_ms.iter().for_each(|ms| self.times.read(*ms));
            run.read.records.fetch_add(look.records, Ordering::Relaxed);
            run.read.bytes.fetch_add(look.bytes, Ordering::Relaxed);
            if let Some(failure) = look.failure {
                return Err(self.met(failure, run));
            }
            if look.is_full {
                records.flush()?;
            }
            if heard.elapsed() > self.patience {
                let waited = humantime::format_duration(self.patience);
                let message = format!("nothing came from {} for {waited}, though there are records", self.name());
                let error = Error::new(ErrorKind::Unavailable, message);
                return Err(match self.client.next_error() {
                    Some(failure) => error.because(failure),
                    None => error,
                });
            }
        }
        Ok(())
    }

    fn check(&self, run: &Run) -> Result<()> {
        if run.is_cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, format!("reading {} was given up", self.name())));
        }
        Ok(())
    }

    /// Either nothing passes by itself here, or the next try finds out what is wrong.
    fn met(&self, failure: Failure, run: &Run) -> Error {
        if failure.code == Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET {
            run.is_out_of_range.store(true, Ordering::Relaxed);
            let message = format!("{} does not have the wanted offset any more", self.name());
            return Error::spark(ErrorKind::Unavailable, "DATA_LOST", message).because(failure);
        }
        self.failed("read", failure)
    }

    fn failed(&self, attempt: &str, failure: Failure) -> Error {
        Error::new(ErrorKind::Unavailable, format!("could not {attempt} {}", self.name())).because(failure)
    }
}

/// Takes what lies in the queue, up to `to` and while there is room.
fn look(queue: &mut PartitionQueue, position: i64, to: i64, records: &mut impl Collect) -> Look {
    let mut look = Look::default();
    queue.consume(LOOK, |message| {
        if let Some(failure) = message.error() {
            return match failure.code {
                Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                    look.next = look.next.max(Some(message.offset().max(position)));
                    if message.offset() >= to { Flow::Enough } else { Flow::Next }
                }
                _ => {
                    look.failure = Some(failure);
                    Flow::Enough
                }
            };
        }
        let offset = message.offset();
        if offset < look.next.unwrap_or(position) {
            return Flow::Next; // told already
        }
        if offset >= to {
            look.carried = Some(Carried::new(&message));
            look.next = Some(to);
            return Flow::Enough;
        }
        look.next = Some(offset + 1);
        look.records += 1;
        look.bytes += message.value().map_or(0, <[u8]>::len) as u64;
        // To ask for each would be felt, and how far behind we are need not be known to the record.
        if look.written_ms.is_none() || offset % 16 == 0 || offset + 1 >= to {
            look.written_ms = Some(message.timestamp().0);
        }
        look.is_full = records.add(&Record::Lent(message)) == Flow::Enough;
        if look.is_full || offset + 1 >= to { Flow::Enough } else { Flow::Next }
    });
    look
}
