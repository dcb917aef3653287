//! Streams over TCP.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use crate::{Options, write_to};

/// Clients served at the same time; further ones wait to be accepted.
const CLIENTS_MAX: usize = 1024;
/// How often a listener without clients looks whether it should stop.
const NAP: Duration = Duration::from_millis(20);
/// How long a write may wait for a client that does not read before it looks whether it should stop.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);

/// Serves every client of `listener` a stream of its own. Ends when the last client has gone (each got its count, or closed its
/// end), as the lecture's producer does with its only one, or when `stop` says so; before the first client comes it waits.
/// Returns the number of clients served.
pub fn serve(listener: &TcpListener, options: &Options, stop: &(dyn Fn() -> bool + Sync)) -> io::Result<usize> {
    listener.set_nonblocking(true)?;
    let mut served = 0;
    thread::scope(|scope| {
        let mut clients = Vec::new();
        loop {
            clients.retain(|client: &thread::ScopedJoinHandle<'_, ()>| !client.is_finished());
            if stop() {
                return Ok(served);
            }
            if clients.len() == CLIENTS_MAX {
                thread::sleep(NAP);
                continue;
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    served += 1;
                    clients.push(scope.spawn(move || send(stream, options, stop)));
                }
                // Only when nobody waits to be accepted: who connected before the last client went is served too.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && served > 0 && clients.is_empty() => return Ok(served),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(NAP),
                Err(error) => return Err(error),
            }
        }
    })
}

/// Connects to a listening engine and sends the stream of `options`.
pub fn connect(address: impl ToSocketAddrs, options: &Options, stop: &(dyn Fn() -> bool + Sync)) -> io::Result<u64> {
    write_to(&mut Patient::new(TcpStream::connect(address)?, stop)?, options, stop)
}

/// A client that goes ends its stream and nothing else.
fn send(stream: TcpStream, options: &Options, stop: &(dyn Fn() -> bool + Sync)) {
    if let Ok(mut stream) = Patient::new(stream, stop) {
        let _ = write_to(&mut stream, options, stop);
    }
}

/// A connection whose writes wait for a slow reader as long as nobody says stop.
struct Patient<'a> {
    stream: TcpStream,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Patient<'a> {
    fn new(stream: TcpStream, stop: &'a (dyn Fn() -> bool + Sync)) -> io::Result<Self> {
        // An accepted connection may inherit the listener's mode.
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        Ok(Self { stream, stop })
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if (self.stop)() {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "stopped while the reader was not reading"));
                    }
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn listener() -> TcpListener {
        TcpListener::bind(("127.0.0.1", 0)).unwrap()
    }

    #[test]
    fn every_client_gets_the_whole_stream() {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let options = Options { rate: 0.0, count: Some(1000), ..Options::default() };
        let texts: Vec<String> = thread::scope(|scope| {
            let (first, second) = (TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap());
            scope.spawn(|| serve(&listener, &options, &|| false).unwrap());
            [first, second]
                .map(|mut client| {
                    let mut text = String::new();
                    client.read_to_string(&mut text).unwrap();
                    text
                })
                .into()
        });
        assert_eq!(texts[0].lines().count(), 1000);
        assert_eq!(texts[0], texts[1]);
    }

    #[test]
    fn it_ends_when_its_client_goes() {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let options = Options { rate: 1000.0, ..Options::default() };
        thread::scope(|scope| {
            let served = scope.spawn(|| serve(&listener, &options, &|| false).unwrap());
            let client = TcpStream::connect(address).unwrap();
            let mut line = String::new();
            BufReader::new(&client).read_line(&mut line).unwrap();
            assert!(line.starts_with("{\"name\""));
            drop(client);
            assert_eq!(served.join().unwrap(), 1);
        });
    }

    #[test]
    fn a_client_that_does_not_read_does_not_keep_it_from_stopping() {
        let listener = listener();
        let options = Options { rate: 0.0, ..Options::default() };
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let served = scope.spawn(|| serve(&listener, &options, &|| stop.load(Ordering::SeqCst)).unwrap());
            client.read_exact(&mut [0]).unwrap();
            stop.store(true, Ordering::SeqCst);
            assert_eq!(served.join().unwrap(), 1);
        });
    }

    #[test]
    fn it_connects_to_a_listening_engine() {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let options = Options { rate: 0.0, count: Some(10), ..Options::default() };
        thread::scope(|scope| {
            scope.spawn(|| connect(address, &options, &|| false).unwrap());
            let (stream, _) = listener.accept().unwrap();
            assert_eq!(BufReader::new(stream).lines().count(), 10);
        });
    }
}
