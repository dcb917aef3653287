//! The process of a worker: started in a group of its own, and ended together with whatever it has started.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memchr::memchr;
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Receives the worker's program over the socket that is its standard input, and runs it.
const START: &str = "import socket;s=socket.socket(fileno=0);w=socket.MSG_WAITALL;\
                     exec(compile(s.recv(int.from_bytes(s.recv(4,w),'little'),w),'<tidemill worker>','exec'))";
/// Longest line of a worker's output; a longer one becomes several.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Lines of standard error that are kept to say why a worker has ended.
const LAST_LINES: usize = 5;
/// How long the output of a process is read after its end.
const PRINTING_MAX: Duration = Duration::from_secs(1);

/// What to start.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// The interpreter, as a path.
    pub(super) interpreter: PathBuf,
    /// Its last arguments, which tell in a list of processes whose worker it is.
    pub(super) shown: [String; 2],
    /// Name of the function, for the log.
    pub(super) function: Arc<str>,
}

/// A process. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Process {
    /// Its id.
    pub(super) id: u32,
    /// Its group, until it was waited for: from then on the number may be somebody else's.
    group: Arc<Mutex<Option<Pid>>>,
    ended: oneshot::Receiver<ExitStatus>,
    /// Inside: how it has ended, if that is known.
    status: Option<Option<ExitStatus>>,
    output: JoinSet<()>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

struct Started {
    id: Pid,
    output: [pipe::Receiver; 2],
}

impl Process {
    /// Starts a process and connects it.
    pub(super) async fn start(program: &Program) -> std::io::Result<(Self, tokio::net::UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = tokio::net::UnixStream::from_std(ours)?;
        let group: Arc<Mutex<Option<Pid>>> = Arc::default();
        let (tell_started, started) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let (program, process_group, function) = (program.clone(), group.clone(), program.function.clone());
        // A thread of its own, as waiting for its end blocks.
        let body = move || {
            let _in_runtime = runtime.enter();
            keep(&program, theirs, &process_group, tell_started, tell_ended);
        };
        std::thread::Builder::new().name("python".to_owned()).stack_size(256 << 10).spawn(body)?;
        let gone = || std::io::Error::other("the thread that starts it has ended");
        let Started { id, output: [out, err] } = started.await.map_err(|_| gone())??;
        let id = id.as_raw_nonzero().get().unsigned_abs();
        let mut process = Self { id, group, ended, status: None, output: JoinSet::new(), last_lines: Arc::default() };
        process.output.spawn(lines(out, {
            let function = function.clone();
            move |line| tracing::info!(%function, pid = id, "{line}")
        }));
        process.output.spawn(lines(err, {
            let last_lines = process.last_lines.clone();
            move |line| {
                tracing::warn!(%function, pid = id, "{line}");
                let mut last = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
                last.truncate(LAST_LINES - 1);
                last.push_front(line.to_owned());
            }
        }));
        Ok((process, ours))
    }

    /// Waits for its end. May be asked again.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = Some((&mut self.ended).await.ok());
        }
        self.status.flatten()
    }

    /// Ends it and whatever it has started.
    pub(super) fn kill(&self) {
        kill(&self.group);
    }

    /// Waits until all that it has printed is in the log; it must have ended. Not for ever: what has left its group may keep its output.
    pub(super) async fn all_is_printed(&mut self) {
        let _ = timeout(PRINTING_MAX, async { while self.output.join_next().await.is_some() {} }).await;
    }

    /// Its last lines on standard error.
    pub(super) fn last_lines(&self) -> String {
        let last = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().rev().map(|line| format!("\n{line}")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a process has ended, in words.
pub(super) fn in_words(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("exit code {code}"),
        Some((None, Some(signal))) => format!("signal {signal}"),
        _ => "nobody knows how".to_owned(),
    }
}

fn kill(group: &Mutex<Option<Pid>>) {
    if let Some(id) = *group.lock().unwrap_or_else(PoisonError::into_inner) {
        // It may have ended already, and wait to be waited for.
        let _ = kill_process_group(id, Signal::KILL);
    }
}

/// Starts a process, and waits for its end.
fn keep(
    program: &Program,
    socket: UnixStream,
    group: &Mutex<Option<Pid>>,
    tell_started: oneshot::Sender<std::io::Result<Started>>,
    tell_ended: oneshot::Sender<ExitStatus>,
) {
    let mut command = Command::new(&program.interpreter);
    command.args(["-u", "-c", START]).args(&program.shown);
    command.stdin(Stdio::from(OwnedFd::from(socket))).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A Ctrl-C at the terminal is for the engine alone.
    command.process_group(0);
    let started = command.spawn().map(|mut child| {
        let id = Pid::from_child(&child);
        *group.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        let out = child.stdout.take().map(OwnedFd::from).map(pipe::Receiver::from_owned_fd);
        let err = child.stderr.take().map(OwnedFd::from).map(pipe::Receiver::from_owned_fd);
        let output = out.zip(err).map(|(out, err)| Ok([out?, err?]));
        let output = output.unwrap_or_else(|| Err(std::io::Error::other("it has no output")));
        (child, output.map(|output| Started { id, output }))
    });
    // Whatever was given to the process is closed here.
    drop(command);
    let mut child = match started {
        Ok((child, started)) => {
            if started.is_err() || tell_started.send(started).is_err() {
                kill(group);
            }
            child
        }
        Err(error) => {
            let _ = tell_started.send(Err(error));
            return;
        }
    };
    // Not waited for before its number was forgotten here.
    let id = Pid::from_child(&child);
    let _ = retry_on_intr(|| waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
    kill(group);
    *group.lock().unwrap_or_else(PoisonError::into_inner) = None;
    if let Ok(status) = child.wait() {
        let _ = tell_ended.send(status);
    }
}

/// Hands on each line of a stream.
async fn lines(mut stream: impl AsyncRead + Unpin, tell: impl Fn(&str)) {
    let tell = |line: &[u8]| tell(String::from_utf8_lossy(line).trim_end());
    let mut buffer = vec![0; LINE_BYTES_MAX];
    let mut filled = 0;
    while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await {
        filled += read;
        let mut start = 0;
        while let Some(length) = memchr(b'\n', &buffer[start..filled]) {
            tell(&buffer[start..start + length]);
            start += length + 1;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
        if filled == buffer.len() {
            tell(&buffer);
            filled = 0;
        }
    }
    if filled > 0 {
        tell(&buffer[..filled]);
    }
}
