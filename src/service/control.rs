//! `POST /queries/{name}/pause`, `resume`, `stop`, `restart`: one query is controlled while the others go on.
//!
//! Each request that was let in leaves a line in the log, whatever its level: who asked for what, and how it was answered.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};

use tracing::info;

use super::access::Caller;
use super::{Service, unknown};
use crate::engine::control::{Action, Answer, Control};

/// What these lines are filtered by.
const AUDIT: &str = "tidemill::audit";
/// A request says everything in its address; a body of this many bytes at most is taken and not looked at.
const BODY_BYTES_MAX: usize = 4 << 10;
/// How long a body may take, and the answer of a process that is still starting.
const PATIENCE: Duration = Duration::from_secs(5);

/// Passes the request on, and answers with the query's status once it is accepted.
pub(super) async fn act(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Path((name, action)): Path<(String, String)>,
    body: Body,
) -> Response {
    let Some(action) = Action::ALL.into_iter().find(|known| known.name() == action) else {
        return (StatusCode::NOT_FOUND, "a query can be asked to: pause, resume, stop, restart\n").into_response();
    };
    let (Some(query), Some(control)) = (service.find(&name), &service.inner.control) else { return unknown(&service, &name) };
    let response = match ask(control, &name, action, body).await {
        Ok(()) => (StatusCode::ACCEPTED, Json(query.status())).into_response(),
        Err((status, why)) => (status, format!("{why}\n")).into_response(),
    };
    let (token, address, status) = (caller.token.as_deref().unwrap_or("none"), caller.address, response.status().as_u16());
    info!(target: AUDIT, query = name, action = action.name(), token, %address, status, "control asked for");
    response
}

async fn ask(control: &Control, name: &str, action: Action, body: Body) -> Result<(), (StatusCode, String)> {
    match tokio::time::timeout(PATIENCE, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return Err((StatusCode::PAYLOAD_TOO_LARGE, "expected no body".to_owned())),
        Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_owned())),
    }
    match tokio::time::timeout(PATIENCE, control.ask(name, action)).await {
        Ok(Ok(Answer::Accepted)) => Ok(()),
        Ok(Ok(Answer::Refused(why))) => Err((StatusCode::CONFLICT, why.to_string())),
        Ok(Err(error)) => Err((StatusCode::SERVICE_UNAVAILABLE, error.chain())),
        Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, "the queries have not been started yet".to_owned())),
    }
}
