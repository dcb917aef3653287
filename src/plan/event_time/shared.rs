//! What the event-time nodes and operators of a plan are told before a batch, and what they report after it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;

/// Shared by a plan and its nodes; values are set before a batch runs and reports are taken after it.
///
/// Each operator has its own view ([`behind`](Self::behind)): a join holds its rows back, so operators above it see a watermark that
/// lies that far behind the query's.
#[derive(Debug)]
pub struct EventTime {
    batch: Arc<Batch>,
    /// How far the watermark that is seen lies behind the query's; `None` if there is none to see.
    lag_ms: Option<i64>,
}

#[derive(Debug, Default)]
struct Batch {
    batch_time_us: AtomicI64,
    watermark_ms: AtomicI64,
    late_watermark_ms: AtomicI64,
    keeps_rows: AtomicBool,
    report: Mutex<EventTimeReport>,
}

impl Default for EventTime {
    fn default() -> Self {
        Self { batch: Arc::default(), lag_ms: Some(0) }
    }
}

/// Event times that a watermark saw in a batch. A null counts as 1970, as it does in Spark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// The latest, in milliseconds since 1970.
    pub max_ms: i64,
    /// The earliest, in milliseconds since 1970.
    pub min_ms: i64,
    /// The sum of all, in milliseconds.
    pub sum_ms: i128,
    /// How many there were.
    pub rows: u64,
}

impl Observed {
    /// Both together.
    fn and(self, other: Self) -> Self {
        Self {
            max_ms: self.max_ms.max(other.max_ms),
            min_ms: self.min_ms.min(other.min_ms),
            sum_ms: self.sum_ms + other.sum_ms,
            rows: self.rows + other.rows,
        }
    }
}

/// What a batch saw of event times, and what it set aside.
#[derive(Debug, Clone, Default)]
pub struct EventTimeReport {
    /// What each watermark saw, by its id; those that saw no row are not in it.
    pub observed: BTreeMap<String, Observed>,
    /// Rows that an operator judged late.
    pub rows_late: u64,
    /// Rows set aside because their event time lies too far in the future.
    pub rows_future: u64,
    /// Rows that a function could not answer, and that its declaration lets pass as null or drops.
    pub rows_failed_call: u64,
    /// The rows of all kinds, if they are wanted.
    pub set_aside: Vec<SetAside>,
}

/// Why rows were set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetAsideKind {
    /// Older than the watermark.
    Late,
    /// Further in the future than is believed.
    Future,
    /// A function did not answer.
    FailedCall,
}

impl SetAsideKind {
    /// The word for it in dead letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Future => "future",
            Self::FailedCall => "failed_call",
        }
    }
}

/// Rows that were set aside, as the operator saw them.
#[derive(Debug, Clone)]
pub struct SetAside {
    /// Why.
    pub kind: SetAsideKind,
    /// The operator, watermark or function that did it.
    pub operator: String,
    /// The watermark they were judged by, in milliseconds since 1970, if it was one.
    pub watermark_ms: Option<i64>,
    /// The column that was judged, if it was one.
    pub field: Option<String>,
    /// What was wrong.
    pub reason: String,
    /// The rows.
    pub rows: RecordBatch,
}

impl EventTime {
    /// The same batches, as an operator sees them whose watermark lies `lag_ms` behind the query's, or who has none.
    pub fn behind(&self, lag_ms: Option<i64>) -> Arc<Self> {
        Arc::new(Self { batch: self.batch.clone(), lag_ms })
    }

    /// How far the watermark that is seen here lies behind the query's, in milliseconds; `None` if there is none to see.
    pub fn lag_ms(&self) -> Option<i64> {
        self.lag_ms
    }

    /// The query's watermark as it is seen here: one that has not moved yet is 1970, and none is older.
    fn seen(&self, watermark: &AtomicI64) -> i64 {
        let query_ms = watermark.load(Ordering::Acquire);
        match self.lag_ms {
            Some(0) => query_ms,
            Some(lag_ms) => query_ms.saturating_sub(lag_ms).max(0),
            None => 0,
        }
    }

    /// Sets what the next run is told, and forgets the reports of the last one.
    pub fn begin(&self, batch_time_us: i64, watermark_ms: i64, late_watermark_ms: i64) {
        self.batch.batch_time_us.store(batch_time_us, Ordering::Release);
        self.batch.watermark_ms.store(watermark_ms, Ordering::Release);
        self.batch.late_watermark_ms.store(late_watermark_ms, Ordering::Release);
        *self.report() = EventTimeReport::default();
    }

    /// Whether rows that are set aside are wanted, not only their number.
    pub fn keep_rows(&self, keep: bool) {
        self.batch.keeps_rows.store(keep, Ordering::Release);
    }

    /// The batch's time, in microseconds since 1970.
    pub fn batch_time_us(&self) -> i64 {
        self.batch.batch_time_us.load(Ordering::Acquire)
    }

    /// The watermark by which state expires, in milliseconds since 1970.
    pub fn watermark_ms(&self) -> i64 {
        self.seen(&self.batch.watermark_ms)
    }

    /// The watermark by which rows are late: that of the batch before, in milliseconds since 1970.
    pub fn late_watermark_ms(&self) -> i64 {
        self.seen(&self.batch.late_watermark_ms)
    }

    /// Takes in what the watermark `id` saw.
    pub fn observed(&self, id: &str, seen: Observed) {
        let mut report = self.report();
        let both = report.observed.get(id).map_or(seen, |before| before.and(seen));
        report.observed.insert(id.to_owned(), both);
    }

    /// Counts rows that were set aside, and keeps them if they are wanted.
    pub fn set_aside(&self, aside: SetAside) {
        let mut report = self.report();
        let rows = aside.rows.num_rows() as u64;
        match aside.kind {
            SetAsideKind::Late => report.rows_late += rows,
            SetAsideKind::Future => report.rows_future += rows,
            SetAsideKind::FailedCall => report.rows_failed_call += rows,
        }
        if self.batch.keeps_rows.load(Ordering::Acquire) && rows > 0 {
            report.set_aside.push(aside);
        }
    }

    /// What the last run reported.
    pub fn take_report(&self) -> EventTimeReport {
        std::mem::take(&mut *self.report())
    }

    fn report(&self) -> MutexGuard<'_, EventTimeReport> {
        // Reports of a run that panicked are forgotten by the next one.
        self.batch.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
