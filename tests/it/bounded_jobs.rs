//! Jobs that have an end, as the guide describes them: killed in the middle, with calls that fail, and done again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::binary::{Ended, Folder};
use super::http_server::{HttpServer, files, reply, rows};

const ROWS: u64 = 25_000;
const ROWS_PER_BATCH: u64 = 10_000;

/// The pipelines of the guide in a folder, with their input in one file, and the API that they ask.
struct Job {
    folder: Folder,
    api: HttpServer,
    /// Whether one of twenty is refused.
    is_ill: Arc<AtomicBool>,
    /// How many requests there have been for rows of the second batch.
    second: Arc<AtomicUsize>,
}

impl Job {
    fn new() -> Self {
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bounded-jobs.md")).unwrap();
        let mut blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
        let folder = Folder::new();
        for name in ["enrich.yaml", "again.yaml"] {
            folder.write(name, blocks.next().unwrap());
        }
        let input: String = (0..ROWS).map(|id| format!("{}\n", json!({ "id": id, "name": format!("n{id}") }))).collect();
        folder.write("in/customers.json", input);
        let (is_ill, second) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (ill, counted) = (is_ill.clone(), second.clone());
        let api = HttpServer::start(move |seen| {
            let id = id_of(&seen.path);
            counted.fetch_add(usize::from((ROWS_PER_BATCH..2 * ROWS_PER_BATCH).contains(&id)), Ordering::SeqCst);
            let refused = ill.load(Ordering::SeqCst) && fails_at_first(id);
            async move { if refused { reply(503, "") } else { reply(200, format!("{{\"score\": {id}.5}}")) } }
        });
        Self { folder, api, is_ill, second }
    }

    fn arguments<'a>(&self, file: &'a str, url: &'a str) -> Vec<&'a str> {
        vec!["run", file, "--set", url, "--set", "functions.risk.http.allow_addresses=127.0.0.1"]
    }

    fn url(&self) -> String {
        format!("functions.risk.http.url=http://{}/customers/{{id}}", self.api.address)
    }

    fn run(&self, file: &str) -> Ended {
        self.folder.run(&self.arguments(file, &self.url()))
    }

    /// How often each row was asked for since so many requests.
    fn asked_since(&self, requests: usize) -> BTreeMap<u64, usize> {
        let mut asked = BTreeMap::new();
        for seen in &self.api.seen()[requests..] {
            *asked.entry(id_of(&seen.path)).or_default() += 1;
        }
        asked
    }
}

fn id_of(path: &str) -> u64 {
    path.rsplit('/').next().unwrap().parse().unwrap()
}

fn fails_at_first(id: u64) -> bool {
    id % 20 == 7
}

fn ids(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

#[test]
fn s3_13_a_job_killed_in_its_second_batch_asks_for_nothing_twice_that_is_committed() {
    let job = Job::new();
    let url = job.url();
    let running = job.folder.start(&job.arguments("enrich.yaml", &url));
    running.until("the second batch is halfway", || (job.second.load(Ordering::SeqCst) > 5000).then_some(()));
    job.api.close_gate();
    job.api.has_in_flight(1);
    running.signal(Signal::KILL);
    running.end();
    job.api.open_gate();
    let committed: Vec<u64> = (0..ROWS_PER_BATCH).filter(|id| !fails_at_first(*id)).collect();
    assert_eq!(ids(&rows(&job.folder.path("out"))), committed, "the first batch is there, and nothing of the second");
    let at_kill = job.api.seen().len();

    let ended = job.run("enrich.yaml");
    assert_eq!(ended.code, 0, "{ended:?}");
    let times = |id| if fails_at_first(id) { 2 } else { 1 };
    let rest: BTreeMap<u64, usize> = (ROWS_PER_BATCH..ROWS).map(|id| (id, times(id))).collect();
    assert!(job.asked_since(at_kill) == rest, "only what is not committed is asked for, once and with its further attempt");
    let batches = files(&job.folder.path("out"));
    let expected: Vec<Vec<u64>> =
        [0..10_000, 10_000..20_000, 20_000..25_000].map(|batch| batch.filter(|id| !fails_at_first(*id)).collect()).into();
    assert!(batches.iter().map(|batch| ids(batch)).eq(expected), "three batches, cut at exactly these rows");
    let dead = rows(&job.folder.path("failed"));
    assert_eq!(dead.len(), 1250);
    for letter in &dead {
        let row: Value = serde_json::from_str(letter["row"].as_str().unwrap()).unwrap();
        let id = row["id"].as_u64().unwrap();
        assert_eq!((&letter["kind"], &row["name"]), (&json!("failed_call"), &json!(format!("n{id}"))));
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.contains("exhausted after 2") && reason.ends_with("answered 503 Service Unavailable"), "{reason}");
    }
    let nothing_new = job.api.seen().len();
    assert_eq!((job.run("enrich.yaml").code, job.api.seen().len()), (0, nothing_new), "there is nothing left to do");

    job.is_ill.store(false, Ordering::SeqCst);
    let ended = job.run("again.yaml");
    assert_eq!(ended.code, 0, "{ended:?}");
    let failed: BTreeMap<u64, usize> = (0..ROWS).filter(|id| fails_at_first(*id)).map(|id| (id, 1)).collect();
    assert!(job.asked_since(nothing_new) == failed, "those that failed, once each");
    let all = rows(&job.folder.path("out"));
    assert_eq!((all.len() as u64, ids(&all).into_iter().collect::<BTreeSet<_>>().len() as u64), (ROWS, ROWS));
    for row in &all {
        let id = row["id"].as_u64().unwrap();
        assert_eq!(*row, json!({ "id": id, "name": format!("n{id}"), "score": id as f64 + 0.5 }));
    }
    assert_eq!((job.run("again.yaml").code, job.api.seen().len()), (0, nothing_new + failed.len()), "each letter is read once");
    assert!(rows(&job.folder.path("failed_again")).is_empty());
}
