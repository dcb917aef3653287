//! What came out, beside what went in and what `/metrics` says of it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::super::binary::{Ended, Running};
use super::super::kafka::Broker;
use super::super::redis::Server;
use super::pipeline::{KINDS, Query, Stand};
use super::senders::{Sent, Source};

/// `/metrics` at one moment.
pub(super) struct Totals {
    pipeline: String,
    samples: BTreeMap<String, f64>,
}

impl Totals {
    pub(super) fn of(stand: &Stand, process: &Running) -> Self {
        let (status, text) = process.get("/metrics");
        assert_eq!(status, 200);
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().unwrap()))
        });
        Self { pipeline: stand.name.clone(), samples: samples.collect() }
    }

    fn count(&self, name: &str, labels: &str) -> u64 {
        let sample = format!("{name}{{pipeline=\"{}\",{labels}}}", self.pipeline);
        self.samples.get(&sample).map_or(0, |value| *value as u64)
    }

    /// Lines that a query has read of a source.
    pub(super) fn read(&self, query: &Query, source: &str) -> u64 {
        self.count("tidemill_rows_read_total", &format!("query=\"{}\",source=\"{source}\"", query.name))
    }

    fn written(&self, query: &Query, sink: &str) -> u64 {
        self.count("tidemill_rows_written_total", &format!("query=\"{}\",sink=\"{sink}\"", query.name))
    }

    fn dropped(&self, query: &Query) -> u64 {
        self.count("tidemill_rows_dropped_total", &format!("query=\"{}\",reason=\"malformed\"", query.name))
    }

    /// Lines that a source has received since the start.
    pub(super) fn received(&self, source: &str) -> u64 {
        self.count("tidemill_source_received_lines", &format!("source=\"{source}\""))
    }

    /// The sum of the gauges of that name.
    fn gauges(&self, name: &str) -> u64 {
        let begin = format!("{name}{{");
        self.samples.iter().filter(|(sample, _)| sample.starts_with(&begin)).map(|(_, value)| *value as u64).sum()
    }
}

/// Where outputs are looked for.
pub(super) struct Outputs<'a> {
    pub(super) stand: &'a Stand,
    pub(super) broker: &'a Broker,
    pub(super) redis: &'a Server,
}

impl Outputs<'_> {
    /// All messages of a topic.
    fn messages(&self, topic: &str) -> Vec<String> {
        let path = self.stand.folder.path(topic);
        self.broker.tell(&["drain", topic, path.to_str().unwrap()]);
        let text = std::fs::read_to_string(path).unwrap();
        // partition|key|value|headers
        text.lines().map(|line| line.split('|').nth(2).unwrap().to_owned()).collect()
    }

    /// The ids that a query put out, by the source that they are of; `None` for a query that puts out none.
    fn ids(&self, query: &Query) -> Option<Vec<Vec<u64>>> {
        let at = KINDS.iter().position(|kind| *kind == query.kind).unwrap();
        match (query.name.rsplit_once('_').unwrap().1, query.sinks[0]) {
            ("rows" | "last", "file") => {
                let lines = self.stand.folder.lines(&format!("out/{}", query.name));
                let ids = lines.iter().flat_map(|(line, times)| vec![number(line, "\"id\":"); *times]);
                Some(vec![ids.collect()])
            }
            ("both", _) => {
                let mut ids = vec![Vec::new(), Vec::new()];
                for message in self.messages(&self.stand.rows[at]) {
                    ids[number(&message, "\"s\":") as usize - 1].push(number(&message, "\"id\":"));
                }
                Some(ids)
            }
            ("last", "redis") => {
                let times: BTreeMap<u64, usize> = self.redis.tell(&["HGETALL", &self.stand.name]);
                Some(vec![times.into_iter().flat_map(|(id, times)| vec![id; times]).collect()])
            }
            _ => None,
        }
    }

    /// Rows of each source that came out: each is there once, and of each lane a beginning with all that was acknowledged.
    pub(super) fn once(&self, query: &Query, sent: &Sent) -> Option<Vec<u64>> {
        let ids = self.ids(query)?;
        let of = |(source, ids): (&String, &Vec<u64>)| {
            beginnings(&format!("{} of {source}", query.name), sent.of(source), ids, source.starts_with("socket"));
            ids.len() as u64
        };
        Some(query.reads.iter().zip(&ids).map(of).collect())
    }

    /// How many counts the query of a kind put out, and the sum of the last ones; each is larger than the one before of its group.
    fn counts(&self, at: usize) -> (u64, u64) {
        let messages = self.messages(&self.stand.counts[at]);
        let mut last = BTreeMap::new();
        for message in &messages {
            let (group, count) = (number(message, "\"k\":"), number(message, "\"n\":"));
            let before = last.insert(group, count).unwrap_or(0);
            assert!(count > before, "{} of group {group} comes after {before}: {message}", KINDS[at]);
        }
        (messages.len() as u64, last.values().sum())
    }

    /// `/metrics` says what senders and outputs say, when everything that was sent is in and out.
    pub(super) fn equal(&self, process: &Running, sent: &Sent) {
        let totals = Totals::of(self.stand, process);
        for query in self.stand.queries() {
            let name = &query.name;
            let sources: Vec<&Source> = query.reads.iter().map(|source| sent.of(source)).collect();
            let rows: u64 = sources.iter().map(|source| source.rows()).sum();
            assert_eq!(totals.dropped(&query), sources.iter().map(|source| source.malformed()).sum::<u64>(), "{name} dropped");
            let written: Vec<u64> = query.sinks.iter().map(|sink| totals.written(&query, sink)).collect();
            if let Some(out) = self.once(&query, sent) {
                assert_eq!((out.iter().sum::<u64>(), written[0]), (rows, rows), "{name} written");
            } else if query.sinks == ["discard"] {
                assert_eq!(written[0], odd(sources[0]), "{name} written");
            } else if query.sinks == ["console"] {
                let printed = printed(&process.stdout.all(), name);
                assert_eq!((printed.last(), written[0]), (Some(&rows), printed.len() as u64), "{name} printed");
            } else {
                let (count, sum) = self.counts(KINDS.iter().position(|kind| *kind == query.kind).unwrap());
                assert_eq!((sum, totals.gauges(name)), (rows, rows), "{name} counted");
                assert_eq!(written, [count, count], "{name} written");
            }
        }
    }

    /// What was acknowledged before the end is out, once, and nothing is that was not sent; `ended` is the process that finished.
    pub(super) fn complete(&self, sent: &Sent, received: &Totals, ended: &Ended) {
        for query in self.stand.queries() {
            let name = &query.name;
            let out = match (self.once(&query, sent), query.sinks[0]) {
                (Some(out), _) => out,
                (None, "discard") => continue,
                (None, "console") => {
                    let lines: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
                    vec![*printed(&lines, name).last().unwrap()]
                }
                (None, _) => vec![self.counts(KINDS.iter().position(|kind| *kind == query.kind).unwrap()).1],
            };
            for (source, rows) in query.reads.iter().zip(out) {
                let of = sent.of(source);
                assert!((of.acknowledged()..=of.rows()).contains(&rows), "{name}: {rows} rows of {source}");
                // A line that is none may have come behind the last row.
                assert!(
                    rows + of.malformed() >= received.received(source),
                    "{name}: {rows} rows of {source}: some were received and lost"
                );
            }
        }
    }
}

/// The odd ids among those that a source was sent.
fn odd(source: &Source) -> u64 {
    let lanes = source.lanes.len() as u64;
    let of = |(at, lane): (usize, &super::senders::Lane)| {
        let rows = lane.sent.load(Ordering::Relaxed);
        // With two lanes the second one has them all.
        if lanes == 2 { rows * at as u64 } else { rows / 2 }
    };
    source.lanes.iter().enumerate().map(of).sum()
}

/// Each id is there once, and those of each lane are its first ones: all that were acknowledged, and none that was not sent. What was sent
/// last is there as a whole or not at all, unless it came as single lines.
fn beginnings(what: &str, source: &Source, ids: &[u64], came_as_lines: bool) {
    let lanes = source.lanes.len() as u64;
    let mut by_lane = vec![Vec::new(); source.lanes.len()];
    for id in ids {
        by_lane[(id % lanes) as usize].push(id / lanes);
    }
    for (lane, mut numbers) in source.lanes.iter().zip(by_lane) {
        numbers.sort_unstable();
        let wrong = numbers.iter().zip(0..).find(|(number, expected)| **number != *expected);
        assert_eq!(wrong, None, "{what}: a row is there twice, or missing");
        let (least, most) = (lane.acknowledged.load(Ordering::Relaxed), lane.sent.load(Ordering::Relaxed));
        let rows = numbers.len() as u64;
        let is_right = if came_as_lines { (least..=most).contains(&rows) } else { rows == least || rows == most };
        assert!(is_right, "{what}: {rows} rows in a lane; {least} were acknowledged of {most}");
    }
}

/// The counts that the console query printed.
fn printed(lines: &[String], query: &str) -> Vec<u64> {
    let begin = format!("{{\"query\":\"{query}\"");
    lines.iter().filter(|line| line.starts_with(&begin)).map(|line| number(line, "\"n\":")).collect()
}

/// The number behind `name` in a line.
fn number(line: &str, name: &str) -> u64 {
    let rest = &line[line.find(name).unwrap_or_else(|| panic!("no {name} in {line}")) + name.len()..];
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().unwrap_or_else(|_| panic!("{line}"))
}

/// Says how long the last batches of each query took.
pub(super) fn report_batches(stand: &Stand, process: &Running) {
    for query in stand.queries() {
        let progress = process.get_json(&format!("/queries/{}/progress", query.name));
        let batches: Vec<_> = progress.as_array().unwrap().iter().filter(|batch| batch["numInputRows"] != 0).collect();
        let mut times: Vec<u64> = batches.iter().map(|batch| batch["batchDuration"].as_u64().unwrap()).collect();
        let rows: u64 = batches.iter().map(|batch| batch["numInputRows"].as_u64().unwrap()).sum();
        times.sort_unstable();
        let at =
            |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or(0);
        println!("{}: {rows} rows in the last {} batches, of p50 {} ms, p99 {} ms", query.name, times.len(), at(50), at(99));
    }
}
