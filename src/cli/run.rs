//! `tidemill run`: the queries of a pipeline file, until they end or a signal comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tidemill::clock::SystemClock;
use tidemill::engine::start::{self, Process, Resources};
use tidemill::metrics::Metrics;
use tidemill::pipeline::Pipeline;
use tidemill::service::{self, Service};
use tidemill::{Attempt, Error, ErrorKind, Result, shutdown};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::FileArguments;
use super::logging::LogArguments;
use super::status_line::StatusLine;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    file: FileArguments,
    /// Moves an existing checkpoint aside and starts anew.
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    pub(super) service: ServiceArguments,
}

/// Arguments shared by the commands that run queries.
#[derive(Debug, Args)]
pub(super) struct ServiceArguments {
    /// No live status line.
    #[arg(long)]
    quiet: bool,
    /// Address of control and state over HTTP; the next free port when the default is taken.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// A further address for `/metrics`, `/healthz` and `/readyz` only.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    log: LogArguments,
}

impl Run {
    pub(super) fn execute(self) -> Result<()> {
        let pipeline = self.file.load()?;
        if self.fresh {
            if let Some(aside) = start::move_checkpoint_aside(&pipeline)? {
                let _ = std::io::Write::write_fmt(
                    &mut std::io::stderr(),
                    format_args!("moved the old checkpoint to {}\n", aside.display()),
                );
            }
        }
        self.service.run(pipeline, |_io, _stop| Ok(()))
    }
}

/// The runtime on which batches compute.
pub(super) fn compute_runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name("compute")
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()
        .attempting(ErrorKind::Internal, || "start the compute runtime".to_owned())
}

/// The runtime on which sockets and HTTP live, so that they answer while a batch grinds.
fn io_runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("io")
        .enable_all()
        .build()
        .attempting(ErrorKind::Internal, || "start the I/O runtime".to_owned())
}

impl ServiceArguments {
    /// Runs `pipeline` after `prepare` has put what it needs on the I/O runtime.
    pub(super) fn run(self, pipeline: Pipeline, prepare: impl FnOnce(&Runtime, &CancellationToken) -> Result<()>) -> Result<()> {
        self.control_address()?;
        let status = StatusLine::new(self.quiet);
        self.log.start(&status)?;
        let (compute, io) = (compute_runtime()?, io_runtime()?);
        let stop = CancellationToken::new();
        prepare(&io, &stop)?;
        let outcome = compute.block_on(self.supervise(pipeline, &io, status, stop));
        io.shutdown_timeout(Duration::from_secs(1));
        compute.shutdown_timeout(Duration::from_secs(1));
        outcome
    }

    async fn supervise(self, pipeline: Pipeline, io: &Runtime, status: StatusLine, stop: CancellationToken) -> Result<()> {
        let metrics = Metrics::new()?;
        let name = pipeline.name.clone();
        let console = status.clone();
        let resources = Resources {
            io: io.handle().clone(),
            clock: Arc::new(SystemClock),
            metrics: metrics.clone(),
            stop: stop.clone(),
            console: Arc::new(move || Box::new(console.stdout())),
            ..Resources::new(io.handle().clone(), metrics.clone())
        };
        let signals = io.spawn(shutdown::on_signals(stop.clone()));
        let monitors = start::monitors_of(&pipeline);
        let serving = stop.child_token();
        // Before anything is planned: a large table may take its time, and who asks is told that the queries are starting.
        self.serve(io, &Service::new(&name, monitors.clone(), metrics), &serving).await?;
        let process = Process::start_watched(pipeline, monitors.clone(), resources).await?;
        let line = io.spawn(status.show(monitors, serving.clone()));
        let outcome = process.wait(shutdown::GRACE).await;
        serving.cancel();
        let _ = line.await;
        signals.abort();
        outcome
    }

    fn control_address(&self) -> Result<SocketAddr> {
        let address = self.http.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 4040)));
        if address.ip().is_loopback() {
            return Ok(address);
        }
        Err(Error::config(format!(
            "--http {address} is not a loopback address: control has no authentication; use --metrics for what may be seen anywhere"
        )))
    }

    async fn serve(&self, io: &Runtime, service: &Service, stop: &CancellationToken) -> Result<()> {
        let address = self.control_address()?;
        let mut listeners = vec![(address, self.http.is_none(), service.control())];
        if let Some(address) = self.metrics {
            listeners.push((address, false, service.public()));
        }
        for (address, or_next, router) in listeners {
            let (bound, stop) = (io.spawn(service::bind(address, or_next)), stop.clone());
            let listener = bound.await.attempting(ErrorKind::Internal, || format!("listen on {address}"))??;
            let local = listener.local_addr().attempting(ErrorKind::Internal, || format!("listen on {address}"))?;
            info!("metrics at http://{local}/metrics");
            io.spawn(async move {
                if let Err(error) = service::serve(listener, router, stop).await {
                    warn!(error = error.chain(), "the HTTP service ended");
                }
            });
        }
        Ok(())
    }
}
