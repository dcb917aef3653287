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
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Service;
use crate::engine::progress::Progress;
use crate::engine::status::QueryMonitor;

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
    status: Value,
    pushed: u64,
    glance: u64,
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
            let changed: Vec<Value> = service.inner.queries.iter().filter_map(|query| self.changes(query)).collect();
            if is_first || !changed.is_empty() {
                self.silence = 0;
                let mut event = json!({ "now": chrono::Utc::now().timestamp_millis(), "queries": changed });
                if is_first {
                    event["pipeline"] = json!(service.inner.pipeline);
                    event["version"] = json!(env!("CARGO_PKG_VERSION"));
                    event["isInsecure"] = json!(service.inner.access.is_insecure());
                }
                return Some(format!("data: {event}\n\n"));
            }
            self.silence += 1;
            if self.silence >= SILENCE {
                self.silence = 0;
                return Some(": still here\n\n".to_owned());
            }
        }
    }

    /// What is new of a query since the last event.
    fn changes(&mut self, query: &QueryMonitor) -> Option<Value> {
        let status = query.status();
        let name = status.name.clone();
        let is_selected = self.selected.as_ref() == Some(&name);
        let status = json!(status);
        let sent = self.sent.get(&name);
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
        let (batches, pushed, totals) = query.progress().since(seen, most, batch);
        let mut change = json!({ "name": name, "batches": batches, "pushed": pushed, "totals": totals, "status": status });
        if is_glance_new {
            change["results"] = json!(query.glance().results());
            change["malformed"] = json!(query.glance().malformed());
        }
        self.sent.insert(name, Sent { status, pushed, glance });
        Some(change)
    }
}

/// One batch, as short as the page needs it.
fn batch(progress: &Progress) -> Value {
    let rows: u64 = progress.state_operators.iter().map(|operator| operator.num_rows_total).sum();
    let bytes: u64 = progress.state_operators.iter().map(|operator| operator.memory_used_bytes).sum();
    json!({
        "id": progress.batch_id,
        "at": progress.timestamp,
        "ms": progress.batch_duration,
        "phases": progress.phases,
        "in": progress.num_input_rows,
        "out": progress.ledger.rows_emitted,
        "inPerSecond": progress.input_rows_per_second,
        "triggerLagMs": progress.trigger_lag_ms,
        "watermarkLagMs": progress.watermark_lag_ms,
        "stateRows": rows,
        "stateBytes": bytes,
        "isStateful": !progress.state_operators.is_empty(),
    })
}
