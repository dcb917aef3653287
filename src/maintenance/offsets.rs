//! From where a query reads on, and how to move that.
//!
//! A move is a batch of its own that reads nothing: planned from the new place to the new place, decided without output and
//! committed. So it is as durable as any batch, a crash in between leaves the old place or the new one, and the log tells of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::checkpoint::{
    BatchId, Checkpoint, CheckpointRoot, FirstStep, Inspection, LastBatch, PlannedBatch, PreparedBatch, inspect,
};
use crate::error::{Error, ErrorKind, Result};
use crate::source::kafka::{KafkaSettings, KafkaSource, KafkaStart, NoneSince, Wanted};
use crate::source::{Extent, Offset, OffsetRange, Source, file, ingest, kafka};

/// From where a query reads a source on.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceOffset {
    /// Where its next batch begins.
    pub offset: Offset,
    /// The oldest and the newest place that what is kept under the root has: of an ingest log or a list of files.
    pub kept: Option<OffsetRange>,
    /// The range of a batch that is planned and not decided.
    pub planned: Option<OffsetRange>,
}

/// Where a query is to read on.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// The oldest place that is kept.
    Earliest,
    /// Behind all that is kept.
    Latest,
    /// The first line of an ingest log that was received then or later, or message of Kafka, in microseconds since 1970.
    Time(i64),
    /// An offset as [`offsets`] shows it; of Kafka `{topic: {partition: offset}}`, the others stay.
    Offset(Value),
    /// Where a cluster said that it is: [`ask_kafka`].
    Asked(Offset),
}

/// A move that was checked and not done yet.
#[derive(Debug)]
pub struct Move {
    inspection: Inspection,
    query: String,
    source: String,
    /// Where the query would have read on.
    pub from: Offset,
    /// Where it will.
    pub to: Offset,
    /// The batch that is planned, not decided, and will be planned anew.
    pub replans: Option<BatchId>,
}

/// From where `query` reads on, by source. No such query is [`ErrorKind::Config`].
pub fn offsets(root: &CheckpointRoot, query: &str) -> Result<BTreeMap<String, SourceOffset>> {
    let inspection = inspect(root.vfs(), root.path(), query)?;
    let planned = match &inspection.recovered.first_step {
        FirstStep::Run(plan) => Some(plan.sources.clone()),
        FirstStep::Plan(_) | FirstStep::CommitSinks(..) => None,
    };
    let mut found = BTreeMap::new();
    for (source, offset) in next_offsets(&inspection) {
        let kept = match Kept::of(root, query, &source)? {
            Some(kept) => Some(OffsetRange { start: kept.place(&Target::Earliest)?, end: kept.place(&Target::Latest)? }),
            None => None,
        };
        let planned = planned.as_ref().and_then(|ranges| ranges.get(&source).cloned());
        found.insert(source, SourceOffset { offset, kept, planned });
    }
    Ok(found)
}

/// Checks that `source` of `query` can be read on from `target`; changes nothing. What cannot be is [`ErrorKind::Config`].
pub fn plan_move(root: &CheckpointRoot, query: &str, source: &str, target: &Target) -> Result<Move> {
    let inspection = inspect(root.vfs(), root.path(), query)?;
    let replans = match &inspection.recovered.first_step {
        FirstStep::Plan(_) => None,
        FirstStep::Run(plan) => Some(plan.batch),
        FirstStep::CommitSinks(plan, _) => {
            let message = format!(
                "batch {} of query {query} is decided and not in every sink yet: start the query once, so that it is, and try again",
                plan.batch
            );
            return Err(Error::config(message));
        }
    };
    let offsets = next_offsets(&inspection);
    let Some(from) = offsets.get(source).cloned() else {
        let known: Vec<&str> = offsets.keys().map(String::as_str).collect();
        let known =
            if known.is_empty() { "it has not planned a batch".to_owned() } else { format!("it reads {}", known.join(", ")) };
        return Err(Error::config(format!("query {query} has no offset of source {source}: {known}")));
    };
    let to = match (Kept::of(root, query, source)?, target) {
        (Some(kept), target) => kept.place(target)?,
        (None, Target::Offset(wanted)) => elsewhere(&from, wanted)?,
        (None, Target::Asked(at)) if kafka::moved(&from, &Value::Object(serde_json::Map::new())).is_some() => at.clone(),
        (None, _) => {
            let message = format!(
                "nothing of source {source} is kept under the root: set an offset, or name the pipeline by --file, so that its cluster is asked"
            );
            return Err(Error::config(message));
        }
    };
    Ok(Move { inspection, query: query.to_owned(), source: source.to_owned(), from, to, replans })
}

impl Move {
    /// Does it, durably.
    pub fn apply(self, root: &CheckpointRoot) -> Result<()> {
        let (mut checkpoint, recovered) = Checkpoint::open(root, &self.query, &self.inspection.identity)?;
        if recovered.first_step != self.inspection.recovered.first_step {
            return Err(Error::internal(format!("the checkpoint of query {} changed while it was locked", self.query)));
        }
        let mut offsets = next_offsets(&self.inspection);
        let moved = json!({ self.source.as_str(): { "from": self.from.as_json(), "to": self.to.as_json() } });
        offsets.insert(self.source, self.to);
        let plan = empty_batch(&self.inspection, offsets);
        let (mut summary, next_watermark_ms) = match &recovered.last {
            Some(LastBatch { summary: Value::Object(summary), next_watermark_ms, .. }) => (summary.clone(), *next_watermark_ms),
            Some(last) => (serde_json::Map::new(), last.next_watermark_ms),
            None => (serde_json::Map::new(), 0),
        };
        // The rows that it tells of are those of another batch.
        summary.remove("ledger");
        summary.insert("moved".to_owned(), moved);
        let batch = plan.batch;
        checkpoint.planned(&plan)?;
        checkpoint.prepared(&PreparedBatch {
            batch,
            outputs: Vec::new(),
            state: Vec::new(),
            next_watermark_ms,
            summary: Value::Object(summary),
            inputs: BTreeMap::new(),
        })?;
        checkpoint.committed(batch, Value::Null)?;
        checkpoint.sync()
    }
}

/// The batch that comes next, reading nothing. Its watermarks are those of the batch before, so that the one after it begins as this
/// one would have.
fn empty_batch(inspection: &Inspection, offsets: BTreeMap<String, Offset>) -> PlannedBatch {
    let recovered = &inspection.recovered;
    let (batch, of_plan_us) = match &recovered.first_step {
        FirstStep::Plan(batch) => (*batch, 0),
        FirstStep::Run(plan) | FirstStep::CommitSinks(plan, _) => (plan.batch, plan.batch_time_us),
    };
    let last = recovered.last.as_ref().map(|last| &last.planned);
    PlannedBatch {
        batch,
        batch_time_us: last.map_or(of_plan_us, |last| last.batch_time_us),
        sources: offsets.into_iter().map(|(source, at)| (source, OffsetRange { start: at.clone(), end: at })).collect(),
        watermark_ms: last.map_or(0, |last| last.watermark_ms),
        late_watermark_ms: last.map_or(0, |last| last.late_watermark_ms),
        seed: 0,
    }
}

/// Where the next batch begins that reads anything not decided yet.
fn next_offsets(inspection: &Inspection) -> BTreeMap<String, Offset> {
    crate::checkpoint::needed_from(&inspection.recovered)
}

/// What a root keeps of a source.
enum Kept<'a> {
    Log(&'a CheckpointRoot, PathBuf),
    List(&'a CheckpointRoot, PathBuf),
}

impl<'a> Kept<'a> {
    fn of(root: &'a CheckpointRoot, query: &str, source: &str) -> Result<Option<Self>> {
        let list = format!("{query}.{source}");
        for (name, dir) in root.source_dirs()? {
            if name == source && ingest::has_log(root.vfs(), &dir)? {
                return Ok(Some(Self::Log(root, dir)));
            }
            if name == list && file::examine(root.vfs(), &dir)?.is_some() {
                return Ok(Some(Self::List(root, dir)));
            }
        }
        Ok(None)
    }

    fn place(&self, target: &Target) -> Result<Offset> {
        match self {
            Self::Log(root, dir) => {
                let log = ingest::Places::open(root.vfs(), dir)?;
                match target {
                    Target::Earliest => Ok(log.earliest()),
                    Target::Latest => Ok(log.latest()),
                    Target::Time(at_us) => log.at_time(*at_us),
                    Target::Offset(offset) => log.at(offset),
                    Target::Asked(_) => Err(asked_in_vain()),
                }
            }
            Self::List(root, dir) => {
                let (earliest, latest) = file::places(root.vfs(), dir)?;
                match target {
                    Target::Earliest => Ok(earliest),
                    Target::Latest => Ok(latest),
                    Target::Time(_) => Err(Error::config("files are taken by name, so that no time can be set")),
                    Target::Offset(wanted) => file::place_between(&earliest, &latest, wanted),
                    Target::Asked(_) => Err(asked_in_vain()),
                }
            }
        }
    }
}

fn asked_in_vain() -> Error {
    Error::config("what the root keeps of the source tells where it is: --file is for Kafka")
}

/// Asks the cluster of a Kafka source where `target` is in each partition that it reads: [`Target::Earliest`], [`Target::Latest`], or a time,
/// which is the end of a partition that has nothing since. `client` names us where the settings name no group.
///
/// # Errors
/// [`ErrorKind::Config`] for another target, wrong credentials or topics, [`ErrorKind::Unavailable`] when nobody answers.
pub async fn ask_kafka(settings: &KafkaSettings, client: &str, target: &Target) -> Result<Target> {
    let start = match target {
        Target::Earliest => KafkaStart::Earliest,
        Target::Latest => KafkaStart::Latest,
        Target::Time(at_us) => {
            KafkaStart::Timestamp(at_us.div_euclid(1000) + i64::from(at_us.rem_euclid(1000) > 0), NoneSince::Latest)
        }
        Target::Offset(_) | Target::Asked(_) => return Err(Error::config("a cluster is not asked for an offset")),
    };
    let settings = KafkaSettings { start, ..settings.clone() };
    let mut source = KafkaSource::open(settings, client, Wanted::default(), Extent::Endless).await?;
    Ok(Target::Asked(source.initial_offset().await?))
}

/// An offset of a source of which the root keeps nothing.
fn elsewhere(from: &Offset, wanted: &Value) -> Result<Offset> {
    if let Some(moved) = kafka::moved(from, wanted) {
        return moved;
    }
    let names = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
    if names(from.as_json()) != names(wanted) {
        let message = format!("expected an offset like {}, found {wanted}", from.as_json());
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(Offset::encode(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::storage::fault::{Fault, FaultVfs, Left};
    use crate::checkpoint::{Identity, StagedOutput, StateChange};

    const ROOT: &str = "/ckpt";

    fn open(vfs: &FaultVfs) -> Result<CheckpointRoot> {
        CheckpointRoot::open(vfs.shared(), ROOT)
    }

    fn identity() -> Identity {
        let operators = [("aggregate-0".to_owned(), json!({"kind": "aggregate"}))].into();
        Identity { time_zone: "UTC".to_owned(), sources: ["a".to_owned(), "b".to_owned()].into(), operators }
    }

    fn plan(n: u64) -> PlannedBatch {
        let range = |by: u64| OffsetRange {
            start: Offset::encode(&json!({"at": n * by})),
            end: Offset::encode(&json!({"at": (n + 1) * by})),
        };
        PlannedBatch {
            batch: BatchId(n),
            batch_time_us: 7 + i64::try_from(n).unwrap(),
            sources: [("a".to_owned(), range(10)), ("b".to_owned(), range(100))].into(),
            watermark_ms: 50,
            late_watermark_ms: 40,
            seed: 1,
        }
    }

    /// Two committed batches, and a third one that is planned and perhaps decided.
    fn made(is_planned: bool, is_decided: bool) -> FaultVfs {
        let vfs = FaultVfs::default();
        let (mut checkpoint, _) = Checkpoint::open(&open(&vfs).unwrap(), "q", &identity()).unwrap();
        for n in 0..3 {
            if n < 2 || is_planned {
                checkpoint.planned(&plan(n)).unwrap();
            }
            if n < 2 || is_decided {
                checkpoint.prepared(&prepared(n)).unwrap();
            }
            if n < 2 {
                checkpoint.committed(BatchId(n), Value::Null).unwrap();
            }
        }
        checkpoint.sync().unwrap();
        drop(checkpoint);
        vfs.after(Left::Everything)
    }

    fn prepared(n: u64) -> PreparedBatch {
        PreparedBatch {
            batch: BatchId(n),
            outputs: vec![StagedOutput { sink: "out".to_owned(), number: n, bytes: "rows".into() }],
            state: vec![StateChange { operator: "aggregate-0".to_owned(), bytes: "page".into() }],
            next_watermark_ms: 60,
            summary: json!({"ledger": {"rows": n}, "watermarks": {"policy": "min", "nodes": {"a": 60}}}),
            inputs: BTreeMap::new(),
        }
    }

    fn move_a(vfs: &FaultVfs, to: Value) -> Result<()> {
        let root = open(vfs)?;
        plan_move(&root, "q", "a", &Target::Offset(to))?.apply(&root)
    }

    fn found(vfs: &FaultVfs) -> Inspection {
        inspect(&vfs.shared(), std::path::Path::new(ROOT), "q").unwrap()
    }

    #[test]
    fn a_move_changes_the_place_and_nothing_else() {
        for is_planned in [false, true] {
            let vfs = made(is_planned, false);
            let before = found(&vfs).recovered;
            move_a(&vfs, json!({"at": 3})).unwrap();
            let after = found(&vfs);
            let offsets: Vec<String> = next_offsets(&after).values().map(|offset| offset.as_json().to_string()).collect();
            assert_eq!(offsets, [r#"{"at":3}"#, r#"{"at":200}"#], "the other source goes on where it was");
            let after = after.recovered;
            assert_eq!(after.first_step, FirstStep::Plan(BatchId(3)));
            assert_eq!((&after.state, &after.sink_numbers), (&before.state, &before.sink_numbers));
            let (was, is) = (before.last.unwrap(), after.last.unwrap());
            let clocks = |last: &LastBatch| {
                let plan = &last.planned;
                (plan.watermark_ms, plan.late_watermark_ms, plan.batch_time_us, last.next_watermark_ms)
            };
            assert_eq!(clocks(&is), clocks(&was));
            assert_eq!(is.summary["watermarks"], was.summary["watermarks"]);
            assert_eq!(is.summary["moved"], json!({"a": {"from": {"at": 20}, "to": {"at": 3}}}));
            assert!(is.summary.get("ledger").is_none());
        }
    }

    #[test]
    fn a_power_cut_at_any_operation_leaves_the_old_place_or_the_new_one() {
        let whole = made(true, false);
        let mut news = 0;
        for operation in 0.. {
            let vfs = whole.after(Left::Everything);
            vfs.fail_at(vfs.operations() + operation, Fault::PowerCut);
            let done = move_a(&vfs, json!({"at": 3})).is_ok();
            for seed in 0..4 {
                let after = vfs.after(Left::Any(seed));
                let root = open(&after).unwrap();
                let (_, recovered) = Checkpoint::open(&root, "q", &identity()).unwrap();
                let place = crate::checkpoint::needed_from(&recovered)["a"].as_json()["at"].clone();
                assert!(place == 3 || (place == 20 && !done), "operation {operation}: {place}");
                news += u64::from(place == 3 && !done);
            }
            if done {
                break;
            }
        }
        assert!(news > 0, "no cut was late enough to leave the new place");
    }

    #[test]
    fn what_cannot_be_moved_is_refused() {
        let refused = |vfs: &FaultVfs, source: &str, target: Target| {
            let error = plan_move(&open(vfs).unwrap(), "q", source, &target).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            error.chain()
        };
        let at = |at: u64| Target::Offset(json!({ "at": at }));
        assert!(refused(&made(true, true), "a", at(3)).contains("batch 2 of query q is decided and not in every sink yet"));
        let vfs = made(false, false);
        assert!(refused(&vfs, "c", at(3)).contains("has no offset of source c: it reads a, b"));
        assert!(refused(&vfs, "a", Target::Earliest).contains("nothing of source a is kept"));
        assert!(refused(&vfs, "a", Target::Offset(json!(3))).contains(r#"expected an offset like {"at":20}, found 3"#));
        let fresh = FaultVfs::default();
        drop(Checkpoint::open(&open(&fresh).unwrap(), "q", &identity()).unwrap());
        assert!(refused(&fresh, "a", at(3)).contains("it has not planned a batch"));
    }
}
