//! Stands between the engine and a server and holds every answer back for a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A proxy; it ends with the runtime.
pub(super) struct Slow {
    pub(super) address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
}

impl Slow {
    /// In front of `server`, whose answers take `delay` longer.
    pub(super) async fn before(server: &str, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = Self { address, delay_ms: Arc::default() };
        slow.set(delay);
        let (server, delay_ms) = (server.to_owned(), slow.delay_ms.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let delay_ms = delay_ms.clone();
                tokio::spawn(async move { pass_on(client, server, &delay_ms).await });
            }
        });
        slow
    }

    /// From now on answers take so much longer.
    pub(super) fn set(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

async fn pass_on(mut client: TcpStream, mut server: TcpStream, delay_ms: &AtomicU64) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let ask = tokio::io::copy(&mut from_client, &mut to_server);
    let answer = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = from_server.read(&mut buffer).await?;
            if read == 0 {
                return Ok::<(), std::io::Error>(());
            }
            tokio::time::sleep(Duration::from_millis(delay_ms.load(Ordering::Relaxed))).await;
            to_client.write_all(&buffer[..read]).await?;
        }
    };
    // Either end ends the connection.
    tokio::select! {
        _ = ask => {}
        _ = answer => {}
    }
}
