//! A fault outside fires its alert and no other, and the alert clears when the fault is over.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::binary::{Folder, pause};
use super::super::kafka::Broker;
use super::super::redis::{self, Server};
use super::{Prometheus, start};

/// What a slow server takes for each request.
const SLOW: Duration = Duration::from_millis(400);

#[test]
fn a_source_that_is_down() {
    let broker = Broker::own();
    let topic = broker.filled(1, 5);
    let folder = Folder::with(&format!(
        "version: 1\nname: down\ncheckpoint: checkpoint\nsources:\n  t:\n    from: {{ kafka: {{ bootstrap_servers: \"{}\", subscribe: {topic}, \
         starting_offsets: earliest, request_timeout: 1s }} }}\n    format: {{ json: {{ schema: \"id BIGINT\" }} }}\n\
         queries:\n  q:\n    sql: SELECT id FROM t\n    trigger: 200 milliseconds\n    to: {{ discard: {{}} }}\n",
        broker.address
    ));
    let (running, address) = start(&folder);
    let prometheus = Prometheus::scraping(address);
    prometheus.until_value("tidemill_rows_read_total", |rows| rows == 5.0, || {});
    prometheus.until_value("tidemill_source_lag_seconds", |lag| lag == 0.0, || {});
    prometheus.until_firing(&[], || {});
    broker.kill();
    prometheus.until_firing(&["TidemillQueryWaiting"], || {});
    assert!(running.says("query paused").contains("UNAVAILABLE"));
    broker.start();
    prometheus.until_firing(&[], || {});
    broker.fill(&topic, 1, 5, 5);
    prometheus.until_value("tidemill_rows_read_total", |rows| rows == 10.0, || {});
}

/// Passes on what comes, slowly while it is told to.
fn relay(server: &str, is_slow: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (server, is_slow) = (server.to_owned(), is_slow.clone());
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&server) else { continue };
            let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let is_slow = is_slow.clone();
            std::thread::spawn(move || forward(client, server, || is_slow.load(Ordering::SeqCst)));
            std::thread::spawn(move || forward(back_from, back_to, || false));
        }
    });
    address
}

fn forward(mut from: TcpStream, mut to: TcpStream, is_slow: impl Fn() -> bool) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if is_slow() {
            pause(SLOW);
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn a_sink_that_is_slow() {
    let is_slow = Arc::<AtomicBool>::default();
    let address = relay(&Server::shared().address, &is_slow);
    let folder = Folder::with(&format!(
        "version: 1\nname: slow\ncheckpoint: checkpoint\nconnections:\n  store: {{ redis: {{ address: \"{address}\" }} }}\nsources:\n  \
         t: {{ from: {{ rate: {{ rows_per_second: 50 }} }} }}\nqueries:\n  q:\n    sql: SELECT value FROM t\n    trigger: 1 second\n    \
         to: {{ redis: {{ connection: store, operation: set_add, key: {}, value: \"{{value}}\" }} }}\n",
        redis::prefix()
    ));
    let (_running, address) = start(&folder);
    let prometheus = Prometheus::scraping(address);
    prometheus.until_value("tidemill_rows_written_total", |rows| rows > 0.0, || {});
    prometheus.until_firing(&[], || {});
    is_slow.store(true, Ordering::SeqCst);
    prometheus.until_firing(&["TidemillSinkSlow"], || {});
    is_slow.store(false, Ordering::SeqCst);
    prometheus.until_firing(&[], || {});
}

#[test]
fn malformed_lines_and_event_time_that_stands_still() {
    let folder = Folder::with(
        "version: 1\nname: bad\ncheckpoint: checkpoint\nsources:\n  t:\n    from: { socket: { listen: \"127.0.0.1:0\" } }\n    \
         format: { json: { schema: \"user STRING, ts TIMESTAMP\" } }\n    watermark: { column: ts, delay: 1 second }\n    on_malformed: drop\n\
         queries:\n  q:\n    sql: SELECT user, count(*) AS n FROM t GROUP BY user, window(ts, '10 seconds')\n    output_mode: update\n    \
         trigger: 200 milliseconds\n    to: { discard: {} }\n",
    );
    let (running, address) = start(&folder);
    let prometheus = Prometheus::scraping(address);
    let (mut client, mut seconds) = (running.client(), 1_700_000_000);
    let mut send = |step: i64, is_malformed: bool| {
        seconds += step;
        writeln!(client, "{{\"user\":\"ann\",\"ts\":{seconds}}}").unwrap();
        if is_malformed {
            writeln!(client, "<<< no JSON >>>").unwrap();
        }
    };
    prometheus.until_value("tidemill_watermark_timestamp_seconds", |at| at > 1.7e9, || send(1, false));
    prometheus.until_firing(&[], || send(1, false));
    prometheus.until_firing(&["TidemillMalformed"], || send(1, true));
    prometheus.until_firing(&[], || send(1, false));
    prometheus.until_firing(&["TidemillWatermarkStalled"], || send(0, false));
    prometheus.until_firing(&[], || send(1, false));
}
