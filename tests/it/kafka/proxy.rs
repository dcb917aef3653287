//! What stands between the engine and a broker: it passes requests on, and loses or holds back those that a test picks.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Kinds of requests.
pub(crate) mod api {
    pub(crate) const INIT_PRODUCER_ID: i16 = 22;
    pub(crate) const ADD_OFFSETS_TO_TXN: i16 = 25;
    pub(crate) const END_TXN: i16 = 26;
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// It does not reach the broker, and the connection ends.
    Lose,
    /// It does, and the connection ends before its answer.
    LoseAnswer,
    /// The connection ends, and the request reaches the broker when it is let go.
    Hold,
}

/// Longest wait for a broker's answer to what was held.
const PATIENCE: Duration = Duration::from_secs(30);

/// A listener of its own, and what decides on requests.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

type Judge = Box<dyn FnMut(i16) -> Fate + Send>;

struct Shared {
    broker: OnceLock<String>,
    judge: Mutex<Judge>,
    /// New connections end at once.
    is_closed: AtomicBool,
    held: Mutex<Vec<Held>>,
}

/// A request that was held, and the connection that it will arrive by.
struct Held {
    broker: TcpStream,
    request: Vec<u8>,
    answers: Receiver<i32>,
}

impl Proxy {
    /// Passes everything on, once it knows where to.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            broker: OnceLock::new(),
            judge: Mutex::new(Box::new(|_| Fate::Pass)),
            is_closed: AtomicBool::new(false),
            held: Mutex::default(),
        });
        let proxy = Self { port, shared: shared.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.is_closed.load(Ordering::SeqCst) {
                    continue;
                }
                let Some(broker) = shared.broker.get().and_then(|address| TcpStream::connect(address).ok()) else { continue };
                let shared = shared.clone();
                std::thread::spawn(move || drop(serve(client, broker, &shared)));
            }
        });
        proxy
    }

    /// Where requests go.
    pub(crate) fn to(&self, broker: String) {
        self.shared.broker.set(broker).unwrap();
    }

    /// From now on this says what becomes of a request, given its kind.
    pub(crate) fn judge(&self, judge: impl FnMut(i16) -> Fate + Send + 'static) {
        *self.shared.judge.lock().unwrap() = Box::new(judge);
    }

    /// What [`Proxy::judge`] does to the first request of one kind; whether it came, the answer tells when asked.
    pub(crate) fn once(&self, kind: i16, fate: Fate) -> Arc<AtomicBool> {
        let came = Arc::new(AtomicBool::new(false));
        let seen = came.clone();
        self.judge(move |asked| if asked == kind && !seen.swap(true, Ordering::SeqCst) { fate } else { Fate::Pass });
        came
    }

    /// Ends new connections at once, or no more: for use in a judge.
    pub(crate) fn closer(&self) -> impl Fn(bool) + Send + 'static {
        let shared = self.shared.clone();
        move |is_closed| shared.is_closed.store(is_closed, Ordering::SeqCst)
    }

    /// Lets the held requests go, each of which is answered when this returns: for use in a judge.
    pub(crate) fn releaser(&self) -> impl Fn() + Send + 'static {
        let shared = self.shared.clone();
        move || shared.release()
    }
}

impl Shared {
    fn release(&self) {
        let all = std::mem::take(&mut *self.held.lock().unwrap());
        for mut held in all {
            let id = correlation(&held.request, 8);
            held.broker.write_all(&held.request).unwrap();
            while held.answers.recv_timeout(PATIENCE).unwrap() != id {}
        }
    }
}

/// Requests and answers of one connection, until it ends.
fn serve(mut client: TcpStream, mut broker: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let (tell, answers) = mpsc::channel();
    // The answer that is not to be passed on.
    let lost = Arc::new(AtomicI32::new(-1));
    {
        let (broker, client, lost) = (broker.try_clone()?, client.try_clone()?, lost.clone());
        std::thread::spawn(move || drop(answer(broker, client, &lost, &tell)));
    }
    while let Ok(request) = frame(&mut client) {
        let kind = i16::from_be_bytes([request[4], request[5]]);
        let fate = (shared.judge.lock().unwrap())(kind);
        match fate {
            Fate::Pass => broker.write_all(&request)?,
            Fate::LoseAnswer => {
                lost.store(correlation(&request, 8), Ordering::SeqCst);
                broker.write_all(&request)?;
            }
            Fate::Lose => break,
            Fate::Hold => {
                shared.held.lock().unwrap().push(Held { broker, request, answers });
                return client.shutdown(Shutdown::Both);
            }
        }
    }
    client.shutdown(Shutdown::Both)?;
    broker.shutdown(Shutdown::Both)
}

fn answer(mut broker: TcpStream, mut client: TcpStream, lost: &AtomicI32, tell: &Sender<i32>) -> std::io::Result<()> {
    loop {
        let Ok(answer) = frame(&mut broker) else { return client.shutdown(Shutdown::Both) };
        let id = correlation(&answer, 4);
        if lost.load(Ordering::SeqCst) == id {
            client.shutdown(Shutdown::Both)?;
        }
        // Who asked may be gone; that it was answered counts.
        let _ = client.write_all(&answer);
        let _ = tell.send(id);
    }
}

/// The number that a request and its answer share.
fn correlation(frame: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(frame[at..at + 4].try_into().unwrap())
}

/// The next request or answer, with the length before it.
fn frame(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = length.to_vec();
    frame.resize(4 + u32::from_be_bytes(length) as usize, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}
