//! `/events`: what the page shows, as server-sent events.
//!
//! Nothing is queued. Each follower remembers what it was sent last, and what has changed since is put together when the connection
//! takes the next event: one that reads slowly skips what came in between, and what nobody follows is never put together.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Service;
use crate::engine::phases::Phases;
use crate::engine::progress::{Ledger, Progress};
use crate::engine::status::{QueryMonitor, QueryStatus};

/// How often is looked for changes.
const EVERY: Duration = Duration::from_millis(250);
/// Looks without a change after which a comment shows that the connection lives.
const SILENCE: u32 = 40;
/// Batches that a page begins with, and that one event adds of the query that is looked at and of the others.
const BATCHES_FIRST: usize = 60;
const BATCHES_SELECTED: usize = 12;
const BATCHES_OTHER: usize = 2;

/// What a follower asks for.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// The query whose rows are wanted too.
    query: Option<String>,
}

/// Answers with events until the follower goes or the process ends.
pub(super) async fn follow(State(service): State<Service>, Query(wanted): Query<Wanted>) -> Response {
    let Ok(place) = service.inner.followers.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
    };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let follower = Follower { service, selected: wanted.query, sent: BTreeMap::new(), silence: 0, ticks, _place: place };
    let events = futures::stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), follower))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

struct Follower {
    service: Service,
    selected: Option<String>,
    sent: BTreeMap<String, Sent>,
    silence: u32,
    ticks: Interval,
    _place: OwnedSemaphorePermit,
}

/// What a follower knows of a query.
struct Sent {
    status: QueryStatus,
    pushed: u64,
    glance: u64,
}

/// What an event says. It is written from these as text at once: with many pages open that is what they cost.
#[derive(Serialize)]
struct Event {
    now: i64,
    queries: Vec<Change>,
    #[serde(flatten)]
    about: Option<About>,
}

/// What only the first event says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About {
    pipeline: String,
    version: &'static str,
    is_insecure: bool,
}

/// What is new of a query.
#[derive(Serialize)]
struct Change {
    name: String,
    batches: Vec<Batch>,
    pushed: u64,
    totals: Ledger,
    status: QueryStatus,
    #[serde(flatten)]
    rows: Option<Rows>,
}

/// Newest rows of a query, as text.
#[derive(Serialize)]
struct Rows {
    results: Value,
    malformed: Value,
}

impl Follower {
    async fn next(&mut self) -> Option<String> {
        let stop = self.service.inner.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                _ = self.ticks.tick() => {}
            }
            let is_first = self.sent.is_empty();
            let service = self.service.clone();
            let queries: Vec<Change> = service.inner.queries.iter().filter_map(|query| self.changes(query)).collect();
            if is_first || !queries.is_empty() {
                self.silence = 0;
                let about = is_first.then(|| About {
                    pipeline: service.inner.pipeline.clone(),
                    version: env!("CARGO_PKG_VERSION"),
                    is_insecure: service.inner.access.is_insecure(),
                });
                let event = Event { now: chrono::Utc::now().timestamp_millis(), queries, about };
                // Numbers, texts and names only: that always works.
                return serde_json::to_string(&event).ok().map(|event| format!("data: {event}\n\n"));
            }
            self.silence += 1;
            if self.silence >= SILENCE {
                self.silence = 0;
                return Some(": still here\n\n".to_owned());
            }
        }
    }

    /// What is new of a query since the last event.
    fn changes(&mut self, query: &QueryMonitor) -> Option<Change> {
        let status = query.status();
        let is_selected = self.selected.as_ref() == Some(&status.name);
        let sent = self.sent.get(&status.name);
        let seen = sent.map_or(0, |sent| sent.pushed);
        let most = match (sent, is_selected) {
            (None, _) => BATCHES_FIRST,
            (Some(_), true) => BATCHES_SELECTED,
            (Some(_), false) => BATCHES_OTHER,
        };
        let glance = query.glance().version();
        let is_glance_new = is_selected && sent.is_none_or(|sent| sent.glance != glance);
        let is_status_new = sent.is_none_or(|sent| sent.status != status);
        if !is_status_new && !is_glance_new && query.progress().pushed() == seen {
            return None;
        }
        let (batches, pushed, totals) = query.progress().since(seen, most, Batch::of);
        let rows = is_glance_new
            .then(|| Rows { results: json!(query.glance().results()), malformed: json!(query.glance().malformed()) });
        let name = status.name.clone();
        self.sent.insert(name.clone(), Sent { status: status.clone(), pushed, glance });
        Some(Change { name, batches, pushed, totals, status, rows })
    }
}

/// One batch, as short as the page needs it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    id: u64,
    at: String,
    ms: u64,
    phases: Option<Phases>,
    r#in: u64,
    out: u64,
    in_per_second: f64,
    trigger_lag_ms: Option<u64>,
    watermark_lag_ms: Option<i64>,
    state_rows: u64,
    state_bytes: u64,
    is_stateful: bool,
}

impl Batch {
    fn of(progress: &Progress) -> Self {
        Self {
            id: progress.batch_id,
            at: progress.timestamp.clone(),
            ms: progress.batch_duration,
            phases: progress.phases,
            r#in: progress.num_input_rows,
            out: progress.ledger.rows_emitted,
            in_per_second: progress.input_rows_per_second,
            trigger_lag_ms: progress.trigger_lag_ms,
            watermark_lag_ms: progress.watermark_lag_ms,
            state_rows: progress.state_operators.iter().map(|operator| operator.num_rows_total).sum(),
            state_bytes: progress.state_operators.iter().map(|operator| operator.memory_used_bytes).sum(),
            is_stateful: !progress.state_operators.is_empty(),
        }
    }
}
