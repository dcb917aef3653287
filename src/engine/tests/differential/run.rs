//! A question run by the real engine on a disk in memory, broken off and started again as its stream says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::SOURCES;
use super::oracle::{self, page};
use super::question::Question;
use super::stream::{Break, Cut, Event, How, Stream};
use crate::checkpoint::storage::FaultVfs;
use crate::checkpoint::{BatchId, Checkpoint, CheckpointRoot, FirstStep, Identity};
use crate::clock::Clock;
use crate::engine::status::QueryMonitor;
use crate::engine::{Query, QueryParts, QuerySink, QuerySource, SourceRows, StopAfter};
use crate::error::Result;
use crate::function::QueryCalls;
use crate::metrics::Metrics;
use crate::plan::OutputMode;
use crate::plan::streaming::StreamingPlan;
use crate::sink::Sink;
use crate::sink::memory::{Memory, MemoryTable};
use crate::source::{Chunk, Offset, OffsetRange, ReadLimit, Source};

/// What a query did.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What reached the sink, batch by batch.
    pub rows: Vec<Vec<RecordBatch>>,
    /// Rows that reached the dead letter.
    pub rows_late: usize,
    /// Rows left in the state, by kind of operator.
    pub state: BTreeMap<String, usize>,
}

/// Plans that are used for one case after another.
pub(super) struct Plans {
    idle: Option<StreamingPlan>,
    metrics: Metrics,
}

impl Plans {
    pub(super) fn new() -> Self {
        Self { idle: None, metrics: Metrics::new().unwrap() }
    }

    /// A plan without state: a new one, or one that is as good as new.
    async fn take(&mut self, question: &Question, is_new: bool) -> StreamingPlan {
        match self.idle.take().filter(|_| !is_new) {
            Some(plan) => plan,
            None => oracle::plan(question).await,
        }
    }

    fn give_back(&mut self, mut plan: StreamingPlan) {
        plan.forget();
        self.idle = Some(plan);
    }
}

/// What of a run outlives the process.
struct Outside {
    disk: FaultVfs,
    rows: MemoryTable,
    late: MemoryTable,
    breaks: Arc<Mutex<Vec<Break>>>,
}

/// What became of a run of the engine.
enum Ended {
    /// There was nothing more to do.
    ByItself,
    /// As this says.
    Broken(Break),
}

/// Runs `question` over `stream` to its end; each start plans anew if `plans_anew`.
pub(super) async fn run(question: &Question, stream: &Stream, plans: &mut Plans, plans_anew: bool) -> Outcome {
    let mut outside = Outside {
        disk: FaultVfs::default(),
        rows: MemoryTable::default(),
        late: MemoryTable::default(),
        breaks: Arc::new(Mutex::new(stream.breaks.clone())),
    };
    let cuts = Arc::new(stream.cuts.clone());
    let mut rested_until = 0;
    loop {
        let plan = plans.take(question, plans_anew).await;
        let (mut query, mut first, script) = open(question, stream, plan, &outside, &cuts, plans, rested_until).await;
        let ended = loop {
            let broken = Arc::new(Mutex::new(None));
            query.parts.stop_after = stop_after(outside.breaks.clone(), broken.clone(), script.stop.clone());
            let ran = query.run_on(first, &script.stop).await;
            let broken: Option<Break> = broken.lock().unwrap().take();
            match (ran, broken) {
                (Ok(()), None) => break Ended::ByItself,
                (Err(_), Some(Break { how: How::Retry, batch, .. })) => {
                    script.go_to(&query);
                    first = FirstStep::Plan(BatchId(batch));
                }
                (Err(_) | Ok(()), Some(broken)) => break Ended::Broken(broken),
                (Err(error), None) => panic!("the query failed: {}", error.chain()),
            }
        };
        let state = state_rows(&query.parts.plan);
        plans.give_back(query.parts.plan);
        drop((query.parts.checkpoint, query.parts.sources, query.parts.sinks));
        let at = script.at.load(Ordering::SeqCst);
        match ended {
            Ended::Broken(Break { how: How::Kill(left) | How::Stop(left), .. }) => outside.disk = outside.disk.after(left),
            Ended::Broken(Break { how: How::Retry, .. }) => {}
            Ended::ByItself if at < cuts.len() => rested_until = at + 1,
            Ended::ByItself => {
                let rows = outside.rows.rows_by_batch().into_iter().map(|(_, rows)| rows).collect();
                let rows_late = outside.late.rows().iter().map(RecordBatch::num_rows).sum();
                return Outcome { rows, rows_late, state };
            }
        }
    }
}

fn state_rows(plan: &StreamingPlan) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for operator in plan.fingerprints() {
        let kind = operator.id.rsplit_once('-').map_or(operator.id.as_str(), |(kind, _)| kind);
        *rows.entry(kind.to_owned()).or_default() += plan.state_rows(&operator.id).unwrap().num_rows();
    }
    rows
}

fn stop_after(breaks: Arc<Mutex<Vec<Break>>>, broken: Arc<Mutex<Option<Break>>>, stop: CancellationToken) -> StopAfter {
    StopAfter::when(move |batch, step| {
        let mut breaks = breaks.lock().unwrap();
        // What was asked to stop tries nothing again.
        let is_now = |each: &Break| {
            each.batch == batch.0 && each.after == step && !(stop.is_cancelled() && matches!(each.how, How::Retry))
        };
        let Some(at) = breaks.iter().position(is_now) else { return false };
        let found = breaks.swap_remove(at);
        *broken.lock().unwrap() = Some(found);
        match found.how {
            How::Retry | How::Kill(_) => true,
            How::Stop(_) => {
                stop.cancel();
                false
            }
        }
    })
}

async fn open(
    question: &Question,
    stream: &Stream,
    plan: StreamingPlan,
    outside: &Outside,
    cuts: &Arc<Vec<Cut>>,
    plans: &Plans,
    rested_until: usize,
) -> (Query, FirstStep, Arc<Script>) {
    let root = CheckpointRoot::open(outside.disk.shared(), "/checkpoint").unwrap();
    let operators = plan.fingerprints().into_iter();
    let identity = Identity {
        time_zone: "UTC".to_owned(),
        sources: plan.scans().iter().map(|scan| scan.source.clone()).collect(),
        operators: operators.map(|operator| (operator.id.clone(), serde_json::to_value(&operator).unwrap())).collect(),
    };
    let (checkpoint, recovered) =
        Checkpoint::open_small(&root, "q", &identity).unwrap_or_else(|error| panic!("{}", error.chain()));
    let script = Arc::new(Script {
        cuts: cuts.clone(),
        at: AtomicUsize::new(0),
        rested_until: AtomicUsize::new(rested_until),
        stop: CancellationToken::new(),
    });
    let sources = plan.scans().iter().map(|scan| QuerySource {
        name: scan.source.clone(),
        source: Box::new(Scripted::new(&scan.source, script.clone())),
        stats: None,
        rows: SourceRows::Columns {
            source: scan.source.as_str().into(),
            projection: scan.projection.clone(),
            metadata: Vec::new(),
        },
        limit: ReadLimit::default(),
        starts_empty: false,
    });
    let sink = |name: &str, table: &MemoryTable| QuerySink {
        name: name.to_owned(),
        sink: Box::new(Memory::new(table.clone(), OutputMode::Append)) as Box<dyn Sink>,
        select: None,
        takes_empty: false,
    };
    let parts = QueryParts {
        name: "q".to_owned(),
        time_zone: "UTC".into(),
        trigger: stream.trigger,
        watermark_policy: question.policy,
        sources: sources.collect(),
        sinks: vec![sink("rows", &outside.rows)],
        dead_letter: Some(sink("late", &outside.late)),
        tables: Vec::new(),
        plan,
        checkpoint,
        recovered,
        calls: QueryCalls::new(("p", "q"), [], 1, &plans.metrics, tokio::runtime::Handle::current()),
        stage_bytes_max: u64::MAX,
        state_bytes_max: u64::MAX,
        clock: Arc::new(Still),
        is_complete: false,
        shows_rows: true,
        monitor: QueryMonitor::new("q"),
        metrics: plans.metrics.query("p", "q"),
        stop_after: StopAfter::default(),
    };
    let (query, first) = Query::open(parts).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    script.go_to(&query);
    (query, first, script)
}

/// A clock that stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now_us(&self) -> i64 {
        1_800_000_000_000_000
    }
}

/// What the sources of a query bring, cut by cut. Offsets count cuts.
struct Script {
    cuts: Arc<Vec<Cut>>,
    /// The next cut.
    at: AtomicUsize,
    /// Rests before this cut are over.
    rested_until: AtomicUsize,
    /// Cancelled when there is nothing more.
    stop: CancellationToken,
}

impl Script {
    /// A batch begins where `query` is.
    fn go_to(&self, query: &Query) {
        let at = query.positions.values().map(|position| position.decode::<usize>().unwrap()).max();
        self.at.store(at.unwrap_or(0), Ordering::SeqCst);
    }

    fn is_resting(&self, at: usize) -> bool {
        self.cuts.get(at).is_none_or(|cut| cut.rests_before && at >= self.rested_until.load(Ordering::SeqCst))
    }
}

struct Scripted {
    index: usize,
    script: Arc<Script>,
}

impl Scripted {
    fn new(name: &str, script: Arc<Script>) -> Self {
        Self { index: SOURCES.iter().position(|source| *source == name).unwrap(), script }
    }
}

#[async_trait]
impl Source for Scripted {
    async fn initial_offset(&mut self) -> Result<Offset> {
        Ok(Offset::encode(&0))
    }

    async fn latest_offset(&mut self, start: &Offset, _limit: &ReadLimit) -> Result<Offset> {
        let at = self.script.at.load(Ordering::SeqCst);
        let brings = !self.script.is_resting(at) && self.script.cuts[at].rows[self.index].is_some();
        Ok(if brings { Offset::encode(&(at + 1)) } else { start.clone() })
    }

    async fn read(&mut self, range: &OffsetRange) -> Result<BoxStream<'static, Result<Chunk>>> {
        let (start, end) = (range.start.decode::<usize>()?, range.end.decode::<usize>()?);
        self.script.at.fetch_max(end, Ordering::SeqCst);
        let rows = self.script.cuts[start..end].iter().filter_map(|cut| cut.rows[self.index].as_ref());
        // In pieces, as rows come from a file.
        let pieces = rows.flat_map(|rows| rows.chunks(4)).map(|events: &[Event]| Ok(Chunk::Rows(page(events))));
        Ok(futures::stream::iter(pieces.collect::<Vec<_>>()).boxed())
    }

    async fn make_durable(&mut self, _end: &Offset) -> Result<()> {
        Ok(())
    }

    async fn changed(&mut self, _end: &Offset) {
        let at = self.script.at.load(Ordering::SeqCst);
        if at < self.script.cuts.len() {
            self.script.rested_until.fetch_max(at + 1, Ordering::SeqCst);
            return;
        }
        self.script.stop.cancel();
        std::future::pending().await
    }

    async fn release(&mut self, _end: &Offset) -> Result<()> {
        Ok(())
    }
}
