//! `tidemill-producer`: card transactions over TCP, to a file, or to standard output.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tidemill_producer::{Options, connect, serve, write_to};

/// Card transactions as JSON lines. Listens and serves any number of clients unless told otherwise.
#[derive(Debug, Parser)]
#[command(name = "tidemill-producer", version)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    hostname: String,
    /// Port to listen on.
    #[arg(long, default_value_t = 5555)]
    port: u16,
    /// Connects to a listening engine instead, e.g. `127.0.0.1:5555`.
    #[arg(long, value_name = "ADDR", conflicts_with = "output")]
    connect: Option<String>,
    /// Writes to a file instead, or to standard output with `-`.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

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
    let (options, never) = (&arguments.options, &|| false);
    if let Some(address) = &arguments.connect {
        connect(address, options, never).map_err(|error| named(error, &format!("send to {address}")))?;
    } else if let Some(path) = &arguments.output {
        if path.as_os_str() == "-" {
            write_to(&mut io::stdout().lock(), options, never)?;
        } else {
            let file = File::create(path).map_err(|error| named(error, &format!("create {}", path.display())))?;
            write_to(&mut BufWriter::new(file), options, never)?;
        }
    } else {
        let address = (arguments.hostname.as_str(), arguments.port);
        let listener =
            TcpListener::bind(address).map_err(|error| named(error, &format!("listen on {}:{}", address.0, address.1)))?;
        writeln!(io::stderr(), "listening on {}", listener.local_addr()?)?;
        serve(&listener, options, never)?;
    }
    Ok(())
}

fn named(error: io::Error, attempt: &str) -> io::Error {
    io::Error::new(error.kind(), format!("could not {attempt}: {error}"))
}
