//! `tidemill-producer`: card transactions over TCP, to Kafka, to a file, or to standard output.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, BufWriter, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;

use clap::Parser;
use tidemill_producer::{Options, Topic, connect, send, serve, write_to};
use tokio::signal::unix::{SignalKind, signal};

/// Card transactions as JSON lines. Listens and serves any number of clients unless told otherwise.
#[derive(Debug, Parser)]
#[command(name = "tidemill-producer", version)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1", conflicts_with_all = ["connect", "output", "servers"])]
    hostname: String,
    /// Port to listen on.
    #[arg(long, default_value_t = 5555, conflicts_with_all = ["connect", "output", "servers"])]
    port: u16,
    /// Connects to a listening engine instead, e.g. `127.0.0.1:5555`.
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["output", "servers"])]
    connect: Option<String>,
    /// Writes to a file instead, or to standard output with `-`.
    #[arg(long, value_name = "FILE", conflicts_with = "servers")]
    output: Option<PathBuf>,
    #[command(flatten)]
    topic: Option<Topic>,
    #[command(flatten)]
    options: Options,
}

/// Whether somebody asked us to stop.
static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match produce(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn produce(arguments: &Arguments) -> io::Result<()> {
    stop_on_signals()?;
    let (options, stop) = (&arguments.options, &|| STOP.load(Ordering::Relaxed));
    if let Some(topic) = &arguments.topic {
        let say = |text: &str| drop(writeln!(io::stderr(), "{text}"));
        let sent = send(topic, options, stop, &say)?;
        say(&format!("{sent} messages are in topic {:?}", topic.name));
    } else if let Some(address) = &arguments.connect {
        connect(address, options, stop).map_err(|error| named(error, &format!("send to {address}")))?;
    } else if let Some(path) = &arguments.output {
        if path.as_os_str() == "-" {
            write_to(&mut io::stdout().lock(), options, stop)?;
        } else {
            let file = File::create(path).map_err(|error| named(error, &format!("create {}", path.display())))?;
            write_to(&mut BufWriter::new(file), options, stop)?;
        }
    } else {
        let address = (arguments.hostname.as_str(), arguments.port);
        let listener =
            TcpListener::bind(address).map_err(|error| named(error, &format!("listen on {}:{}", address.0, address.1)))?;
        writeln!(io::stderr(), "listening on {}", listener.local_addr()?)?;
        serve(&listener, options, stop)?;
    }
    Ok(())
}

/// The first SIGINT or SIGTERM ends the stream behind a whole line, and what was begun is finished; the second ends the process.
fn stop_on_signals() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(guard);
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                poll_fn(|context| match (interrupt.poll_recv(context), terminate.poll_recv(context)) {
                    (Poll::Pending, Poll::Pending) => Poll::Pending,
                    _ => Poll::Ready(()),
                })
                .await;
                if STOP.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    });
    Ok(())
}

fn named(error: io::Error, attempt: &str) -> io::Error {
    io::Error::new(error.kind(), format!("could not {attempt}: {error}"))
}
