//! What listens, as `docs/security.md` promises it: tokens, certificates, limits, and secrets that are found nowhere.

mod canary;
mod crowd;
mod hostile;
mod tokens;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::binary::PATIENCE;

/// Sends a request as it is and reads the answer: status and text.
fn send(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    answer(&mut stream)
}

/// Reads an answer to the end of its connection; status 0 is none.
fn answer(stream: &mut TcpStream) -> (u16, String) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // A connection that is closed with something unread is reset; what came before counts.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text)
}

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
