//! Objects of a store in the same process, and of a folder, through the engine.

mod bucket;
mod folder;
mod refusals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use futures::StreamExt;
use tokio::runtime::Handle;

use super::*;
use crate::format::json::write::{WriteOptions, write_value};
use crate::function::http::ConnectionSettings;
use crate::function::http::tests::server::{Reply as HttpReply, Seen, Server, reply, with};
use crate::function::policy::RetrySettings;
use crate::function::{Answer, BatchContext, OnError, Returns};
use crate::metrics::Metrics;
use crate::pipeline::Text;
use crate::plan::spark::types::{parse_ddl, parse_schema};

/// The bucket at a server of this machine.
fn s3(server: &Server) -> S3Settings {
    let mut connection = ConnectionSettings::default();
    connection.addresses.allow = vec!["127.0.0.0/8".parse().unwrap()];
    S3Settings {
        bucket: "lake".to_owned(),
        endpoint: Some(Text::plain(server.url(""))),
        region: "eu-central-1".to_owned(),
        key: Some((Text::secret("AKIDEXAMPLE", "(secret)"), Text::secret("s3cret", "(secret)"))),
        session_token: None,
        path_style: true,
        allow_http: true,
        connection,
    }
}

fn objects(server: &Server) -> Objects {
    Objects::s3(&s3(server)).unwrap()
}

/// Few attempts, and none waits for long.
fn calls() -> CallSettings {
    let retry =
        RetrySettings { attempts: 3, base_delay: Duration::from_millis(1), max_delay: Duration::from_millis(2), budget: 1.0 };
    CallSettings {
        retry,
        on_error: OnError::ReturnNull,
        timeout: Duration::from_secs(30),
        breaker: None,
        ..CallSettings::default()
    }
}

fn signature(returns: &str) -> Signature {
    let args = parse_schema("path STRING").unwrap().fields().clone();
    Signature { name: "picture".to_owned(), args, returns: Returns::Value(parse_ddl(returns).unwrap()) }
}

fn settings(path: &str, range: Option<&str>) -> ObjectSettings {
    let template = |text: &str| Template::parse(text).unwrap();
    ObjectSettings { path: template(path), range: range.map(template) }
}

/// A function of a path.
struct Fixture(Arc<Function>);

impl Fixture {
    fn new(objects: &Objects, returns: &str, settings: &ObjectSettings, calls: CallSettings) -> Self {
        let process = Arc::new(Budget::new(10_000));
        Self(Arc::new(function(signature(returns), settings, objects, calls, "UTC".into(), process).unwrap()))
    }

    fn plain(objects: &Objects, returns: &str) -> Self {
        Self::new(objects, returns, &settings("{path}", None), calls())
    }

    /// The answers for all paths in order, as JSON; for those that failed, the kind of the error, the attempts and the message.
    async fn all(&self, paths: &[&str]) -> Vec<String> {
        self.all_of(paths.iter().map(|path| Some(*path)).collect()).await
    }

    async fn all_of(&self, paths: Vec<Option<&str>>) -> Vec<String> {
        let metrics = Arc::new(Metrics::new().unwrap().function("p", "q", "picture"));
        let context = BatchContext {
            origin: "p/q/7/f.1".into(),
            query: "q".into(),
            batch_id: 7,
            query_budget: Arc::new(Budget::new(10_000)),
            metrics,
            runtime: Handle::current(),
        };
        let mut parts = self.0.answer(context, futures::stream::iter([Ok(batch(paths))]).boxed());
        let mut all = Vec::new();
        while let Some(part) = parts.next().await {
            let part = match part {
                Ok(part) => part,
                Err(error) => {
                    // Set up wrong: that is the end of the batch.
                    let error = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref()).expect("a call failed");
                    all.push(told(error));
                    break;
                }
            };
            let failed: BTreeMap<usize, Arc<CallError>> = part.failed.into_iter().collect();
            let Answer::Values(values) = part.answer else { panic!("values") };
            for row in 0..part.rows {
                all.push(match failed.get(&row) {
                    Some(error) => told(error),
                    None => json(&values, row),
                });
            }
        }
        all
    }

    async fn one(&self, path: &str) -> String {
        self.all(&[path]).await.remove(0)
    }
}

fn told(error: &CallError) -> String {
    format!("{} {} {}", error.kind.name(), error.attempts, error.message)
}

fn batch(paths: Vec<Option<&str>>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("path", Arc::new(StringArray::from(paths)) as ArrayRef, true)]).unwrap()
}

fn json(values: &ArrayRef, row: usize) -> String {
    let mut out = Vec::new();
    write_value(values.as_ref(), row, &WriteOptions { ignore_null_fields: false, ..WriteOptions::default() }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

const MODIFIED: &str = "Wed, 21 Oct 2015 07:28:00 GMT";

/// A bucket `lake`, in which each object holds its own key, twice over.
async fn lake() -> Server {
    Server::start(|seen| async move { object(&seen) }).await
}

/// Answers as S3 does; keys that begin with `missing` are not there.
fn object(seen: &Seen) -> HttpReply {
    let key = seen.path.strip_prefix("/lake/").expect("in the bucket");
    if key.starts_with("missing") {
        return refusal(404, "NoSuchKey");
    }
    let content = format!("{key}{key}");
    let size = content.len();
    let range = seen.header("range").strip_prefix("bytes=").map(|range| {
        let (first, last) = range.split_once('-').expect("a range");
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => first..size.min(last + 1),
            (Ok(first), Err(_)) => first..size,
            (Err(_), last) => size.saturating_sub(last.expect("a number"))..size,
        }
    });
    let answer = match range {
        None => reply(200, content),
        Some(range) if range.is_empty() => return refusal(416, "InvalidRange"),
        Some(range) => {
            let told = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            with(reply(206, content[range].to_owned()), "content-range", &told)
        }
    };
    with(with(answer, "etag", "\"abc\""), "last-modified", MODIFIED)
}

fn refusal(status: u16, code: &str) -> HttpReply {
    let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>");
    with(reply(status, body), "content-type", "application/xml")
}
