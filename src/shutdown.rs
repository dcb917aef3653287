//! Stopping on a signal: the first asks, the second insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::{Attempt, ErrorKind, Result};

/// How long queries may take to finish their batch after the first signal; closing what they shared follows within 30 s in all.
pub const GRACE: std::time::Duration = std::time::Duration::from_secs(25);

/// Cancels `stop` at the first SIGTERM or Ctrl-C and ends the process at the second, with 128 + its number. Whatever a batch had
/// not decided by then is run again at the next start; nothing is lost either way.
pub async fn on_signals(stop: CancellationToken) -> Result<()> {
    let attempt = || "listen for signals".to_owned();
    let mut terminate = signal(SignalKind::terminate()).attempting(ErrorKind::Internal, attempt)?;
    let mut interrupt = signal(SignalKind::interrupt()).attempting(ErrorKind::Internal, attempt)?;
    loop {
        let code = tokio::select! {
            _ = terminate.recv() => 143,
            _ = interrupt.recv() => 130,
        };
        if stop.is_cancelled() {
            warn!("second signal: ending at once");
            std::process::exit(code);
        }
        info!(grace_s = GRACE.as_secs(), "stopping after the current batch; a second signal ends the process at once");
        stop.cancel();
    }
}
