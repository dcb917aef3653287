//! As much of HTTP as many clients need: a connection that is kept, and answers of which only status and length matter.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection to a server.
pub(super) struct Connection {
    stream: TcpStream,
    /// What came and was not looked at yet.
    buffer: Vec<u8>,
}

/// What an answer's head says.
pub(super) struct Head {
    pub(super) status: u16,
    /// None of an answer that comes in pieces.
    length: Option<usize>,
}

impl Connection {
    pub(super) async fn to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Asks, and reads all of the answer; its status.
    pub(super) async fn get(&mut self, path: &str) -> Result<u16> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }

    /// Sends a request as it is, and reads all of the answer; its status.
    pub(super) async fn ask(&mut self, request: &str) -> Result<u16> {
        let head = self.begin(request).await?;
        let mut left = head.length.ok_or_else(|| Error::new(ErrorKind::InvalidData, "an answer without a length"))?;
        while left > 0 {
            if self.buffer.is_empty() {
                self.more().await?;
            }
            let taken = left.min(self.buffer.len());
            self.buffer.drain(..taken);
            left -= taken;
        }
        Ok(head.status)
    }

    /// Sends a request, and reads the head of its answer.
    pub(super) async fn begin(&mut self, request: &str) -> Result<Head> {
        self.stream.write_all(request.as_bytes()).await?;
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        self.buffer.drain(..end);
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| Error::new(ErrorKind::InvalidData, text.clone()))?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        Ok(Head { status, length })
    }

    /// How many more bytes of an answer without end have come; waits for some.
    pub(super) async fn follow(&mut self) -> Result<usize> {
        if self.buffer.is_empty() {
            self.more().await?;
        }
        let read = self.buffer.len();
        self.buffer.clear();
        Ok(read)
    }

    async fn more(&mut self) -> Result<()> {
        self.buffer.reserve(4 << 10);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
