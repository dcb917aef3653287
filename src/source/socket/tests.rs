use std::path::PathBuf;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::*;
use crate::checkpoint::storage::LocalVfs;
use crate::clock::SystemClock;
use crate::error::ErrorKind;
use crate::source::contract::{self, Line, texts};
use crate::source::ingest::IngestSource;
use crate::source::{Extent, LineEnd, Offset, ReadLimit, Source, SourceStats};

const UNLIMITED: ReadLimit = ReadLimit { rows_max: None, bytes_max: None, files_max: None };

/// A socket source that one query reads.
struct Fixture {
    socket: Inlet,
    source: IngestSource,
    at: Offset,
}

impl Fixture {
    async fn open(settings: SocketSettings, keep: Keep) -> Result<Self> {
        let (runtime, cancel) = (Handle::current(), CancellationToken::new());
        let host = Host { clock: Arc::new(SystemClock), runtime: &runtime, cancel: &cancel };
        let socket = open("in", settings, keep, vec!["q".to_owned()], host).await?;
        let mut source = socket.source("q", Extent::Endless);
        let at = source.initial_offset().await?;
        Ok(Self { socket, source, at })
    }

    async fn listening(change: impl FnOnce(&mut SocketSettings)) -> Self {
        let mut settings = SocketSettings::new(Endpoint::Listen("127.0.0.1:0".to_owned()));
        change(&mut settings);
        Self::open(settings, Keep::InMemory).await.unwrap()
    }

    async fn connecting(address: String) -> Self {
        let settings = SocketSettings::new(Endpoint::Connect(address));
        Self::open(settings, Keep::InMemory).await.unwrap()
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.socket.local_addr().unwrap()).await.unwrap()
    }

    /// The next `count` lines.
    async fn lines(&mut self, count: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        while lines.len() < count {
            soon(self.source.changed(&self.at)).await;
            let end = self.source.latest_offset(&self.at, &UNLIMITED).await.unwrap();
            lines.extend(contract::read(&mut self.source, &self.at, &end).await.unwrap());
            self.at = end;
        }
        lines
    }

    async fn expect(&mut self, expected: &[&str]) {
        assert_eq!(shown(&self.lines(expected.len()).await), expected);
    }

    fn count(&self, counter: impl Fn(&SourceStats) -> &AtomicU64) -> u64 {
        SourceStats::get(counter(&self.socket.stats()))
    }
}

fn shown(lines: &[Line]) -> Vec<String> {
    let show = |line: &Line| {
        let mark = match line.end {
            LineEnd::Clean => "",
            LineEnd::Truncated => "?",
            LineEnd::TooLong => "!",
        };
        String::from_utf8_lossy(&line.text).into_owned() + mark
    };
    lines.iter().map(show).collect()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it takes too long")
}

/// Waits until `what` is so.
async fn until(what: impl Fn() -> bool) {
    soon(async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Closes a connection so that the other side sees a reset.
fn reset(client: TcpStream) {
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn lines_come_through_whatever_ends_them() {
    let mut fixture = Fixture::listening(|_| {}).await;
    let mut client = fixture.client().await;
    client.write_all(b"a\nb\r\n\nc\r").await.unwrap();
    fixture.expect(&["a", "b", "", "c"]).await;
    client.write_all(b"\nd\0\xFF\n").await.unwrap();
    let lines = fixture.lines(1).await;
    assert_eq!(lines[0].text, b"d\0\xFF");
    assert_eq!(lines[0].origin, format!("{}#1", client.local_addr().unwrap()));
    fixture.socket.close().await.unwrap();
}

#[tokio::test]
async fn a_socket_keeps_the_contract_of_sources() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Keep::Durably { vfs: LocalVfs::shared(), dir: dir.path().join("in") };
    let settings = SocketSettings::new(Endpoint::Listen("127.0.0.1:0".to_owned()));
    let mut fixture = Fixture::open(settings, keep).await.unwrap();
    let mut client = fixture.client().await;
    client.write_all(b"one\ntwo\nthree\nfour\nfive\n").await.unwrap();
    fixture.lines(5).await;
    contract::check(&mut fixture.socket.source("other", Extent::Endless)).await;
    fixture.socket.close().await.unwrap();
}

#[tokio::test]
async fn an_unfinished_last_line_is_whole_after_a_close_and_truncated_after_a_reset() {
    let mut fixture = Fixture::listening(|_| {}).await;
    let mut client = fixture.client().await;
    client.write_all(b"a\nlast").await.unwrap();
    drop(client);
    fixture.expect(&["a", "last"]).await;
    let mut client = fixture.client().await;
    client.write_all(b"b\nbroken off").await.unwrap();
    fixture.expect(&["b"]).await;
    // The rest of the line must have arrived, or the reset takes it away.
    until(|| fixture.count(|stats| &stats.clients.open) == 1).await;
    reset(client);
    until(|| fixture.count(|stats| &stats.clients.open) == 0).await;
    let end = fixture.source.latest_offset(&fixture.at, &UNLIMITED).await.unwrap();
    let lines = contract::read(&mut fixture.source, &fixture.at, &end).await.unwrap();
    assert_eq!(shown(&lines), ["broken off?"]);
    assert_eq!(fixture.count(|stats| &stats.lines_truncated), 1);
    fixture.socket.close().await.unwrap();
}

#[tokio::test]
async fn a_line_of_100_mb_is_cut_in_bounded_memory_and_the_next_one_is_fine() {
    let mut fixture = Fixture::listening(|settings| settings.line_bytes_max = 1 << 20).await;
    let mut client = fixture.client().await;
    let sender = tokio::spawn(async move {
        let block = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            client.write_all(&block).await.unwrap();
        }
        client.write_all(b"\nnext\n").await.unwrap();
    });
    let lines = fixture.lines(2).await;
    assert_eq!((lines[0].text.len(), lines[0].end), (1 << 20, LineEnd::TooLong));
    assert_eq!(lines[1].text, b"next");
    assert_eq!(fixture.count(|stats| &stats.lines_too_long), 1);
    assert!(fixture.count(|stats| &stats.log_bytes) < 3 << 20);
    sender.await.unwrap();
    fixture.socket.close().await.unwrap();
}

#[tokio::test]
async fn lines_of_many_clients_are_never_mixed() {
    const CLIENTS: usize = 50;
    const LINES: usize = 40;
    let mut fixture = Fixture::listening(|_| {}).await;
    let address = fixture.socket.local_addr().unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            tokio::spawn(async move {
                let mut client = TcpStream::connect(address).await.unwrap();
                for line in 0..LINES {
                    let text = format!("{number}:{line}\n");
                    // A byte at a time, so that lines of different clients overlap.
                    for byte in text.as_bytes() {
                        client.write_all(std::slice::from_ref(byte)).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    let lines = fixture.lines(CLIENTS * LINES).await;
    let mut next = [0; CLIENTS];
    for line in shown(&lines) {
        let (number, line) = line.split_once(':').unwrap();
        let number: usize = number.parse().unwrap();
        assert_eq!(line.parse::<usize>().unwrap(), next[number]);
        next[number] += 1;
    }
    assert_eq!(next, [LINES; CLIENTS]);
    for client in clients {
        client.await.unwrap();
    }
    fixture.socket.close().await.unwrap();
}

#[tokio::test]
async fn silent_clients_stay_but_a_line_must_get_done() {
    let mut fixture = Fixture::listening(|settings| settings.line_timeout = Duration::from_millis(50)).await;
    let mut silent = fixture.client().await;
    let mut slow = fixture.client().await;
    slow.write_all(b"never fini").await.unwrap();
    fixture.expect(&["never fini?"]).await;
    until(|| fixture.count(|stats| &stats.clients.open) == 1).await;
    silent.write_all(b"here\n").await.unwrap();
    fixture.expect(&["here"]).await;
    fixture.socket.close().await.unwrap();
}

#[tokio::test]
async fn clients_that_are_too_many_or_not_allowed_are_turned_away() {
    let mut fixture = Fixture::listening(|settings| settings.connections_max = 1).await;
    let mut first = fixture.client().await;
    first.write_all(b"a\n").await.unwrap();
    fixture.expect(&["a"]).await;
    let second = fixture.client().await;
    until(|| fixture.count(|stats| &stats.clients.turned_away) == 1).await;
    assert_eq!(second.try_read(&mut [0; 1]).map_err(|error| error.kind()).unwrap_or(0), 0);
    drop(first);
    until(|| fixture.count(|stats| &stats.clients.open) == 0).await;
    fixture.socket.close().await.unwrap();

    let fixture = Fixture::listening(|settings| settings.allow_from = vec!["10.0.0.0/8".parse().unwrap()]).await;
    let _client = fixture.client().await;
    until(|| fixture.count(|stats| &stats.clients.turned_away) == 1).await;
    fixture.socket.close().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_ends_is_made_again() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut fixture = Fixture::connecting(server.local_addr().unwrap().to_string()).await;
    for line in ["a", "b"] {
        let (mut stream, _) = soon(server.accept()).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
        drop(stream);
        fixture.expect(&[line]).await;
    }
    fixture.socket.close().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_the_query_by_name_and_may_come_later() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    drop(server);
    let mut settings = SocketSettings::new(Endpoint::Connect(address.to_string()));
    settings.connect_timeout = Duration::from_millis(150);
    let mut fixture = Fixture::open(settings, Keep::InMemory).await.unwrap();
    soon(fixture.source.changed(&fixture.at)).await;
    let error = fixture.source.latest_offset(&fixture.at, &UNLIMITED).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains(&format!("could not connect to {address} of source `in` within 150ms")), "{error}");
    let server = TcpListener::bind(address).await.unwrap();
    let (mut stream, _) = soon(server.accept()).await.unwrap();
    stream.write_all(b"late\n").await.unwrap();
    until(|| fixture.count(|stats| &stats.lines_received) == 1).await;
    fixture.expect(&["late"]).await;
    fixture.socket.close().await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_or_no_address_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = async |endpoint| {
        let opened = Fixture::open(SocketSettings::new(endpoint), Keep::InMemory).await;
        opened.err().unwrap().kind()
    };
    assert_eq!(open(Endpoint::Listen(taken.local_addr().unwrap().to_string())).await, ErrorKind::Unavailable);
    assert_eq!(open(Endpoint::Listen("5555".to_owned())).await, ErrorKind::Config);
    assert_eq!(open(Endpoint::Connect("localhost".to_owned())).await, ErrorKind::Config);
}

#[tokio::test]
async fn a_full_log_holds_clients_back_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Keep::Durably { vfs: LocalVfs::shared(), dir: dir.path().join("in") };
    let mut settings = SocketSettings::new(Endpoint::Listen("127.0.0.1:0".to_owned()));
    settings.log = IngestSettings { log_bytes_max: 1 << 20, tail_bytes_max: 64 << 10, keys_max: 0 };
    let mut fixture = Fixture::open(settings, keep).await.unwrap();
    let mut client = fixture.client().await;
    const LINES: usize = 200_000;
    let sender = tokio::spawn(async move {
        for number in 0..LINES / 100 {
            let lines: String = (0..100).map(|line| format!("{:0100}\n", number * 100 + line)).collect();
            client.write_all(lines.as_bytes()).await.unwrap();
        }
    });
    // Nobody releases anything: it fills up to its limit and no further.
    until(|| fixture.count(|stats| &stats.log_bytes) > (1 << 20) - (600 << 10)).await;
    let mut seen = 0;
    let mut log_bytes_max = 0;
    while seen < LINES {
        soon(fixture.source.changed(&fixture.at)).await;
        let limit = ReadLimit { bytes_max: Some(256 << 10), ..UNLIMITED };
        let end = fixture.source.latest_offset(&fixture.at, &limit).await.unwrap();
        for line in contract::read(&mut fixture.source, &fixture.at, &end).await.unwrap() {
            assert_eq!(String::from_utf8(line.text).unwrap().parse::<usize>().unwrap(), seen);
            seen += 1;
        }
        soon(fixture.source.make_durable(&end)).await.unwrap();
        log_bytes_max = log_bytes_max.max(fixture.count(|stats| &stats.log_bytes));
        fixture.source.release(&end).await.unwrap();
        fixture.at = end;
    }
    // What is released goes a segment at a time.
    assert!(log_bytes_max <= (1 << 20) + (128 << 10), "{log_bytes_max}");
    sender.await.unwrap();
    fixture.socket.close().await.unwrap();
}

/// Bytes of each connection that two openings of a log hold, the first of which is dropped in the middle.
#[tokio::test]
async fn after_a_crash_the_log_is_a_gap_free_prefix_of_each_connection() {
    let dir: TempDir = tempfile::tempdir().unwrap();
    let folder: PathBuf = dir.path().join("in");
    let keep = || Keep::Durably { vfs: LocalVfs::shared(), dir: folder.clone() };
    let settings = || SocketSettings::new(Endpoint::Listen("127.0.0.1:0".to_owned()));
    let mut fixture = Fixture::open(settings(), keep()).await.unwrap();
    let start = fixture.at.clone();
    let address = fixture.socket.local_addr().unwrap();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = TcpStream::connect(address).await.unwrap();
                for number in 0.. {
                    if client.write_all(format!("{number}\n").as_bytes()).await.is_err() {
                        break;
                    }
                }
            })
        })
        .collect();
    fixture.lines(5_000).await;
    soon(fixture.source.make_durable(&fixture.at)).await.unwrap();
    let durable = contract::read(&mut fixture.source, &start, &fixture.at).await.unwrap();
    let at = fixture.at.clone();
    drop(fixture);
    for client in clients {
        soon(client).await.unwrap();
    }

    let fixture = Fixture::open(settings(), keep()).await.unwrap();
    let mut source = fixture.socket.source("q", Extent::AvailableNow);
    assert_eq!(contract::read(&mut source, &start, &at).await.unwrap(), durable, "what was durable is there as it was");
    let end = source.latest_offset(&start, &UNLIMITED).await.unwrap();
    let mut next = std::collections::HashMap::<String, u64>::new();
    for line in contract::read(&mut source, &start, &end).await.unwrap() {
        if line.end == LineEnd::Truncated {
            continue;
        }
        let next = next.entry(line.origin).or_default();
        assert_eq!(String::from_utf8(line.text).unwrap().parse::<u64>().unwrap(), *next);
        *next += 1;
    }
    assert_eq!(next.len(), 4);
    fixture.socket.close().await.unwrap();
}

#[tokio::test]
async fn closing_under_load_is_quick_and_leaves_no_task() {
    let mut fixture = Fixture::listening(|_| {}).await;
    let address = fixture.socket.local_addr().unwrap();
    let sender = tokio::spawn(async move {
        let mut client = TcpStream::connect(address).await.unwrap();
        while client.write_all(b"line\nline\nline\n").await.is_ok() {}
    });
    fixture.lines(1_000).await;
    let stats = fixture.socket.stats();
    tokio::time::timeout(Duration::from_secs(1), fixture.socket.close()).await.unwrap().unwrap();
    assert_eq!(SourceStats::get(&stats.clients.open), 0);
    soon(sender).await.unwrap();
    assert!(
        !texts(&mut fixture.source, &fixture.at).await.unwrap().0.is_empty()
            || stats.lines_received.load(Ordering::Relaxed) >= 1_000
    );
}
