//! `tidemill run`: the queries of a pipeline file, until they end or a signal comes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tidemill::clock::SystemClock;
use tidemill::engine::control;
use tidemill::engine::start::{self, Process, Resources};
use tidemill::metrics::Metrics;
use tidemill::pipeline::{Pipeline, Text};
use tidemill::service::{self, Access, Exposure, Limits, Listening, Scope, Service, Tls, Tokens};
use tidemill::{Attempt, Error, ErrorKind, Result, shutdown};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::FileArguments;
use super::logging::LogArguments;
use super::open_files;
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
    /// File with the token that requests to `--http` must show, instead of `service.token`; twice while one replaces another.
    #[arg(long, value_name = "FILE")]
    http_token_file: Vec<PathBuf>,
    /// Lets `--http` and HTTP sources listen beyond loopback although tokens and all rows cross the network in clear.
    #[arg(long)]
    i_know_insecure: bool,
    /// A further address for `/metrics`, `/healthz` and `/readyz` only.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    log: LogArguments,
}

/// What listens, and what stands between it and the world.
struct Guard {
    control: Listening,
    metrics: Option<Listening>,
}

impl Run {
    pub(super) fn execute(self) -> Result<()> {
        let pipeline = self.file.load(&self.service.overrides())?;
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
        let guard = self.guard(&pipeline)?;
        let status = StatusLine::new(self.quiet);
        self.log.start(&status)?;
        open_files::allow_many(pipeline.limits.connections_max);
        let (compute, io) = (compute_runtime()?, io_runtime()?);
        let stop = CancellationToken::new();
        prepare(&io, &stop)?;
        let outcome = compute.block_on(self.supervise(pipeline, &io, status, stop, guard));
        io.shutdown_timeout(Duration::from_secs(1));
        compute.shutdown_timeout(Duration::from_secs(1));
        outcome
    }

    async fn supervise(
        self,
        pipeline: Pipeline,
        io: &Runtime,
        status: StatusLine,
        stop: CancellationToken,
        guard: Guard,
    ) -> Result<()> {
        let metrics = Metrics::new()?;
        let (control, requests) = control::channel();
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
        let service = Service::new(&name, monitors.clone(), metrics.clone(), serving.clone())
            .with_control(control, guard.control.access.clone());
        metrics.add_listener(&name, "http", guard.control.stats.clone());
        if let Some(listening) = &guard.metrics {
            metrics.add_listener(&name, "metrics", listening.stats.clone());
        }
        self.serve(io, &service, guard, &serving).await?;
        let process = Process::start_watched(pipeline, monitors.clone(), resources).await?;
        let line = io.spawn(status.show(monitors, serving.clone()));
        let outcome = process.supervise(shutdown::GRACE, requests).await;
        serving.cancel();
        let _ = line.await;
        signals.abort();
        outcome
    }

    fn address(&self) -> SocketAddr {
        self.http.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 4040)))
    }

    /// What these arguments put over settings of the file.
    pub(super) fn overrides(&self) -> Vec<String> {
        if self.i_know_insecure { vec!["service.i_know_insecure=true".to_owned()] } else { Vec::new() }
    }

    /// Who may use `--http` and `--metrics`, and how they are encrypted.
    fn guard(&self, pipeline: &Pipeline) -> Result<Guard> {
        let read = |file: &PathBuf| {
            let shown = file.display().to_string();
            Text::of_file(file, shown.as_str()).map_err(|why| Error::config(format!("--http-token-file {shown}: {why}")))
        };
        let files: Vec<Text> = self.http_token_file.iter().map(read).collect::<Result<_>>()?;
        let settings = &pipeline.service;
        let operate = if files.is_empty() { &settings.tokens } else { &files };
        let scoped =
            [(Scope::Operate, operate), (Scope::Read, &settings.read_tokens), (Scope::Metrics, &settings.metrics_tokens)];
        let scoped = scoped.into_iter().flat_map(|(scope, texts)| texts.iter().map(move |text| (scope, text)));
        let tokens = Tokens::new("--http", scoped)?;
        let tls = settings.tls.as_ref().map(Tls::read).transpose()?;
        let exposure = |address, is_encrypted| Exposure { address, is_encrypted, is_insecure: settings.is_insecure };
        let limits = Limits { connections_max: pipeline.limits.connections_max, ..Limits::default() };
        let access = Access::control(exposure(self.address(), tls.is_some()), tokens.clone())?;
        let control = Listening { tls, ..Listening::new(limits, access) };
        let metrics = self.metrics.map(|address| {
            // Without a token of its own it is for everyone. It speaks plain HTTP, as those do who ask for it.
            let tokens = if settings.metrics_tokens.is_empty() { Tokens::default() } else { tokens };
            Listening::new(limits, Access::metrics(exposure(address, false), tokens))
        });
        Ok(Guard { control, metrics })
    }

    async fn serve(&self, io: &Runtime, service: &Service, guard: Guard, stop: &CancellationToken) -> Result<()> {
        let mut listeners = vec![(self.address(), self.http.is_none(), service.control(), guard.control)];
        if let Some((address, listening)) = self.metrics.zip(guard.metrics) {
            listeners.push((address, false, service.public(&listening.access), listening));
        }
        for (nth, (address, or_next, router, listening)) in listeners.into_iter().enumerate() {
            let bound = io.spawn(service::bind(address, or_next));
            let listener = bound.await.attempting(ErrorKind::Internal, || format!("listen on {address}"))??;
            let local = listener.local_addr().attempting(ErrorKind::Internal, || format!("listen on {address}"))?;
            let scheme = if listening.tls.is_some() { "https" } else { "http" };
            info!("metrics at {scheme}://{local}/metrics");
            let is_control = nth == 0;
            if is_control {
                info!("live page at {scheme}://{local}/");
            }
            match (listening.access.is_insecure(), is_control) {
                (true, true) => {
                    warn!(%local, "control listens beyond loopback without TLS: the token and all rows cross the network in clear");
                }
                (true, false) => {
                    warn!(%local, "--metrics listens beyond loopback, never with TLS: its token crosses the network in clear")
                }
                (false, _) => {}
            }
            io.spawn(service::serve(listener, router, listening, stop.clone()));
        }
        Ok(())
    }
}
