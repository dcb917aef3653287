//! What the cluster says: which topics there are, and where their partitions begin and end. Every question waits for its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use regex::Regex;

use super::offset::{Position, Span, TopicPosition};
use super::settings::{KafkaSettings, KafkaStart, KafkaTopics, NoneSince};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::is_hopeless;
use tidemill_librdkafka::{At, Client, Failure};

/// How old what is known of topics may be when a batch is planned.
const TOPICS_AGE_MAX: Duration = Duration::from_secs(1);
/// Stands for the first and for the one behind the last offset in a question for offsets.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// A cluster and what was last heard of it.
#[derive(Debug)]
pub(super) struct Cluster {
    client: Arc<Client>,
    settings: Arc<KafkaSettings>,
    pattern: Option<Regex>,
    topics: BTreeMap<String, Topic>,
    heard_at: Instant,
    /// Topics that were deleted, as has been said.
    deleted: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Topic {
    id: String,
    partitions: Vec<i32>,
}

/// Where partitions begin or end.
type Offsets = BTreeMap<(String, i32), i64>;

impl Cluster {
    /// Connects, and finds the topics that are wanted.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the broker refuses us or a topic is not there, [`ErrorKind::Unavailable`] if nobody answers.
    pub(super) fn open(client: Arc<Client>, settings: Arc<KafkaSettings>) -> Result<Self> {
        let pattern = match &settings.topics {
            KafkaTopics::Pattern(pattern) => Some(whole_name(pattern)?),
            KafkaTopics::Subscribe(_) | KafkaTopics::Assign(_) => None,
        };
        let mut cluster =
            Self { client, settings, pattern, topics: BTreeMap::new(), heard_at: Instant::now(), deleted: BTreeSet::new() };
        cluster.ask_topics().map_err(|failure| cluster.not_reached(failure))?;
        cluster.check_topics()?;
        Ok(cluster)
    }

    fn not_reached(&self, failure: Failure) -> Error {
        let servers = self.settings.connection.bootstrap_servers.shown();
        let kind = if is_hopeless(&failure) { ErrorKind::Config } else { ErrorKind::Unavailable };
        let after = humantime::format_duration(self.settings.request_timeout);
        let message = match kind {
            ErrorKind::Config => format!("the Kafka cluster at {servers} refuses the connection"),
            _ => format!("the Kafka cluster at {servers} did not answer within {after}"),
        };
        Error::new(kind, message).because(failure)
    }

    /// Whether the settings name the topic.
    fn wants(&self, topic: &str) -> bool {
        match &self.settings.topics {
            KafkaTopics::Subscribe(names) => names.iter().any(|name| name == topic),
            KafkaTopics::Assign(partitions) => partitions.contains_key(topic),
            KafkaTopics::Pattern(_) => self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(topic)),
        }
    }

    fn ask_topics(&mut self) -> Result<(), Failure> {
        let timeout = self.settings.request_timeout;
        let names: Vec<String> = match &self.settings.topics {
            KafkaTopics::Subscribe(names) => names.clone(),
            KafkaTopics::Assign(partitions) => partitions.keys().cloned().collect(),
            KafkaTopics::Pattern(_) => {
                // Kafka's own topics fit many patterns and are never meant.
                let names = self.client.topics(timeout, &is_hopeless)?.into_iter();
                names.filter(|name| self.wants(name) && !name.starts_with("__")).collect()
            }
        };
        let described = self.client.describe(&names, timeout, &is_hopeless)?;
        self.topics = described
            .into_iter()
            .map(|topic| {
                let mut partitions = topic.partitions;
                if let KafkaTopics::Assign(assigned) = &self.settings.topics {
                    partitions.retain(|partition| assigned.get(&topic.name).is_some_and(|wanted| wanted.contains(partition)));
                }
                partitions.sort_unstable();
                (topic.name, Topic { id: topic.id, partitions })
            })
            .collect();
        self.heard_at = Instant::now();
        Ok(())
    }

    /// Asks anew for topics, ids and partitions.
    pub(super) fn refresh(&mut self) -> Result<()> {
        self.ask_topics().map_err(|failure| cannot("ask the Kafka cluster for its topics", failure))
    }

    /// What is wanted by name must be there when a query starts.
    fn check_topics(&self) -> Result<()> {
        let absent = |name: &String| !self.topics.contains_key(name);
        let unknown = |what: String| Error::spark(ErrorKind::Config, "UNKNOWN_TOPIC_OR_PARTITION", what);
        match &self.settings.topics {
            KafkaTopics::Pattern(_) => Ok(()),
            KafkaTopics::Subscribe(names) => match names.iter().find(|name| absent(name)) {
                Some(name) => Err(unknown(format!("the Kafka cluster has no topic {name:?}, or does not let us see it"))),
                None => Ok(()),
            },
            KafkaTopics::Assign(assigned) => {
                for (name, partitions) in assigned {
                    let Some(topic) = self.topics.get(name) else {
                        return Err(unknown(format!("the Kafka cluster has no topic {name:?}, or does not let us see it")));
                    };
                    if let Some(partition) = partitions.iter().find(|partition| !topic.partitions.contains(partition)) {
                        return Err(unknown(format!("topic {name:?} has no partition {partition}")));
                    }
                }
                Ok(())
            }
        }
    }

    fn partitions(&self) -> impl Iterator<Item = (&String, i32)> {
        self.topics.iter().flat_map(|(name, topic)| topic.partitions.iter().map(move |partition| (name, *partition)))
    }

    /// The id of a topic that is there.
    pub(super) fn id(&self, topic: &str) -> Option<&str> {
        self.topics.get(topic).map(|topic| topic.id.as_str())
    }

    /// Offsets at a time (or [`EARLIEST`], [`LATEST`]) of each partition; -1 where there is no record since.
    fn offsets<'a>(&self, partitions: impl Iterator<Item = (&'a String, i32, i64)>) -> Result<Offsets> {
        let at = |(topic, partition, offset): (&'a String, i32, i64)| At { topic: topic.as_str().into(), partition, offset };
        let wanted: Vec<At> = partitions.map(at).collect();
        let attempt = "ask the Kafka cluster for offsets";
        let answers = self.client.offsets(&wanted, self.settings.request_timeout).map_err(|failure| cannot(attempt, failure))?;
        let mut offsets = Offsets::new();
        for (answer, wanted) in answers.into_iter().zip(&wanted) {
            let at = answer.map_err(|failure| {
                cannot(&format!("ask the Kafka cluster for an offset of {}[{}]", wanted.topic, wanted.partition), failure)
            })?;
            offsets.insert((at.topic.to_string(), at.partition), at.offset);
        }
        Ok(offsets)
    }

    fn everywhere(&self, time: i64) -> Result<Offsets> {
        self.offsets(self.partitions().map(|(topic, partition)| (topic, partition, time)))
    }

    /// Where spans could begin at the earliest.
    fn earliest(&self, spans: &[Span]) -> Result<Offsets> {
        self.offsets(spans.iter().map(|span| (&span.topic, span.partition, EARLIEST)))
    }

    /// Leaves out what the cluster does not have any more, and counts it.
    pub(super) fn skip_expired(&self, spans: &mut [Span]) -> Result<u64> {
        let earliest = self.earliest(spans)?;
        let mut lost = 0;
        for span in spans {
            let Some(first) = earliest.get(&(span.topic.clone(), span.partition)).copied().filter(|first| *first > span.from)
            else {
                continue;
            };
            let Span { topic, partition, from, .. } = &*span;
            self.lose("DATA_LOST", || format!("{topic}[{partition}] begins at offset {first}, and {from} was to be read next"))?;
            let begin = first.min(span.to);
            lost += u64::try_from(begin - span.from).unwrap_or(0);
            span.from = begin;
        }
        Ok(lost)
    }

    /// A position with these offsets.
    fn position(&self, offsets: Offsets) -> Position {
        let mut position = Position::default();
        for ((topic, partition), offset) in offsets {
            let id = self.id(&topic).unwrap_or_default().to_owned();
            let topic = position.0.entry(topic).or_insert_with(|| TopicPosition { id, ..TopicPosition::default() });
            topic.offsets.insert(partition, offset);
        }
        position
    }

    /// Behind everything that is there.
    pub(super) fn end(&self) -> Result<Position> {
        Ok(self.position(self.everywhere(LATEST)?))
    }

    /// Where a new query begins.
    pub(super) fn start(&self) -> Result<Position> {
        let offsets = match &self.settings.start {
            KafkaStart::Earliest => self.everywhere(EARLIEST)?,
            KafkaStart::Latest => self.everywhere(LATEST)?,
            KafkaStart::Offsets(wanted) => self.given_offsets(wanted)?,
            KafkaStart::Timestamp(ms, otherwise) => self.since(self.everywhere(*ms)?, *otherwise)?,
            KafkaStart::Timestamps(wanted, otherwise) => {
                let wanted = self.each(wanted, "starting_offsets_by_timestamp")?;
                let asked = self.offsets(wanted.iter().map(|((topic, partition), ms)| (topic, *partition, *ms)))?;
                self.since(asked, *otherwise)?
            }
        };
        Ok(self.position(offsets))
    }

    /// One value for each partition that there is, and for no other.
    fn each(&self, given: &BTreeMap<String, BTreeMap<i32, i64>>, setting: &str) -> Result<Offsets> {
        let flat = given.iter().flat_map(|(topic, values)| values.iter().map(move |(at, value)| ((topic.clone(), *at), *value)));
        let flat: Offsets = flat.collect();
        let there: Vec<(String, i32)> = self.partitions().map(|(topic, partition)| (topic.clone(), partition)).collect();
        if let Some((topic, partition)) = there.iter().find(|partition| !flat.contains_key(partition)) {
            return Err(Error::config(format!("{setting} must name every partition; {topic:?} has a partition {partition} too")));
        }
        if let Some((topic, partition)) = flat.keys().find(|partition| !there.contains(partition)) {
            return Err(Error::config(format!("{setting} names partition {partition} of topic {topic:?}, which is not read")));
        }
        Ok(flat)
    }

    fn given_offsets(&self, wanted: &BTreeMap<String, BTreeMap<i32, i64>>) -> Result<Offsets> {
        let mut wanted = self.each(wanted, "starting_offsets")?;
        let special = || wanted.iter().filter(|(_, offset)| **offset < 0);
        let found = self.offsets(special().map(|((topic, partition), offset)| (topic, *partition, *offset)))?;
        wanted.extend(found);
        Ok(wanted)
    }

    /// Fills in partitions without a record since the wanted time.
    fn since(&self, mut offsets: Offsets, otherwise: NoneSince) -> Result<Offsets> {
        let Some(((topic, partition), _)) = offsets.iter().find(|(_, offset)| **offset < 0) else { return Ok(offsets) };
        if otherwise == NoneSince::Fail {
            let message = format!(
                "{topic}[{partition}] has no record since the wanted time; starting_offsets_by_timestamp_strategy: latest would begin \
                 behind its last one"
            );
            return Err(Error::config(message));
        }
        let ends = self.everywhere(LATEST)?;
        for (partition, offset) in offsets.iter_mut().filter(|(_, offset)| **offset < 0) {
            *offset = ends.get(partition).copied().unwrap_or(0);
        }
        Ok(offsets)
    }

    /// Behind everything that can be read by a query that has come to `start`.
    pub(super) fn latest(&mut self, start: &Position) -> Result<Position> {
        if self.heard_at.elapsed() >= TOPICS_AGE_MAX {
            self.refresh()?;
        }
        let ends = match self.everywhere(LATEST) {
            Ok(ends) if !self.went_back(start, &ends) => ends,
            // Something has happened to a topic since we heard of it.
            _ => {
                self.refresh()?;
                self.everywhere(LATEST)?
            }
        };
        let mut latest = Position::default();
        for (name, before) in start.0.iter().filter(|(name, _)| self.wants(name) && !self.topics.contains_key(*name)) {
            if !self.deleted.contains(name) {
                self.lose("DATA_LOST", || format!("topic {name:?} was deleted"))?;
            }
            latest.0.insert(name.clone(), TopicPosition { begin: BTreeMap::new(), ..before.clone() });
        }
        self.deleted = latest.0.keys().cloned().collect();
        for (name, topic) in &self.topics {
            let before = start.0.get(name);
            if before.is_some_and(|before| before.id != topic.id) {
                self.lose("TOPIC_RECREATED", || format!("topic {name:?} was deleted and made again"))?;
            }
            let known = before.filter(|before| before.id == topic.id);
            let position = self.latest_of(name, topic, known, &ends)?;
            if before.is_some() || !position.offsets.is_empty() {
                latest.0.insert(name.clone(), position);
            }
        }
        Ok(latest)
    }

    fn went_back(&self, start: &Position, ends: &Offsets) -> bool {
        ends.iter().any(|((topic, partition), end)| start.offset(topic, *partition).is_some_and(|offset| offset > *end))
    }

    fn latest_of(&self, name: &String, topic: &Topic, known: Option<&TopicPosition>, ends: &Offsets) -> Result<TopicPosition> {
        let mut position = TopicPosition { id: topic.id.clone(), ..TopicPosition::default() };
        if let Some(known) = known {
            // A partition that is not told of is not gone.
            position.offsets.clone_from(&known.offsets);
        }
        let mut new = Vec::new();
        for partition in &topic.partitions {
            let Some(end) = ends.get(&(name.clone(), *partition)).copied() else { continue };
            match known.and_then(|known| known.offsets.get(partition)) {
                Some(offset) if *offset > end => {
                    self.lose("DATA_LOST", || {
                        format!("{name}[{partition}] ends at {end}, before offset {offset} that was read to")
                    })?;
                    position.offsets.insert(*partition, end);
                }
                Some(_) => {
                    position.offsets.insert(*partition, end);
                }
                None => new.push((*partition, end)),
            }
        }
        let begins = self.offsets(new.iter().map(|(partition, _)| (name, *partition, EARLIEST)))?;
        for (partition, end) in new {
            let begin = begins.get(&(name.clone(), partition)).copied().unwrap_or(0);
            if begin < end {
                position.begin.insert(partition, begin);
                position.offsets.insert(partition, end);
            }
        }
        Ok(position)
    }

    /// Fails for lost records, or says so and goes on.
    pub(super) fn lose(&self, condition: &'static str, what: impl FnOnce() -> String) -> Result<()> {
        let what = what();
        if self.settings.fail_on_data_loss {
            let hint = "records may be lost; with fail_on_data_loss: false the query goes on without them";
            return Err(Error::spark(ErrorKind::Data, condition, format!("{what}: {hint}")));
        }
        tracing::warn!(condition, "{what}; the query goes on without the records");
        Ok(())
    }
}

/// A pattern that must fit the whole name, as Java's does.
pub fn whole_name(pattern: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{pattern})$"))
        .map_err(|cause| Error::config(format!("subscribe_pattern is no regular expression: {pattern:?}")).because(cause))
}

fn cannot(attempt: &str, failure: Failure) -> Error {
    Error::new(ErrorKind::Unavailable, format!("could not {attempt}")).because(failure)
}
