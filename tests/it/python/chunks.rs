//! How rows become calls: chunks, order, what is in flight, what is kept.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::super::http_server::{HttpServer, reply};
use super::{Fixture, column, numbers};

fn integers(count: usize) -> Vec<Value> {
    (0..count).map(Value::from).collect()
}

#[test]
fn s0_7_a_batch_is_cut_into_whole_chunks() {
    let code = "
async def same(context, values):
    tell(rows=len(values), first=values[0], range=[context.input_range.start, context.input_range.stop], chunk=context.chunk_index)
    for value in values:
        yield value
";
    let function = "  same: { args: n BIGINT, returns: BIGINT, chunk_size: 100, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT same(n) AS n FROM t", "n BIGINT", &numbers(10_000));
    fixture.run();
    assert_eq!(column(&fixture.rows(), "n"), integers(10_000));
    let mut seen = fixture.seen();
    seen.sort_by_key(|call| call["chunk"].as_u64());
    let expected: Vec<Value> = (0..100)
        .map(|chunk| json!({ "rows": 100, "first": chunk * 100, "range": [chunk * 100 + 1, chunk * 100 + 101], "chunk": chunk + 1 }))
        .collect();
    assert_eq!(seen, expected);
}

/// The first chunk waits until all others have been answered.
#[test]
fn s0_8_the_slowest_chunk_holds_its_place() {
    let code = "
answered = 0
others = asyncio.Event()

async def same(context, values):
    global answered
    if context.chunk_index == 1:
        await others.wait()
    for value in values:
        yield value
    answered += 1
    tell(chunk=context.chunk_index)
    if answered == 2:
        others.set()
";
    let function = "  same: { args: n BIGINT, returns: BIGINT, chunk_size: 2, timeout: 60s, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT same(n) AS n FROM t", "n BIGINT", &numbers(6));
    fixture.run();
    assert_eq!(column(&fixture.rows(), "n"), integers(6));
    assert_eq!(fixture.seen().last(), Some(&json!({ "chunk": 1 })));
}

/// Two functions, each with workers of its own, share the seven places of the process.
#[test]
fn s0_9_and_11_functions_share_what_may_be_in_flight() {
    let server = HttpServer::start(|_| async {
        sleep(Duration::from_millis(5)).await;
        reply(200, "")
    });
    let code = "
async def ask(context, values):
    reader, writer = await asyncio.open_connection(*context.parameters.server)
    writer.write(b'GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')
    await reader.read()
    writer.close()
    for value in values:
        yield value

one = two = ask
";
    let address = server.address;
    let declared = |name: &str| {
        format!(
            "  {name}: {{ args: n BIGINT, returns: BIGINT, chunk_size: 10, timeout: 60s, parameters: {{ server: [\"{}\", {}] }}, python: {{ {{python}} }} }}",
            address.ip(),
            address.port()
        )
    };
    let functions = format!("{}\n{}", declared("one"), declared("two"));
    let fixture = Fixture::new(&functions, code, "SELECT one(n) AS a, two(n) AS b FROM t", "n BIGINT", &numbers(500));
    fixture.run();
    assert_eq!((column(&fixture.rows(), "a"), column(&fixture.rows(), "b")), (integers(500), integers(500)));
    assert_eq!(server.seen().len(), 100);
    assert!((2..=7).contains(&server.in_flight_max()), "{}", server.in_flight_max());
}

#[test]
fn one_call_in_flight_is_one_after_the_other() {
    let code = "
now = 0

async def f(context, values):
    global now
    now += 1
    tell(now=now)
    await asyncio.sleep(0.001)
    for value in values:
        yield value
    now -= 1
";
    let function = "  f: { args: n BIGINT, returns: BIGINT, chunk_size: 2, max_in_flight: 1, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT f(n) AS n FROM t", "n BIGINT", &numbers(40));
    fixture.run();
    assert_eq!(fixture.seen(), vec![json!({ "now": 1 }); 20]);
}

/// Ten ids of which four have been asked before, in the first chunk.
#[test]
fn s0_13_answers_that_are_kept_stand_in_their_places() {
    let code = "
async def f(context, values):
    tell(values=values, range=len(context.input_range))
    for value in values:
        yield value * 10
";
    let function = "  f: { args: n BIGINT, returns: BIGINT, chunk_size: 4, max_in_flight: 1, cache: { entries: 100 }, python: { {python} } }";
    let asked = [1, 3, 5, 7, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    let rows: Vec<Value> = asked.iter().map(|n| json!({ "n": n })).collect();
    let fixture = Fixture::new(function, code, "SELECT n, f(n) AS m FROM t", "n BIGINT", &rows);
    fixture.run();
    let expected: Vec<Value> = asked.iter().map(|n| json!({ "n": n, "m": n * 10 })).collect();
    assert_eq!(fixture.rows(), expected);
    let asked: Vec<Value> = fixture.seen().iter().flat_map(|call| call["values"].as_array().unwrap().clone()).collect();
    assert_eq!(asked.len(), 10, "{asked:?}");
    assert_eq!(asked.iter().map(|n| n.as_u64().unwrap()).collect::<BTreeSet<_>>(), (0..10).collect());
}
