//! Messages of Kafka topics, as rows of raw columns or decoded by a format.
//!
//! Partitions are assigned by us and never shared in a group; how far a query has read is in its checkpoint alone. A batch ends where
//! the partitions ended when it was planned, at the last stable offset, so that aborted and open transactions are never seen.

mod cluster;
mod offset;
mod partition;
mod records;
mod settings;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::{Notify, mpsc};

use super::{
    Chunk, Extent, Offset, OffsetRange, PartitionAhead, PartitionTimes, ReadLimit, Replay, Source, SourceSpec, SourceStats,
};
use crate::clock::{Clock, SystemClock};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::MetadataColumn;
use cluster::Cluster;
use offset::{Position, Span};
use partition::{Partition, ReadSoFar, Run};
use records::{Rows, SpanPart};
use tidemill_librdkafka::{At, Client};

pub use cluster::whole_name;
pub(crate) use offset::moved;
pub use records::schema;
pub use settings::{KafkaSettings, KafkaStart, KafkaTopics, NoneSince, Wanted};

/// What is true of every Kafka source.
pub const SPEC: SourceSpec = SourceSpec {
    name: "kafka",
    replay: Replay::Kept,
    shared: false,
    metadata: &[
        MetadataColumn::Source,
        MetadataColumn::Position,
        MetadataColumn::Topic,
        MetadataColumn::Partition,
        MetadataColumn::Offset,
        MetadataColumn::Timestamp,
        MetadataColumn::Key,
    ],
    limit: ReadLimit { rows_max: None, bytes_max: Some(64 << 20), files_max: None },
};

/// Offsets of a partition that are read and decoded together, one such span after the other.
const SPAN_OFFSETS: i64 = 16_384;
/// What a record counts as against a limit of bytes until some have been read.
const RECORD_BYTES: u64 = 1024;
/// How often topics are looked at for new partitions when nothing else happens.
const QUIET: Duration = Duration::from_secs(1);
/// Pause between two looks while a batch waits for more rows.
const HELD_BACK: Duration = Duration::from_millis(50);

/// A Kafka source, owned by one query.
#[derive(Debug)]
pub struct KafkaSource {
    settings: Arc<KafkaSettings>,
    wanted: Wanted,
    client: Arc<Client>,
    cluster: Arc<Mutex<Cluster>>,
    partitions: BTreeMap<(String, i32), Arc<Partition>>,
    /// When what was read of each was written.
    times: BTreeMap<(String, i32), Arc<PartitionTimes>>,
    /// Told when a message arrives where there was none.
    wake: Arc<Notify>,
    /// The range being read.
    run: Arc<Run>,
    /// Names and ids of the topics that it reads.
    being_read: Vec<(String, String)>,
    read_so_far: Arc<ReadSoFar>,
    /// Where an available-now query ends.
    frozen: Option<Position>,
    /// The last answer of the cluster.
    latest: Position,
    /// Whether the beginning of the next range is known to be there still.
    is_beginning_checked: bool,
    /// When a batch last went on, where they wait for rows.
    last_batch: Option<Instant>,
    is_held_back: bool,
    stats: Arc<SourceStats>,
}

impl KafkaSource {
    /// Connects; `group` names the client where the settings name no group.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for wrong settings, credentials or topics, [`ErrorKind::Unavailable`] when nobody answers.
    pub async fn open(settings: KafkaSettings, group: &str, wanted: Wanted, extent: Extent) -> Result<Self> {
        let settings = Arc::new(settings);
        let properties = settings.properties(group)?;
        let client = Client::consumer(&properties).map_err(|reason| Error::config(format!("librdkafka refuses it: {reason}")))?;
        let client = Arc::new(client);
        let (opened, shared) = (client.clone(), settings.clone());
        let (cluster, frozen) = waiting(move || {
            let cluster = Cluster::open(opened, shared)?;
            let frozen = if extent == Extent::AvailableNow { Some(cluster.end()?) } else { None };
            Ok((cluster, frozen))
        })
        .await?;
        Ok(Self {
            settings,
            wanted,
            client,
            cluster: Arc::new(Mutex::new(cluster)),
            partitions: BTreeMap::new(),
            times: BTreeMap::new(),
            wake: Arc::new(Notify::new()),
            run: Arc::default(),
            being_read: Vec::new(),
            read_so_far: Arc::default(),
            frozen,
            latest: Position::default(),
            is_beginning_checked: false,
            last_batch: None,
            is_held_back: false,
            stats: Arc::default(),
        })
    }

    /// Counters and lag.
    pub fn stats(&self) -> Arc<SourceStats> {
        self.stats.clone()
    }

    /// Asks the cluster on a thread that may wait.
    async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&mut Cluster) -> Result<T> + Send + 'static) -> Result<T> {
        let cluster = self.cluster.clone();
        waiting(move || question(&mut cluster.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    /// Whether a topic was there when topics were last asked for.
    fn is_there(&self, topic: &str, id: &str) -> bool {
        // A question that nobody waits for any more may still hold it.
        self.cluster.try_lock().map_or(true, |cluster| cluster.id(topic) == Some(id))
    }

    fn partition(&mut self, topic: &str, partition: i32) -> Result<Arc<Partition>> {
        let key = (topic.to_owned(), partition);
        if let Some(partition) = self.partitions.get(&key) {
            return Ok(partition.clone());
        }
        let times = self.times.entry(key.clone()).or_default().clone();
        let made = Partition::new(&self.client, &topic.into(), partition, &self.wake, self.settings.request_timeout, times);
        let made = made.attempting(ErrorKind::Unavailable, || format!("fetch {topic}[{partition}]"))?;
        let made = Arc::new(made);
        self.partitions.insert(key, made.clone());
        Ok(made)
    }

    /// Rows that a batch may have, with what is known of their size.
    fn rows_max(&self, limit: &ReadLimit) -> Option<u64> {
        let records = self.read_so_far.records.load(Ordering::Relaxed);
        let bytes = self.read_so_far.bytes.load(Ordering::Relaxed);
        let record_bytes = bytes.checked_div(records).unwrap_or(RECORD_BYTES).max(1);
        let by_bytes = limit.bytes_max.map(|bytes_max| (bytes_max / record_bytes).max(1));
        [limit.rows_max, by_bytes].into_iter().flatten().min()
    }

    /// Whether so few rows wait for more.
    fn holds_back(&mut self, rows: u64) -> bool {
        let Some(rows_min) = self.settings.min_rows_per_trigger.filter(|_| self.frozen.is_none()) else { return false };
        let waited = self.last_batch.is_none_or(|last| last.elapsed() >= self.settings.max_trigger_delay);
        if rows >= rows_min || (waited && rows > 0) {
            self.last_batch = Some(Instant::now());
            return false;
        }
        true
    }

    /// What of the range can still be read, and how many offsets are gone.
    async fn readable(&mut self, start: &Position, end: &Position) -> Result<(Vec<Span>, u64)> {
        let spans = end.since(start);
        let ids: Vec<(String, String)> = end.0.iter().map(|(name, topic)| (name.clone(), topic.id.clone())).collect();
        let check = !self.is_beginning_checked || self.run.is_out_of_range.load(Ordering::Relaxed);
        let (spans, lost) = self
            .ask(move |cluster| {
                if ids.iter().any(|(name, id)| cluster.id(name) != Some(id)) {
                    cluster.refresh()?;
                }
                let same = |span: &Span| ids.iter().any(|(name, id)| *name == span.topic && cluster.id(name) == Some(id));
                let (mut there, gone): (Vec<_>, Vec<_>) = spans.into_iter().partition(same);
                let mut lost: u64 = gone.iter().map(Span::len).sum();
                if let Some(span) = gone.first() {
                    let what =
                        || format!("topic {:?} was deleted or made again, and a planned batch wants its records", span.topic);
                    cluster.lose("TOPIC_RECREATED", what)?;
                }
                if check {
                    lost += cluster.skip_expired(&mut there)?;
                }
                Ok((there, lost))
            })
            .await?;
        self.is_beginning_checked = true;
        let read = |topic: &str| spans.iter().any(|span| span.topic == topic);
        self.being_read =
            end.0.iter().filter(|(name, _)| read(name)).map(|(name, topic)| (name.clone(), topic.id.clone())).collect();
        Ok((spans, lost))
    }

    /// The spans as parts that can be decoded side by side; which ones depends on the spans alone.
    fn parts(&mut self, spans: &[Span]) -> Result<Vec<Chunk>> {
        let mut parts: Vec<(usize, Chunk)> = Vec::new();
        for span in spans {
            let partition = self.partition(&span.topic, span.partition)?;
            // Begins to fetch all partitions at once.
            partition.go_to(span.from)?;
            let starts = (span.from..span.to).step_by(SPAN_OFFSETS as usize);
            parts.extend(starts.enumerate().map(|(turn, from)| {
                let (partition, run) = (partition.clone(), self.run.clone());
                let to = span.to.min(from + SPAN_OFFSETS);
                let part = SpanPart { partition, from, to, first: turn == 0, wanted: self.wanted, run };
                (turn, Chunk::Part(Box::new(part)))
            }));
        }
        // By turns, so that several partitions are read at a time. Sorting keeps the order within a partition.
        parts.sort_by_key(|(turn, _)| *turn);
        Ok(parts.into_iter().map(|(_, part)| part).collect())
    }

    /// The spans as rows, one after the other.
    fn rows(&mut self, spans: Vec<Span>) -> Result<BoxStream<'static, Result<Chunk>>> {
        let mut work = Vec::new();
        for span in spans {
            let partition = self.partition(&span.topic, span.partition)?;
            partition.go_to(span.from)?;
            work.push((partition, span));
        }
        let (send, receive) = mpsc::channel(2);
        let (run, include_headers) = (self.run.clone(), self.settings.include_headers);
        tokio::task::spawn_blocking(move || {
            for (partition, span) in work {
                let mut rows = Rows::new(&partition, include_headers, send.clone());
                if let Err(error) = partition.read(span.from, span.to, true, &run, &mut rows) {
                    // Without a receiver nobody needs to know.
                    let _ = send.blocking_send(Err(error));
                    return;
                }
            }
        });
        let next = |mut receive: mpsc::Receiver<_>| async move {
            receive.recv().await.map(|rows: Result<_>| (rows.map(Chunk::Rows), receive))
        };
        Ok(stream::unfold(receive, next).boxed())
    }

    /// Ends fetching topics that were made again: what was fetched ahead is the old one's, whatever its offset.
    fn forget_recreated(&self, before: &Position, now: &Position) {
        let is_another = |name: &String| now.0.get(name).zip(before.0.get(name)).is_some_and(|(now, before)| now.id != before.id);
        for ((name, _), partition) in &self.partitions {
            if is_another(name) {
                partition.stop();
            }
        }
    }

    /// Tells how far what is there is ahead of `start`, which is committed, and of a batch that ends at `end`.
    fn publish_lag(&mut self, start: &Position, end: &Position) {
        let (Self { latest, times, stats, .. }, now_ms) = (self, SystemClock.now_us() / 1000);
        let ahead = latest.ahead_of(start).zip(latest.ahead_of(end)).map(|((topic, partition, offsets), (.., left))| {
            // Known from the first plan on, before anything of the partition is read.
            let times = times.entry((topic.clone(), partition)).or_default().clone();
            if offsets == 0 {
                times.caught_up(now_ms);
            }
            PartitionAhead { topic, partition, offsets, left, times }
        });
        stats.set_ahead(Offset::encode(latest).as_json().clone(), ahead.collect());
    }
}

/// Runs what waits for the network outside of the threads that compute.
async fn waiting<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panic| Error::internal("asking a Kafka cluster panicked").because(panic))?
}

/// Ends the reading of a range when nobody wants the rest.
struct Cancel(Arc<Run>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.is_cancelled.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn initial_offset(&mut self) -> Result<Offset> {
        Ok(Offset::encode(&self.ask(|cluster| cluster.start()).await?))
    }

    async fn latest_offset(&mut self, start: &Offset, limit: &ReadLimit) -> Result<Offset> {
        let from: Position = start.decode()?;
        let asked = from.clone();
        let mut end = self.ask(move |cluster| cluster.latest(&asked)).await?;
        self.latest.clone_from(&end);
        self.being_read.clear();
        self.forget_recreated(&from, &end);
        if let Some(frozen) = &self.frozen {
            end.cap(frozen, &from);
        }
        let rows = end.since(&from).iter().map(Span::len).sum();
        self.is_held_back = self.holds_back(rows);
        if self.is_held_back {
            self.publish_lag(&from, &from);
            return Ok(start.clone());
        }
        if let Some(rows_max) = self.rows_max(limit) {
            end.limit(&from, rows_max);
        }
        self.publish_lag(&from, &end);
        Ok(if end.is_still(&from) { start.clone() } else { Offset::encode(&end) })
    }

    async fn read(&mut self, range: &OffsetRange) -> Result<BoxStream<'static, Result<Chunk>>> {
        let (start, end): (Position, Position) = (range.start.decode()?, range.end.decode()?);
        self.run.is_cancelled.store(true, Ordering::Relaxed);
        let (spans, lost) = self.readable(&start, &end).await?;
        self.run = Arc::new(Run { read: self.read_so_far.clone(), ..Run::default() });
        let cancel = Cancel(self.run.clone());
        let chunks =
            if self.wanted.raw { self.rows(spans)? } else { stream::iter(self.parts(&spans)?.into_iter().map(Ok)).boxed() };
        let gone = stream::iter((lost > 0).then_some(Ok(Chunk::Lost(lost))));
        // The guard lives as long as the stream.
        Ok(gone.chain(chunks).map(move |chunk| (&cancel, chunk).1).boxed())
    }

    async fn make_durable(&mut self, _end: &Offset) -> Result<()> {
        // Records are kept outside; but were those that were read here of the topic that was planned? A topic that was made again
        // may have grown past us already. What was known to be gone before is counted as lost.
        let read = self.being_read.clone();
        self.ask(move |cluster| {
            cluster.refresh()?;
            if let Some((name, id)) = read.iter().find(|(name, id)| cluster.id(name) != Some(id)) {
                let what = || format!("topic {name:?} (id {id}) was deleted or made again while it was read");
                cluster.lose("TOPIC_RECREATED", what)?;
                let message = format!("topic {name:?} was deleted or made again while it was read");
                return Err(Error::spark(ErrorKind::Unavailable, "TOPIC_RECREATED", message));
            }
            Ok(())
        })
        .await
    }

    async fn changed(&mut self, end: &Offset) {
        let Ok(position) = end.decode::<Position>() else { return };
        if self.frozen.is_some() {
            return std::future::pending().await;
        }
        if self.is_held_back {
            return tokio::time::sleep(HELD_BACK).await;
        }
        if !self.latest.since(&position).is_empty() {
            return;
        }
        for (topic, offsets) in &position.0 {
            // A topic that is gone has nothing to be fetched; looking for new ones finds it when it is back.
            if !self.is_there(topic, &offsets.id) {
                continue;
            }
            for (partition, offset) in &offsets.offsets {
                let Ok(partition) = self.partition(topic, *partition) else { return };
                if partition.go_to(*offset).is_err() || partition.has_more() {
                    return;
                }
            }
        }
        let _ = tokio::time::timeout(QUIET, self.wake.notified()).await;
    }

    async fn release(&mut self, end: &Offset) -> Result<()> {
        if self.settings.commit_group.is_none() {
            return Ok(());
        }
        let position: Position = end.decode()?;
        let offsets = position.0.iter().flat_map(|(topic, position)| {
            let topic: Arc<str> = topic.as_str().into();
            position.offsets.iter().map(move |(partition, offset)| At {
                topic: topic.clone(),
                partition: *partition,
                offset: *offset,
            })
        });
        let offsets: Vec<At> = offsets.collect();
        if offsets.is_empty() {
            return Ok(());
        }
        // For display only: a group that did not hear of it hears of the next.
        if let Err(failure) = self.client.commit(&offsets) {
            tracing::warn!(%failure, "the consumed offsets were not told to the group");
        }
        Ok(())
    }
}
