//! What listens, as `docs/security.md` promises it: tokens, certificates, limits, and secrets that are found nowhere.

mod canary;
mod crowd;
mod hostile;
mod tokens;

use std::net::SocketAddr;

use super::binary::send;

/// Status and text of a request with a token; `method` and path in one.
fn ask(address: SocketAddr, what: &str, token: &str) -> (u16, String) {
    let shown = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    send(
        address,
        &format!("{what} HTTP/1.1\r\nHost: localhost\r\n{shown}X-Tidemill: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    )
}

/// The value of a sample of `/metrics` whose line begins with `name`.
fn sample(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
