//! Stands between a client and a server and counts the operations that the server has not answered yet.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What counts as an operation; the rest looks and marks.
const OPERATIONS: &[&str] = &["HSET", "HINCRBY", "INCRBY", "SADD", "DEL"];

#[derive(Default)]
struct Counts {
    outstanding: AtomicUsize,
    most: AtomicUsize,
    operations: AtomicUsize,
}

/// A proxy that counts; it ends with the process.
pub(super) struct Proxy {
    /// `host:port` for clients.
    pub(super) address: String,
    counts: Arc<Counts>,
}

/// What a connection has been asked and not answered, in order: the words of commands.
#[derive(Default)]
struct Asked {
    waiting: VecDeque<String>,
    /// Operations of a transaction that are queued, and not done.
    queued: usize,
}

impl Proxy {
    /// In front of `server`, which may come and go.
    pub(super) fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let counts = Arc::<Counts>::default();
        let (server, all) = (server.to_owned(), counts.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else { continue };
                let asked = Arc::<Mutex<Asked>>::default();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (counts, waiting) = (all.clone(), asked.clone());
                thread::spawn(move || forward(from, to, |frame| ask(&counts, &waiting, frame)));
                let counts = all.clone();
                thread::spawn(move || {
                    forward(server, client, |frame| answer(&counts, &asked, frame));
                    // Those will never be answered.
                    let mut asked = asked.lock().unwrap();
                    let lost = asked.queued + asked.waiting.iter().filter(|word| is_operation(word)).count();
                    counts.outstanding.fetch_sub(lost, Ordering::SeqCst);
                    *asked = Asked::default();
                });
            }
        });
        Self { address, counts }
    }

    /// The most operations that were outstanding at a time, and how many there were in all.
    pub(super) fn counted(&self) -> (usize, usize) {
        (self.counts.most.load(Ordering::SeqCst), self.counts.operations.load(Ordering::SeqCst))
    }
}

fn is_operation(word: &str) -> bool {
    OPERATIONS.contains(&word)
}

fn ask(counts: &Counts, asked: &Mutex<Asked>, frame: &[u8]) {
    let text = String::from_utf8_lossy(&frame[..frame.len().min(64)]);
    let word = text.split("\r\n").nth(2).unwrap_or_default().to_owned();
    let mut asked = asked.lock().unwrap();
    if is_operation(&word) {
        let now = counts.outstanding.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most.fetch_max(now, Ordering::SeqCst);
        counts.operations.fetch_add(1, Ordering::SeqCst);
    }
    asked.waiting.push_back(word);
}

fn answer(counts: &Counts, asked: &Mutex<Asked>, frame: &[u8]) {
    let mut asked = asked.lock().unwrap();
    let Some(word) = asked.waiting.pop_front() else { return };
    let done = match word.as_str() {
        "EXEC" => std::mem::take(&mut asked.queued),
        word if is_operation(word) && frame == b"+QUEUED\r\n" => {
            asked.queued += 1;
            0
        }
        word => usize::from(is_operation(word)),
    };
    counts.outstanding.fetch_sub(done, Ordering::SeqCst);
}

/// Copies whole frames, each shown to `see` before it goes on.
fn forward(mut from: TcpStream, mut to: TcpStream, see: impl Fn(&[u8])) {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        buffer.extend_from_slice(&chunk[..read]);
        let mut end = 0;
        while let Some(length) = frame_length(&buffer[end..]) {
            see(&buffer[end..end + length]);
            end += length;
        }
        if to.write_all(&buffer[..end]).is_err() {
            break;
        }
        buffer.drain(..end);
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// The length of the command or answer at the front, if all of it is there.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' => match number()? {
            -1 => Some(line),
            length => Some(line + usize::try_from(length).ok()? + 2).filter(|end| *end <= bytes.len()),
        },
        b'*' => {
            let mut end = line;
            for _ in 0..number()?.max(0) {
                end += frame_length(bytes.get(end..).filter(|rest| !rest.is_empty())?)?;
            }
            Some(end)
        }
        _ => Some(line),
    }
}
