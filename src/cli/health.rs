//! `tidemill health`: asks a running process how it is, for whoever supervises an image that holds neither a shell nor curl.

use std::time::Duration;

use clap::Args;
use reqwest::{Client, Url, redirect};
use tidemill::{Attempt, Error, ErrorKind, Result};
use tokio::runtime::Builder;

/// Longest wait for a whole answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `health`.
#[derive(Debug, Args)]
pub(super) struct Health {
    /// Where the process answers (`--http` or `--metrics`); `/healthz` is asked for unless the address has a path, such as
    /// `/readyz`, which also asks whether every query runs.
    #[arg(default_value = "http://127.0.0.1:4040", value_name = "URL")]
    url: Url,
}

impl Health {
    pub(super) fn execute(mut self) -> Result<()> {
        if self.url.scheme() != "http" {
            return Err(Error::config(format!("{} is not of http, as the address of --metrics always is", self.url)));
        }
        if self.url.path() == "/" {
            self.url.set_path("/healthz");
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let answer = runtime.attempting(ErrorKind::Internal, || "start a runtime".to_owned())?.block_on(ask(&self.url))?;
        super::print(&answer)
    }
}

/// What `url` answers, if it is well.
async fn ask(url: &Url) -> Result<String> {
    // Not `Unavailable`: its exit code has no meaning to container engines, which know 0 and 1.
    let attempt = || format!("ask {url}");
    let client = Client::builder().no_proxy().tls_built_in_root_certs(false).redirect(redirect::Policy::none()).timeout(TIMEOUT);
    let client = client.build().attempting(ErrorKind::Internal, attempt)?;
    let answer = client.get(url.clone()).send().await.attempting(ErrorKind::Data, attempt)?;
    let status = answer.status();
    let text = answer.text().await.attempting(ErrorKind::Data, attempt)?;
    if !status.is_success() {
        return Err(Error::new(ErrorKind::Data, format!("{url} answers {status}: {}", text.trim_end())));
    }
    Ok(text)
}
