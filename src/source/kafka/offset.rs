//! How far a query has read, as it goes into the checkpoint, and how far a batch may go from there: pure arithmetic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::source::Offset;

/// Offsets of all partitions, by topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Position(pub(super) BTreeMap<String, TopicPosition>);

/// Offsets of one topic's partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicPosition {
    /// The topic's id: a topic that was deleted and made again has another.
    pub(super) id: String,
    /// The offset of the next record, by partition.
    pub(super) offsets: BTreeMap<i32, i64>,
    /// Where a range that ends here begins in partitions that the range's start does not know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) begin: BTreeMap<i32, i64>,
}

/// The offsets of a range in one partition: `from` included, `to` not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Span {
    /// How many offsets lie in it: at least as many as there are records.
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.to.saturating_sub(self.from)).unwrap_or(0)
    }
}

/// `from` with the offsets that `wanted` names, `{topic: {partition: offset}}`; `None` when `from` is no position of Kafka's. A topic or
/// partition that has not been read is refused.
pub(crate) fn moved(from: &Offset, wanted: &serde_json::Value) -> Option<Result<Offset>> {
    let mut position: Position = from.decode().ok()?;
    if position.0.is_empty() {
        return None;
    }
    let Ok(wanted) = serde_json::from_value::<BTreeMap<String, BTreeMap<i32, i64>>>(wanted.clone()) else {
        return Some(Err(Error::config(format!("expected {{\"topic\": {{\"partition\": offset}}}}, found {wanted}"))));
    };
    for (name, partitions) in wanted {
        for (partition, offset) in partitions {
            let place = position.0.get_mut(&name).and_then(|topic| topic.offsets.get_mut(&partition));
            match place {
                Some(place) if offset >= 0 => *place = offset,
                Some(_) => return Some(Err(Error::config(format!("{offset} is no offset: expected 0 or more")))),
                None => {
                    let message = format!("partition {partition} of topic {name} has not been read");
                    return Some(Err(Error::config(message)));
                }
            }
        }
    }
    Some(Ok(Offset::encode(&position)))
}

impl Position {
    /// The next offset of a partition, if the position knows it.
    pub(super) fn offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(topic)?.offsets.get(&partition).copied()
    }

    /// What lies between `start` and `self`, of the partitions that have something, in order of topic and partition.
    pub(super) fn since(&self, start: &Position) -> Vec<Span> {
        let partitions =
            self.0.iter().flat_map(|(topic, to)| to.offsets.iter().map(move |(at, offset)| (topic, to, *at, *offset)));
        let spans = partitions.filter_map(|(topic, end, partition, to)| {
            let known = || start.0.get(topic).filter(|start| start.id == end.id)?.offsets.get(&partition).copied();
            let from = end.begin.get(&partition).copied().or_else(known)?;
            Some(Span { topic: topic.clone(), partition, from, to })
        });
        spans.filter(|span| span.to > span.from).collect()
    }

    /// How many offsets each partition has beyond `at`; those that are not known there count from where they begin.
    pub(super) fn ahead_of(&self, at: &Position) -> impl Iterator<Item = (String, i32, u64)> {
        let partitions = self.0.iter().flat_map(|(name, topic)| topic.offsets.iter().map(move |of| (name, topic, *of.0, *of.1)));
        partitions.map(|(name, topic, partition, end)| {
            let known = at.0.get(name).filter(|at| at.id == topic.id).and_then(|at| at.offsets.get(&partition));
            let from = known.or_else(|| topic.begin.get(&partition)).copied().unwrap_or(end);
            (name.clone(), partition, u64::try_from(end.saturating_sub(from)).unwrap_or(0))
        })
    }

    /// Takes back what lies beyond `rows`: each partition keeps a share in proportion to what it has, rounded down, but at least one
    /// row.
    pub(super) fn limit(&mut self, start: &Position, rows: u64) {
        let spans = self.since(start);
        let total: u64 = spans.iter().map(Span::len).sum();
        if total <= rows {
            return;
        }
        for span in spans {
            let share = rows as f64 * (span.len() as f64 / total as f64);
            let share = if share < 1.0 { share.ceil() } else { share.floor() } as i64;
            if let Some(offset) = self.0.get_mut(&span.topic).and_then(|topic| topic.offsets.get_mut(&span.partition)) {
                *offset = span.to.min(span.from.saturating_add(share));
            }
        }
    }

    /// Takes back what lies beyond `end`, in partitions that it knows; others begin and end where they begin.
    pub(super) fn cap(&mut self, end: &Position, start: &Position) {
        for (name, topic) in &mut self.0 {
            for (partition, offset) in &mut topic.offsets {
                let first = topic.begin.get(partition).copied().or_else(|| start.offset(name, *partition)).unwrap_or(*offset);
                *offset = end.offset(name, *partition).unwrap_or(first).clamp(first.min(*offset), *offset);
            }
        }
    }

    /// Whether a range from `start` to `self` has nothing in it and changes nothing.
    pub(super) fn is_still(&self, start: &Position) -> bool {
        self.0.len() == start.0.len()
            && self.0.iter().all(|(name, topic)| {
                start.0.get(name).is_some_and(|start| start.id == topic.id && start.offsets == topic.offsets)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"t:1=5,2=7"`, with `1=3..5` for a partition that begins there.
    fn position(text: &str) -> Position {
        let topics = text.split_whitespace().map(|topic| {
            let (name, partitions) = topic.split_once(':').unwrap();
            let mut one = TopicPosition { id: format!("id-{name}"), ..TopicPosition::default() };
            for partition in partitions.split(',') {
                let (at, offset) = partition.split_once('=').unwrap();
                let (begin, offset) = offset.split_once("..").map_or((None, offset), |(begin, offset)| (Some(begin), offset));
                one.offsets.insert(at.parse().unwrap(), offset.parse().unwrap());
                if let Some(begin) = begin {
                    one.begin.insert(at.parse().unwrap(), begin.parse().unwrap());
                }
            }
            (name.to_owned(), one)
        });
        Position(topics.collect())
    }

    fn limited(start: &str, end: &str, rows: u64) -> Vec<(i32, i64, i64)> {
        let (start, mut end) = (position(start), position(end));
        end.limit(&start, rows);
        end.since(&start).into_iter().map(|span| (span.partition, span.from, span.to)).collect()
    }

    #[test]
    fn a_limit_is_shared_as_spark_shares_it() {
        assert_eq!(limited("t:0=0,1=0", "t:0=10,1=30", 100), [(0, 0, 10), (1, 0, 30)]);
        assert_eq!(limited("t:0=0,1=0", "t:0=10,1=30", 8), [(0, 0, 2), (1, 0, 6)]);
        assert_eq!(limited("t:0=5,1=5", "t:0=5,1=9", 2), [(1, 5, 7)]);
        // Each partition that has something moves on, so that a small limit starves none.
        assert_eq!(limited("t:0=0,1=0,2=0", "t:0=1,1=1,2=98", 10), [(0, 0, 1), (1, 0, 1), (2, 0, 9)]);
        assert_eq!(limited("t:0=0,1=0", "t:0=10,1=10", 1), [(0, 0, 1), (1, 0, 1)]);
    }

    #[test]
    fn new_partitions_and_recreated_topics_begin_where_the_end_says() {
        let start = position("t:0=5");
        let end = position("t:0=7,1=2..4 u:0=0..3");
        let spans: Vec<_> = end.since(&start).into_iter().map(|span| (span.topic, span.partition, span.from, span.to)).collect();
        assert_eq!(spans, [("t".to_owned(), 0, 5, 7), ("t".to_owned(), 1, 2, 4), ("u".to_owned(), 0, 0, 3)]);
        let mut again = position("t:0=1..9");
        again.0.get_mut("t").unwrap().id = "another".into();
        assert_eq!(again.since(&start)[0].len(), 8);
        assert!(!again.is_still(&start));
        assert!(position("t:0=5..5").is_still(&start), "where a range begins is no progress");
    }

    #[test]
    fn the_lag_of_a_partition_counts_from_where_a_batch_ends() {
        let latest = position("t:0=7,1=2..9 u:0=3..8");
        let lag = |at: &str| latest.ahead_of(&position(at)).map(|(_, _, offsets)| offsets).collect::<Vec<_>>();
        assert_eq!(lag("t:0=5,1=2..4 u:0=8"), [2, 5, 0]);
        assert_eq!(lag("t:0=9"), [0, 7, 5], "a partition that is not read yet is behind by all it has");
    }

    #[test]
    fn what_came_after_the_start_is_not_available_now() {
        let (start, frozen) = (position("t:0=1"), position("t:0=5"));
        let mut end = position("t:0=9,1=3..8");
        end.cap(&frozen, &start);
        assert_eq!(end.since(&start), [Span { topic: "t".into(), partition: 0, from: 1, to: 5 }]);
    }

    #[test]
    fn a_position_keeps_its_form() {
        let text = r#"{"t":{"id":"x","offsets":{"0":5,"10":7}}}"#;
        let read: Position = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(read.offset("t", 10), Some(7));
        assert!(serde_json::from_str::<Position>(r#"{"t":{"id":"x","offsets":{},"more":1}}"#).is_err());
    }

    #[test]
    fn partitions_that_were_read_can_be_moved() {
        let from = Offset::encode(&position("t:1=5,2=7 u:0=3"));
        let to = |wanted: &str| moved(&from, &wanted.parse().unwrap()).unwrap();
        assert_eq!(to(r#"{"t":{"2":0},"u":{"0":9}}"#).unwrap(), Offset::encode(&position("t:1=5,2=0 u:0=9")));
        for (wanted, why) in [
            (r#"{"t":{"3":0}}"#, "partition 3 of topic t has not been read"),
            (r#"{"x":{"0":0}}"#, "partition 0 of topic x has not been read"),
            (r#"{"t":{"1":-1}}"#, "-1 is no offset"),
            (r#"{"t":5}"#, "expected {"),
        ] {
            assert!(to(wanted).unwrap_err().message().contains(why), "{wanted}");
        }
        assert!(moved(&Offset::encode(&serde_json::json!({"file": 3})), &serde_json::json!({})).is_none());
    }
}
