//! Streams over TCP.

use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use crate::{Options, write_to};

/// Clients served at the same time; further ones wait to be accepted.
const CLIENTS_MAX: usize = 1024;
/// How often a listener without clients looks whether it should stop.
const NAP: Duration = Duration::from_millis(20);

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
            if stop() || (served > 0 && clients.is_empty()) {
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(NAP),
                Err(error) => return Err(error),
            }
        }
    })
}

/// Connects to a listening engine and sends the stream of `options`.
pub fn connect(address: impl ToSocketAddrs, options: &Options, stop: &(dyn Fn() -> bool + Sync)) -> io::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    write_to(&mut stream, options, stop)
}

/// A client that goes ends its stream and nothing else.
fn send(mut stream: TcpStream, options: &Options, stop: &(dyn Fn() -> bool + Sync)) {
    let prepared = stream.set_nonblocking(false).and_then(|()| stream.set_nodelay(true));
    if prepared.is_ok() {
        let _ = write_to(&mut stream, options, stop);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};

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
