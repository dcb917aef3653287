//! `tidemill demo`: producer, socket source, fraud query and console in one process, in an empty folder.

use std::path::Path;
use std::thread;

use clap::Args;
use tidemill::{Attempt, ErrorKind, Result, pipeline};
use tidemill_producer as producer;

use super::run::ServiceArguments;

/// The query that `demo` runs, as `tidemill run` would from a file.
const PIPELINE: &str = include_str!("demo.yaml");

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Transactions per second.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    #[command(flatten)]
    service: ServiceArguments,
}

impl Demo {
    pub(super) fn execute(self) -> Result<()> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))
            .attempting(ErrorKind::Unavailable, || "listen on 127.0.0.1".to_owned())?;
        let address = listener.local_addr().attempting(ErrorKind::Unavailable, || "listen on 127.0.0.1".to_owned())?.to_string();
        let environment = move |name: &str| (name == "DEMO_ADDRESS").then(|| address.clone());
        let pipeline = pipeline::parse(PIPELINE, "demo.yaml", Path::new("."), &self.service.overrides(), &environment)?;
        let options = producer::Options { rate: self.rate, ..producer::Options::default() };
        self.service.run(pipeline, move |_io, stop| {
            let stop = stop.clone();
            thread::Builder::new()
                .name("producer".to_owned())
                .spawn(move || {
                    if let Err(error) = producer::serve(&listener, &options, &|| stop.is_cancelled()) {
                        tracing::warn!(%error, "the demo's producer ended");
                    }
                })
                .attempting(ErrorKind::Internal, || "start the producer".to_owned())?;
            Ok(())
        })
    }
}
