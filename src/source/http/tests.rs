use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Client, RequestBuilder};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::checkpoint::storage::LocalVfs;
use crate::clock::SystemClock;
use crate::source::contract::{self, texts};
use crate::source::{Extent, Source, SourceStats};

const TOKEN: &str = "0123456789abcdefghijkl";

/// An HTTP source that one query reads.
struct Fixture {
    inlet: Inlet,
    client: Client,
}

impl Fixture {
    async fn open(folder: &TempDir, change: impl FnOnce(&mut HttpSettings)) -> Self {
        let mut settings = HttpSettings::new("127.0.0.1:0", "/in");
        change(&mut settings);
        let (runtime, cancel) = (Handle::current(), CancellationToken::new());
        let host = Host { clock: Arc::new(SystemClock), runtime: &runtime, cancel: &cancel };
        let keep = Keep::Durably { vfs: LocalVfs::shared(), dir: folder.path().join("log") };
        let inlet = open("in", settings, keep, vec!["q".to_owned()], host).await.unwrap();
        // The token that ends the tasks is a child of this one.
        std::mem::forget(cancel);
        Self { inlet, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client.post(format!("http://{}/in", self.inlet.local_addr().unwrap())).body(body)
    }

    /// Everything in the log.
    async fn lines(&self) -> Vec<String> {
        let mut source = self.inlet.source("q", Extent::Endless);
        let start = source.initial_offset().await.unwrap();
        texts(&mut source, &start).await.unwrap().0
    }
}

/// Status and body of what a request is answered.
async fn answered(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn status(request: RequestBuilder) -> u16 {
    answered(request).await.0
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn what_is_answered_is_in_the_log_and_keeps_the_contract_of_sources() {
    let folder = TempDir::new().unwrap();
    let fixture = Fixture::open(&folder, |_| {}).await;
    assert_eq!(answered(fixture.post("one\ntwo\n")).await, (200, "{\"rows\":2}".to_owned()));
    assert_eq!(answered(fixture.post("three\r\nfour\rfive")).await, (200, "{\"rows\":3}".to_owned()));
    assert_eq!(answered(fixture.post("")).await, (200, "{\"rows\":0}".to_owned()));
    let packed = [gzip(b"six\n"), gzip(b"seven\n")].concat();
    assert_eq!(answered(fixture.post(packed).header("Content-Encoding", "gzip")).await, (200, "{\"rows\":2}".to_owned()));
    assert_eq!(fixture.lines().await, ["one", "two", "three", "four", "five", "six", "seven"]);
    contract::check(&mut fixture.inlet.source("q", Extent::Endless)).await;
    let stats = fixture.inlet.stats();
    assert_eq!((SourceStats::get(&stats.lines_received), SourceStats::get(&stats.bytes_received)), (7, 8 + 16 + 10));
    assert!(SourceStats::get(&stats.clients.open) > 0);
    fixture.inlet.close().await.unwrap();
    let again = Fixture::open(&folder, |_| {}).await;
    assert_eq!(again.lines().await.len(), 7);
}

#[tokio::test]
async fn a_request_is_taken_once_by_its_key_also_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let keyed = |fixture: &Fixture, key: &str, lines: &'static str| fixture.post(lines).header("Idempotency-Key", key);
    for opening in 0..3 {
        let fixture = Fixture::open(&folder, |_| {}).await;
        for _ in 0..2 {
            assert_eq!(answered(keyed(&fixture, "a", "one\ntwo\n")).await, (200, "{\"rows\":2}".to_owned()));
        }
        assert_eq!(status(keyed(&fixture, "a", "others\n")).await, 422);
        assert_eq!(status(keyed(&fixture, "b", "one\ntwo\n")).await, 200);
        // Packed it is the same request.
        let packed = fixture.post(gzip(b"one\ntwo\n")).header("Content-Encoding", "gzip").header("Idempotency-Key", "b");
        assert_eq!(status(packed).await, 200);
        assert_eq!(fixture.lines().await, ["one", "two", "one", "two"]);
        assert_eq!(SourceStats::get(&fixture.inlet.stats().lines_received), if opening == 0 { 4 } else { 0 });
        // As a crash leaves it: the log is not closed.
        drop(fixture);
    }
    let fixture = Fixture::open(&folder, |_| {}).await;
    let (empty, long) = (keyed(&fixture, "", "x\n"), keyed(&fixture, &"k".repeat(256), "x\n"));
    assert_eq!((status(empty).await, status(long).await), (400, 400));
    let both = keyed(&fixture, "c", "x\n").header("Idempotency-Key", "d");
    assert_eq!(status(both).await, 400);
    assert_eq!(fixture.lines().await.len(), 4);
}

#[tokio::test]
async fn many_at_once_with_one_key_are_taken_once() {
    let folder = TempDir::new().unwrap();
    let fixture = Fixture::open(&folder, |_| {}).await;
    let all = (0..32).map(|_| status(fixture.post("one\n").header("Idempotency-Key", "same")));
    assert_eq!(futures::future::join_all(all).await, [200; 32]);
    assert_eq!(fixture.lines().await, ["one"]);
}

#[tokio::test]
async fn what_is_too_large_is_refused_whole() {
    let folder = TempDir::new().unwrap();
    let change = |settings: &mut HttpSettings| (settings.request_bytes_max, settings.line_bytes_max) = (128 << 10, 100);
    let fixture = Fixture::open(&folder, change).await;
    let lines = |bytes: usize| format!("{}\n", "x".repeat(63)).repeat(bytes / 64).into_bytes();
    assert_eq!(status(fixture.post(lines(128 << 10))).await, 200);
    assert_eq!(status(fixture.post(lines((128 << 10) + 64))).await, 413);
    // Without a length that says so before.
    let parts = futures::stream::iter((0..3).map(move |_| Ok::<_, std::io::Error>(lines(64 << 10))));
    assert_eq!(status(fixture.post(reqwest::Body::wrap_stream(parts))).await, 413);
    let long = format!("short\n{}\nshort\n", "x".repeat(101));
    assert_eq!(status(fixture.post(long)).await, 413);
    assert_eq!(status(fixture.post("x".repeat(101))).await, 413);
    assert_eq!(status(fixture.post("x".repeat(100))).await, 200);
    let unpacked = |bytes: usize| fixture.post(gzip(&lines(bytes))).header("Content-Encoding", "gzip");
    assert_eq!(status(unpacked(64 << 10)).await, 200);
    assert_eq!(status(unpacked((128 << 10) + 64)).await, 413);
    assert_eq!(fixture.lines().await.len(), 2048 + 1 + 1024);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_whole() {
    let folder = TempDir::new().unwrap();
    let fixture = Fixture::open(&folder, |_| {}).await;
    let packed = gzip("a line\n".repeat(100).as_bytes());
    let with = |body: Vec<u8>, encoding: &str| fixture.post(body).header("Content-Encoding", encoding);
    assert_eq!(status(with(packed[..packed.len() - 1].to_vec(), "gzip")).await, 400);
    assert_eq!(status(with([&packed[..], b"more"].concat(), "gzip")).await, 400);
    assert_eq!(status(with(b"no gzip".to_vec(), "gzip")).await, 400);
    assert_eq!(status(with(packed.clone(), "br")).await, 415);
    assert_eq!(status(with(packed, "gzip, gzip")).await, 415);
    let address = fixture.inlet.local_addr().unwrap();
    assert_eq!(status(fixture.client.post(format!("http://{address}/other"))).await, 404);
    assert_eq!(status(fixture.client.get(format!("http://{address}/in"))).await, 405);
    assert_eq!(status(fixture.post("x\n").header("Origin", "http://evil.example")).await, 403);
    assert!(fixture.lines().await.is_empty());
}

#[test]
fn a_body_unpacks_to_a_bounded_size_only() {
    let head = body::Head { is_gzip: true, key: None };
    let bomb = gzip(&vec![b'\n'; 4 << 20]);
    assert!(bomb.len() < 8 << 10);
    let refused = body::lines(&head, bomb, 8 << 20, 100).unwrap_err();
    assert!(matches!(refused, body::Refusal::TooLarge(_)), "{refused:?}");
    let rows = gzip("a line like many\n".repeat(1000).as_bytes());
    assert_eq!(body::lines(&head, rows, 8 << 20, 100).unwrap().bytes.len(), 17_000);
}

#[tokio::test]
async fn a_full_log_sends_clients_away_until_a_query_has_read_it() {
    let folder = TempDir::new().unwrap();
    let change = |settings: &mut HttpSettings| settings.log.log_bytes_max = 64 << 10;
    let fixture = Fixture::open(&folder, change).await;
    let mut source = fixture.inlet.source("q", Extent::Endless);
    let body = format!("{}\n", "x".repeat(1023)).repeat(16);
    let mut taken = 0;
    let away = loop {
        let response = fixture.post(body.clone()).header("Idempotency-Key", taken.to_string()).send().await.unwrap();
        if response.status() != 200 {
            break response;
        }
        taken += 1;
        assert!(taken < 8, "the log takes more than it holds");
    };
    assert_eq!((away.status().as_u16(), &away.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(fixture.lines().await.len(), 16 * taken);
    let start = source.initial_offset().await.unwrap();
    let (_, end) = texts(&mut source, &start).await.unwrap();
    source.release(&end).await.unwrap();
    assert_eq!(status(fixture.post(body).header("Idempotency-Key", taken.to_string())).await, 200);
}

#[tokio::test]
async fn requests_together_hold_a_bounded_number_of_bytes() {
    let folder = TempDir::new().unwrap();
    let fixture = Fixture::open(&folder, |settings| settings.request_bytes_max = 64 << 10).await;
    // Clients that stop before the end hold what they have sent: together more than all may, so one is sent away.
    let (stops, senders): (Vec<_>, Vec<_>) = (0..9)
        .map(|_| {
            let (send, receive) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(1);
            let parts = futures::stream::once(async { Ok(vec![b'x'; 60 << 10]) });
            let rest = futures::stream::unfold(receive, |mut receive| async { Some((receive.recv().await?, receive)) });
            let request = fixture.post(reqwest::Body::wrap_stream(futures::StreamExt::chain(parts, rest)));
            (Box::pin(status(request)), send)
        })
        .unzip();
    let away = tokio::time::timeout(Duration::from_secs(60), futures::future::select_all(stops)).await;
    let (first, _, others) = away.expect("one is sent away");
    assert_eq!(first, 429);
    drop(senders);
    assert_eq!(futures::future::join_all(others).await, [200; 8]);
    assert_eq!(status(fixture.post(vec![b'y'; 60 << 10])).await, 200);
}

#[tokio::test]
async fn a_request_that_does_not_end_is_given_up() {
    let folder = TempDir::new().unwrap();
    let fixture = Fixture::open(&folder, |settings| settings.request_timeout = Duration::from_millis(1)).await;
    let never = futures::stream::pending::<std::io::Result<Vec<u8>>>();
    assert_eq!(status(fixture.post(reqwest::Body::wrap_stream(never))).await, 408);
}

#[tokio::test]
async fn a_token_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let fixture = Fixture::open(&folder, |settings| settings.tokens = vec![Text::secret(TOKEN, "token")]).await;
    assert_eq!(status(fixture.post("no\n")).await, 401);
    assert_eq!(status(fixture.post("no\n").bearer_auth("0123456789abcdefghijkX")).await, 401);
    assert_eq!(status(fixture.post("yes\n").bearer_auth(TOKEN)).await, 200);
    assert_eq!(fixture.lines().await, ["yes"]);
}
