//! Jobs that send the data set into a listening socket as fast as it is taken, and count that no row was lost.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::data::{self, transactions};
use crate::latency::connect;
use crate::measure::{Figures, children_cpu, memory, tidemill};
use crate::throughput::{COLUMNS, FRAUD};
use crate::{Bench, Outcome};

/// Threads that send for many clients.
const SENDERS: usize = 2;
/// Most bytes that one of many clients sends at once, which ends anywhere in a line.
const PIECE_BYTES_MAX: usize = 16 << 10;
/// Longest time without a further row being committed.
const PATIENCE: Duration = Duration::from_secs(60);

/// `clients` connections at once, the data set in equal shares, durable: rows committed per second from the first byte sent, and per
/// second of CPU of the whole process.
pub(crate) fn ingest(bench: &Bench, job: &str, clients: u64) -> Outcome {
    let text = fs::read(transactions(bench, 64)?.join("00.json"))?;
    let shares = shares(&text, clients);
    let rows = shares.iter().map(|share| lines(share)).sum::<u64>() * data::FILES;
    let folder = bench.folder(job)?;
    let (port, http) = (free_port()?, free_port()?);
    fs::write(
        folder.join("pipeline.yaml"),
        format!(
            "version: 1\nname: bench\ncheckpoint: checkpoint\nsources:\n  transactions:\n    from: {{ socket: {{ listen: \"127.0.0.1:{port}\" }} }}\n    \
             format: {{ json: {{ schema: {COLUMNS:?} }} }}\nqueries:\n  fraud:\n    sql: {FRAUD:?}\n    output_mode: update\n    to: {{ discard: {{}} }}\n"
        ),
    )?;
    let cpu_before = children_cpu()?;
    let http_address = format!("127.0.0.1:{http}");
    let mut command = tidemill(&["run", "pipeline.yaml", "--quiet", "--http", &http_address]);
    let mut child = command.current_dir(&folder).stdout(Stdio::null()).spawn()?;
    let connections = (0..clients).map(|_| connect(port)).collect::<Result<Vec<_>, _>>()?;
    let started = Instant::now();
    thread::scope(|scope| {
        let senders: Vec<_> = split(connections, &shares)
            .into_iter()
            .map(|clients| scope.spawn(move || if clients.len() == 1 { send_all(clients) } else { send_in_pieces(clients) }))
            .collect();
        senders.into_iter().try_for_each(|sender| sender.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into())))
    })?;
    let counted = committed(&http_address, rows);
    let wall = started.elapsed();
    let peak_bytes = memory(child.id(), "VmHWM:");
    child.kill()?;
    child.wait()?;
    let counted = counted?;
    if counted != (Counted { read: rows, malformed: 0 }) {
        return Err(format!("{rows} rows were sent and {counted:?} were counted").into());
    }
    Ok(Figures {
        rows: Some(rows),
        bytes: Some(text.len() as u64 * data::FILES),
        wall: Some(wall),
        cpu: Some(children_cpu()? - cpu_before),
        peak_bytes,
        ..Figures::default()
    })
}

/// A client and what it sends, [`data::FILES`] times.
type Client<'a> = (TcpStream, &'a [u8]);

/// Whole lines for each client, about as many bytes to each.
fn shares(text: &[u8], clients: u64) -> Vec<&[u8]> {
    let mut start = 0;
    let mut share = |end: usize| {
        let end = text[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1).max(start);
        let share = &text[start..end];
        start = end;
        share
    };
    (1..=clients).map(|client| share((text.len() as u64 * client / clients) as usize)).collect()
}

fn lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

fn split<'a>(connections: Vec<TcpStream>, shares: &[&'a [u8]]) -> Vec<Vec<Client<'a>>> {
    let mut senders: Vec<Vec<Client>> = (0..SENDERS.min(connections.len())).map(|_| Vec::new()).collect();
    let count = senders.len();
    for (at, client) in connections.into_iter().zip(shares.iter().copied()).enumerate() {
        senders[at % count].push(client);
    }
    senders
}

fn send_all(clients: Vec<Client>) -> std::io::Result<()> {
    for (mut stream, share) in clients {
        (0..data::FILES).try_for_each(|_| stream.write_all(share))?;
    }
    Ok(())
}

/// A piece of each client's share in turn, of any length, so that lines are cut anywhere.
fn send_in_pieces(clients: Vec<Client>) -> std::io::Result<()> {
    let mut clients: Vec<_> = clients.into_iter().map(|client| (client, 0)).collect();
    let mut random = 1_u64;
    while !clients.is_empty() {
        for ((stream, share), sent) in &mut clients {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let start = *sent % share.len();
            let piece = &share[start..];
            let piece = &piece[..piece.len().min(1 + (random >> 33) as usize % PIECE_BYTES_MAX)];
            stream.write_all(piece)?;
            *sent += piece.len();
        }
        // A client that is done hangs up.
        clients.retain(|((_, share), sent)| *sent < share.len() * data::FILES as usize);
    }
    Ok(())
}

/// What the process says that it has committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    read: u64,
    malformed: u64,
}

/// Waits until `rows` were committed, or nothing more is.
fn committed(address: &str, rows: u64) -> std::io::Result<Counted> {
    let (mut last, mut since) = (Counted::default(), Instant::now());
    loop {
        let now = count(address)?;
        if now.read >= rows || since.elapsed() > PATIENCE {
            return Ok(now);
        }
        if now != last {
            (last, since) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn count(address: &str) -> std::io::Result<Counted> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let value = |name: &str| {
        let values =
            text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    };
    Ok(Counted { read: value("tidemill_rows_read_total{"), malformed: value("tidemill_rows_malformed_total{") })
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
