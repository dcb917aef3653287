//! What a query must put out: which rows are in time is judged row by row, and the same SQL runs once over those.

use std::collections::{BTreeMap, BTreeSet};

use super::oracle::Oracle;
use super::question::{Dedup, Gap, Late, Question, ResultRows, Windows};
use super::stream::{Event, Stream};
use crate::pipeline::Trigger;
use crate::plan::OutputMode;
use crate::watermark::WatermarkPolicy;

/// A batch as it must come about.
#[derive(Debug)]
pub(super) struct ModelBatch {
    /// Rows per source.
    pub rows: Vec<Vec<Event>>,
    /// By which state ends.
    pub watermark_ms: i64,
    /// By which rows are late: that of the batch before.
    pub late_watermark_ms: i64,
}

/// What must come out.
#[derive(Debug)]
pub(super) struct Expected {
    /// Sorted.
    pub rows: Vec<String>,
    /// Rows that operators set aside, if that can be told.
    pub rows_late: Option<usize>,
    /// Rows that are left in the state, by kind of operator.
    pub state: BTreeMap<&'static str, usize>,
}

/// The batches that a stream is cut into.
pub(super) fn batches(question: &Question, stream: &Stream) -> Vec<ModelBatch> {
    let mut batches = Vec::new();
    let mut reached: Vec<Option<i64>> = vec![None; question.delays_ms.len()];
    let (mut watermark_ms, mut late_watermark_ms) = (0, 0);
    let runs_empty = question.runs_on_watermark && stream.trigger != Trigger::Once;
    for number in 0..=stream.cuts.len() {
        let cut = stream.cuts.get(number);
        if cut.is_none_or(|cut| cut.rests_before) && runs_empty && watermark_ms > late_watermark_ms {
            let rows = vec![Vec::new(); question.delays_ms.len()];
            batches.push(ModelBatch { rows, watermark_ms, late_watermark_ms });
            late_watermark_ms = watermark_ms;
        }
        let Some(cut) = cut else { break };
        let rows: Vec<Vec<Event>> = cut.rows.iter().map(|rows| rows.clone().unwrap_or_default()).collect();
        for (source, (rows, reached)) in rows.iter().zip(&mut reached).enumerate() {
            let delay_ms = question.delays_ms[source];
            let sees_all = question.filter.is_behind_watermark() || question.deduplication.is_some();
            let sees_key = |event: &Event| question.sees_null_keys[source] || event.key.is_some();
            let seen = rows.iter().filter(|event| sees_key(event) && (sees_all || question.filter.passes(event)));
            let latest = seen.map(|event| event.us.unwrap_or(0).div_euclid(1000) - delay_ms).max();
            *reached = (*reached).max(latest);
        }
        batches.push(ModelBatch { rows, watermark_ms, late_watermark_ms });
        late_watermark_ms = watermark_ms;
        let reached = reached.iter().map(|reached| reached.unwrap_or(0));
        let chosen = match question.policy {
            WatermarkPolicy::Min => reached.min(),
            WatermarkPolicy::Max => reached.max(),
        };
        watermark_ms = watermark_ms.max(chosen.unwrap_or(0));
    }
    batches
}

/// A row that an operator may find late.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    pub event: Event,
    pub source: usize,
    pub batch: usize,
    /// By which it is judged.
    pub late_us: i64,
}

/// What `question` must put out over `batches`.
pub(super) async fn expected(question: &Question, batches: &[ModelBatch], oracle: &mut Oracle) -> Expected {
    let mut expected = Expected { rows: Vec::new(), rows_late: None, state: BTreeMap::new() };
    let mut rows_late = 0;
    let mut arrived = Vec::new();
    for source in 0..question.delays_ms.len() {
        let mut known = question.deduplication.map(|dedup| Known::new(dedup, question.delays_ms[source]));
        for (number, batch) in batches.iter().enumerate() {
            let late_us = batch.late_watermark_ms * 1000;
            for event in &batch.rows[source] {
                if known.is_some() && event.us.is_some_and(|us| us <= late_us) {
                    rows_late += 1;
                } else if known.as_mut().is_none_or(|known| known.is_new(event)) {
                    arrived.push(Arrived { event: *event, source, batch: number, late_us });
                }
            }
            if let Some(known) = &mut known {
                known.forget(batch.watermark_ms * 1000);
            }
        }
        if let Some(known) = known {
            *expected.state.entry(known.operator()).or_default() += known.until_us.len();
        }
    }
    let last_us = batches.last().map_or(0, |batch| batch.watermark_ms * 1000);
    let passing = arrived.iter().filter(|row| question.filter.passes(&row.event));
    let rows = match question.late {
        Late::Never => oracle.ask(&rows_of(question, arrived.iter())).await,
        Late::ByTime => {
            let is_late = |row: &&Arrived| row.event.us.is_some_and(|us| us <= row.late_us);
            rows_late += passing.filter(is_late).count();
            oracle.ask(&rows_of(question, arrived.iter().filter(|row| !is_late(row)))).await
        }
        Late::ByWindow(windows) => {
            rows_late += passing.map(|row| late_ends(windows, row).count()).sum::<usize>();
            by_window(question, windows, &arrived, oracle).await
        }
        Late::BySession(gap) => {
            let rows: Vec<Arrived> = passing.copied().collect();
            let sessions = sessions(gap, question.mode == OutputMode::Complete, &rows, batches);
            rows_late += sessions.rows_late;
            expected.state.insert("session", sessions.open);
            sessions.lines
        }
        Late::InJoin(join) => {
            let rows: Vec<Arrived> = passing.copied().collect();
            let joined = join.of(&rows, batches);
            rows_late += joined.rows_late;
            expected.state.insert("join-0", joined.kept);
            joined.lines
        }
    };
    expected.rows_late = question.counts_late.then_some(rows_late);
    let ends = |row: &String| row.split(' ').next().and_then(|ends| ends.parse::<i64>().ok());
    let is_ending = matches!(question.result, ResultRows::Ending(_)) && question.mode != OutputMode::Complete;
    if question.counts_state {
        let open = rows.iter().filter(|row| !is_ending || ends(row).is_none_or(|ends| ends > last_us)).count();
        expected.state.insert("aggregate", open);
    }
    expected.rows = rows;
    if is_ending && question.mode == OutputMode::Append {
        expected.rows.retain(|row| ends(row).is_some_and(|ends| ends <= last_us));
    }
    expected.rows.sort();
    expected
}

/// The windows of a row for which it is late, by their ends.
fn late_ends(windows: Windows, row: &Arrived) -> impl Iterator<Item = i64> {
    let late_us = row.late_us;
    row.event.us.into_iter().flat_map(move |us| windows.ends(us)).filter(move |end| *end <= late_us)
}

/// Each window over the rows that are in time for it. Those for which no row is late are answered together.
async fn by_window(question: &Question, windows: Windows, arrived: &[Arrived], oracle: &mut Oracle) -> Vec<String> {
    if windows.is_tumbling() {
        return oracle.ask(&rows_of(question, arrived.iter().filter(|row| late_ends(windows, row).next().is_none()))).await;
    }
    let touched: BTreeSet<i64> = arrived.iter().flat_map(|row| late_ends(windows, row)).collect();
    let is_of = |row: &String, end: i64| row.split(' ').next() == Some(end.to_string().as_str());
    let mut rows = oracle.ask(&rows_of(question, arrived.iter())).await;
    rows.retain(|row| !touched.iter().any(|end| is_of(row, *end)));
    for end in touched {
        let in_time = |row: &&Arrived| row.late_us < end && row.event.us.is_some_and(|us| windows.ends(us).any(|of| of == end));
        let of_window = oracle.ask(&rows_of(question, arrived.iter().filter(in_time))).await;
        rows.extend(of_window.into_iter().filter(|row| is_of(row, end)));
    }
    rows
}

/// Rows of a key that follow each other.
#[derive(Debug)]
struct Session {
    key: Option<i64>,
    start: i64,
    end: i64,
    values: Vec<i64>,
}

#[derive(Debug, Default)]
struct Sessions {
    lines: Vec<String>,
    rows_late: usize,
    /// How many are left in the end.
    open: usize,
}

/// Sessions of rows that are taken in one by one. If they are `kept` none ends, but rows are late all the same: that is how Spark does it.
fn sessions(gap: Gap, kept: bool, rows: &[Arrived], batches: &[ModelBatch]) -> Sessions {
    let mut all = Sessions::default();
    let mut open: Vec<Session> = Vec::new();
    let mut ended = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        for Arrived { event, late_us, .. } in rows.iter().filter(|row| row.batch == number) {
            let (Some(start), gap_us) = (event.us, gap.us(event)) else { continue };
            if gap_us > 0 && start + gap_us <= *late_us {
                all.rows_late += 1;
            } else if gap_us > 0 {
                let mut session = Session { key: event.key, start, end: start + gap_us, values: vec![event.value] };
                let touches = |a: &Session, b: &Session| a.key == b.key && a.start <= b.end && b.start <= a.end;
                while let Some(at) = open.iter().position(|other| touches(&session, other)) {
                    let other = open.swap_remove(at);
                    (session.start, session.end) = (session.start.min(other.start), session.end.max(other.end));
                    session.values.extend(other.values);
                }
                open.push(session);
            }
        }
        if !kept {
            ended.extend(open.extract_if(.., |session| session.end <= batch.watermark_ms * 1000));
        }
    }
    all.open = open.len();
    let shown = if kept { open } else { ended };
    all.lines = shown.iter().map(Session::line).collect();
    all
}

impl Session {
    fn line(&self) -> String {
        let Self { key, start, end, values } = self;
        let key = key.map_or_else(|| "null".to_owned(), |key| key.to_string());
        let (least, most) = (values.iter().min().unwrap(), values.iter().max().unwrap());
        format!("{end} {start} {key} {} {} {least} {most}", values.len(), values.iter().sum::<i64>())
    }
}

fn rows_of<'a>(question: &Question, arrived: impl Iterator<Item = &'a Arrived>) -> Vec<Vec<Event>> {
    let mut rows = vec![Vec::new(); question.delays_ms.len()];
    for row in arrived {
        rows[row.source].push(row.event);
    }
    rows
}

/// The rows that a deduplication remembers, by what tells them apart, with the time at which each is forgotten, if it is.
struct Known {
    dedup: Dedup,
    delay_us: i64,
    until_us: BTreeMap<Vec<Option<i64>>, Option<i64>>,
}

impl Known {
    fn new(dedup: Dedup, delay_ms: i64) -> Self {
        Self { dedup, delay_us: delay_ms * 1000, until_us: BTreeMap::new() }
    }

    fn operator(&self) -> &'static str {
        if self.dedup.within_watermark { "deduplicate_within_watermark" } else { "deduplicate" }
    }

    fn is_new(&mut self, event: &Event) -> bool {
        let column = |name: &&str| match *name {
            "ts" => event.us,
            "k" => event.key,
            _ => Some(event.value),
        };
        let key: Vec<Option<i64>> = self.dedup.by.iter().map(column).collect();
        if self.until_us.contains_key(&key) {
            return false;
        }
        let until_us = match self.dedup {
            Dedup { within_watermark: true, .. } => Some(event.us.unwrap_or(0) + self.delay_us),
            Dedup { by, .. } => event.us.filter(|_| by.contains(&"ts")),
        };
        self.until_us.insert(key, until_us);
        true
    }

    fn forget(&mut self, watermark_us: i64) {
        self.until_us.retain(|_, until_us| until_us.is_none_or(|until_us| until_us > watermark_us));
    }
}
