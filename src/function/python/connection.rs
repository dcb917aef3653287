//! A worker that runs: calls are handed to it and cancelled, answers come back in any order, and its end is told to all who wait.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use rustix::io::Errno;
use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tracing::{Level, enabled};

use super::frame::{self, GRACE, LogLine, Told};
use super::process::{Process, Program, in_words};
use crate::function::{CallError, CallErrorKind};

/// The worker's program.
const WORKER: &str = include_str!("worker.py");
/// The part of it that needs pyarrow.
const CONVERT: &str = include_str!("convert.py");

/// How a worker is started.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: Program,
    /// What it is told, but for what can change from start to start.
    pub(super) setup: serde_json::Map<String, Json>,
    /// How long it may take.
    pub(super) start_timeout: Duration,
    /// Longest frame that it may send.
    pub(super) frame_bytes_max: usize,
}

/// A worker, for those who call it.
#[derive(Debug)]
pub(super) struct Worker {
    id: u32,
    state: Mutex<State>,
    /// There is something to write.
    to_write: Notify,
    /// A call was cancelled that the worker knows of.
    cancelled: Notify,
}

#[derive(Debug, Default)]
struct State {
    has_ended: bool,
    calls_made: u64,
    /// Those that the worker has not ended. They are as many as are in flight, and for a short time those that were cancelled.
    calls: HashMap<u64, Call>,
    /// Frames to be written, at most two for each of the calls.
    frames: VecDeque<(u64, Bytes)>,
    /// Calls that the worker has to end by then, in this order; also some that it has ended.
    ending: VecDeque<(Instant, u64)>,
}

#[derive(Debug)]
enum Call {
    Waiting(oneshot::Sender<Result<Bytes, CallError>>),
    Cancelled,
}

/// A worker that was started, for the one who looks after it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) worker: Arc<Worker>,
    process: Process,
    function: Arc<str>,
    from: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    to: OwnedWriteHalf,
}

impl Worker {
    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Calls that it has not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.state().calls.len()
    }

    /// Answers a chunk; none if it has ended and was not asked. Dropping the future cancels the call.
    pub(super) async fn call(&self, chunk: &[u8]) -> Option<Result<Bytes, CallError>> {
        let (tell, answer) = oneshot::channel();
        let number = {
            let mut state = self.state();
            if state.has_ended {
                return None;
            }
            state.calls_made += 1;
            let number = state.calls_made;
            state.calls.insert(number, Call::Waiting(tell));
            state.frames.push_back((number, frame::call(number, chunk)));
            number
        };
        self.to_write.notify_one();
        let _cancelling = Cancelling { worker: self, number };
        Some(answer.await.unwrap_or_else(|_| Err(self.gone())))
    }

    /// Gives a call up, unless it has ended.
    fn cancel(&self, number: u64) {
        let mut state = self.state();
        let Some(call @ Call::Waiting(_)) = state.calls.get_mut(&number) else { return };
        *call = Call::Cancelled;
        let before = state.frames.len();
        state.frames.retain(|(waiting, _)| *waiting != number);
        if state.frames.len() < before {
            // The worker has never heard of it.
            state.calls.remove(&number);
            return;
        }
        state.frames.push_back((number, frame::cancel(number)));
        state.ending.push_back((Instant::now() + GRACE, number));
        drop(state);
        self.to_write.notify_one();
        self.cancelled.notify_one();
    }

    /// The worker has ended a call.
    fn ended(&self, number: u64, answer: Result<Bytes, CallError>) {
        if let Some(Call::Waiting(tell)) = self.state().calls.remove(&number) {
            // Whoever waited may be gone just now.
            let _ = tell.send(answer);
        }
    }

    fn close(&self, error: &CallError) {
        let mut state = self.state();
        state.has_ended = true;
        state.frames.clear();
        for (_, call) in state.calls.drain() {
            if let Call::Waiting(tell) = call {
                let _ = tell.send(Err(error.clone()));
            }
        }
    }

    fn gone(&self) -> CallError {
        CallError::new(CallErrorKind::Unavailable, format!("its worker (pid {}) has gone", self.id))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Comes back when a call that was cancelled has not ended in time.
    async fn overdue(&self) {
        loop {
            let next = {
                let mut state = self.state();
                while state.ending.front().is_some_and(|(_, number)| !state.calls.contains_key(number)) {
                    state.ending.pop_front();
                }
                state.ending.front().map(|(by, _)| *by)
            };
            match next {
                Some(by) if by <= Instant::now() => return,
                Some(by) => sleep_until(by).await,
                None => self.cancelled.notified().await,
            }
        }
    }

    async fn write(&self, to: &mut OwnedWriteHalf) -> std::io::Result<()> {
        loop {
            let next = self.state().frames.pop_front();
            match next {
                Some((_, frame)) => to.write_all(&frame).await?,
                None => self.to_write.notified().await,
            }
        }
    }
}

/// Cancels a call when it is dropped, if the call has not ended.
struct Cancelling<'a> {
    worker: &'a Worker,
    number: u64,
}

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        self.worker.cancel(self.number);
    }
}

impl Launch {
    /// Starts a worker.
    ///
    /// # Errors
    /// [`CallErrorKind::Config`] if the function cannot be called: no interpreter, no file, an error in it, …
    pub(super) async fn start(&self) -> Result<Running, CallError> {
        let (process, stream) = Process::start(&self.program).await.map_err(|error| {
            let wrong = [Errno::NOENT, Errno::ACCESS, Errno::NOEXEC, Errno::NOTDIR, Errno::ISDIR];
            let is_wrong = wrong.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
            let kind = if is_wrong { CallErrorKind::Config } else { CallErrorKind::Unavailable };
            CallError::new(kind, format!("could not start {}: {error}", self.program.interpreter.display()))
        })?;
        let (from, to) = stream.into_split();
        let from = FramedRead::new(from, frame::codec(self.frame_bytes_max));
        let worker = Worker { id: process.id, state: Mutex::default(), to_write: Notify::new(), cancelled: Notify::new() };
        let mut running = Running { worker: Arc::new(worker), process, function: self.program.function.clone(), from, to };
        match timeout(self.start_timeout, running.set_up(self)).await {
            Ok(started) => started.map(|()| running),
            Err(_) => {
                let message = format!("its worker has not started within {:?}", self.start_timeout);
                Err(CallError::new(CallErrorKind::Unavailable, message))
            }
        }
    }

    fn setup(&self) -> String {
        let mut setup = self.setup.clone();
        let (name, level) = log_level();
        setup.insert("log_level".to_owned(), json!(name));
        setup.insert("level".to_owned(), json!(level));
        setup.insert("convert".to_owned(), json!(CONVERT));
        Json::Object(setup).to_string()
    }
}

impl Running {
    async fn set_up(&mut self, launch: &Launch) -> Result<(), CallError> {
        let length = u32::try_from(WORKER.len()).expect("the program is short");
        let program = [&length.to_le_bytes(), WORKER.as_bytes(), &frame::setup(launch.setup().as_bytes())].concat();
        // One that ends before it has read this is told of below.
        let _ = self.to.write_all(&program).await;
        while let Some(Ok(frame)) = self.from.next().await {
            match Told::read(frame) {
                Some(Told::Ready) => return Ok(()),
                Some(Told::Failed(why)) => return Err(CallError::new(CallErrorKind::Config, why)),
                Some(Told::Log(line)) => log(&self.function, self.worker.id, &line),
                _ => break,
            }
        }
        // Does not change how one has ended that is ending.
        self.process.kill();
        let status = self.process.ended().await;
        self.process.all_is_printed().await;
        let (how, last) = (in_words(status), self.process.last_lines());
        let interpreter = launch.program.interpreter.display();
        let kind = match status.and_then(|status| status.code()) {
            Some(_) => CallErrorKind::Config,
            None => CallErrorKind::Unavailable,
        };
        Err(CallError::new(kind, format!("{interpreter} ended before the function was there: {how}{last}")))
    }

    /// Serves calls until the worker ends. `tell_end` hears why it did before the calls do, so that one that is made again finds
    /// another worker.
    pub(super) async fn serve(mut self, tell_end: impl FnOnce(&CallError)) {
        let closing = Closing(self.worker.clone());
        let mut why = None;
        {
            let mut writing = pin!(self.worker.write(&mut self.to));
            let mut overdue = pin!(self.worker.overdue());
            loop {
                tokio::select! {
                    told = self.from.next() => {
                        let told = match told {
                            Some(Ok(frame)) => Told::read(frame),
                            _ => break,
                        };
                        match told {
                            Some(Told::Answer(number, bytes)) => self.worker.ended(number, Ok(bytes)),
                            Some(Told::Error(number, error)) => self.worker.ended(number, Err(error)),
                            Some(Told::Cancelled(number)) => self.worker.ended(number, Err(self.worker.gone())),
                            Some(Told::Log(line)) => log(&self.function, self.worker.id, &line),
                            Some(Told::Ready | Told::Failed(_)) | None => break,
                        }
                    }
                    _ = &mut writing => break,
                    () = &mut overdue => {
                        why = Some(format!("a call that was cancelled has not ended within {GRACE:?}: code that never awaits holds up all calls"));
                        break;
                    }
                    _ = self.process.ended() => break,
                }
            }
        }
        self.process.kill();
        let status = self.process.ended().await;
        let why = why.unwrap_or_else(|| in_words(status));
        let error = CallError::new(CallErrorKind::Unavailable, format!("its worker (pid {}) has ended: {why}", self.worker.id));
        tell_end(&error);
        closing.0.close(&error);
        self.process.all_is_printed().await;
    }
}

/// Tells those who wait for a worker that it has gone, also where it is no longer looked after.
struct Closing(Arc<Worker>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close(&self.0.gone());
    }
}

/// What of a worker's log is wanted here, by our name for it and by Python's number.
fn log_level() -> (&'static str, i64) {
    if enabled!(Level::TRACE) {
        ("trace", 5)
    } else if enabled!(Level::DEBUG) {
        ("debug", 10)
    } else if enabled!(Level::INFO) {
        ("info", 20)
    } else if enabled!(Level::WARN) {
        ("warn", 30)
    } else {
        ("error", 40)
    }
}

fn log(function: &str, pid: u32, line: &LogLine) {
    macro_rules! at {
        ($level:ident) => {{
            let (query, logger) = (line.query.as_deref(), line.logger.as_str());
            tracing::$level!(function, pid, logger, query, batch = line.batch, chunk = line.chunk, "{}", line.message)
        }};
    }
    match line.level {
        40.. => at!(error),
        30..40 => at!(warn),
        20..30 => at!(info),
        10..20 => at!(debug),
        _ => at!(trace),
    }
}
