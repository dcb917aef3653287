//! Puts into Redis through a window of calls: the server of `scripts/redis`, which syncs each write, two milliseconds away.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tidemill::function::CallWindow;
use tidemill::redis::{AttributeKind, Space, SpaceSettings};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::measure::{Figures, to_end};
use crate::{Bench, Outcome};

/// Argument with which this program puts, instead of running jobs.
pub(crate) const PUTS: &str = "--redis-puts";
/// How long bytes take in each direction.
const WAY: Duration = Duration::from_millis(1);
/// Pieces that may be on their way in each direction.
const PIECES: usize = 4096;

/// A server until it is dropped.
struct Server {
    address: String,
    serving: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.serving.stdin.take());
        let _ = self.serving.wait();
    }
}

fn server(bench: &Bench) -> Result<Server, Box<dyn std::error::Error>> {
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/redis"));
    script.args(["serve", "--port", "0", "--data"]).arg(bench.folder("redis")?);
    let mut serving = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut address = String::new();
    BufReader::new(serving.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    Ok(Server { address: address.trim().to_owned(), serving })
}

/// So many puts with at most `window` of them outstanding; fails unless each was acknowledged and some that are looked for are there.
pub(crate) fn puts(bench: &Bench, count: u64, window: usize) -> Outcome {
    let server = server(bench)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([PUTS, &farther(&server.address)?, &count.to_string(), &window.to_string()]);
    let figures = to_end(command)?;
    Ok(Figures { rows: Some(count), ..figures })
}

/// The address of something that hands bytes on to the server, each later by [`WAY`].
fn farther(server: &str) -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let (address, server) = (listener.local_addr()?, server.to_owned());
    thread::spawn(move || {
        runtime.block_on(async {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&server).await else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(later(near_in, far_out));
                tokio::spawn(later(far_in, near_out));
            }
        });
    });
    Ok(address.to_string())
}

async fn later(mut from: impl AsyncRead + Unpin + Send + 'static, mut to: impl AsyncWrite + Unpin + Send + 'static) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    tokio::spawn(async move {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due.into()).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
    });
    let mut piece = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        if sender.send((Instant::now() + WAY, piece[..read].to_vec())).await.is_err() {
            break;
        }
    }
}

/// What [`puts`] starts.
pub(crate) fn put(address: &str, count: u64, window: usize) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let settings = SpaceSettings::new(address.parse()?, "bench", &[("x", AttributeKind::Int)]);
        let space = Space::open(&settings).await?;
        let calls = CallWindow::new(window);
        for number in 0..count {
            // A place, and what completed told: the window holds what is outstanding and no more.
            if number >= window as u64 {
                calls.next_completed().await?.result??;
            }
            calls.issue(space.put(&number.to_string(), &[("x", i64::try_from(number)?.into())])?).await;
        }
        for done in calls.drain().await {
            done.result??;
        }
        for number in [0, count / 2, count - 1] {
            let found = space.get(&number.to_string()).await?;
            if found.and_then(|found| found.get("x").cloned()) != Some(i64::try_from(number)?.into()) {
                return Err(format!("put {number} is not there").into());
            }
        }
        Ok(())
    })
}
