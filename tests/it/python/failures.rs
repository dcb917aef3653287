//! What goes wrong in user code, before and during calls, and what follows.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::{Fixture, column, interpreter, numbers};

/// The third row fails while the others wait for it: the batch does not.
#[test]
fn s0_12_a_row_that_raises_fails_the_batch() {
    let code = "
others = 0

async def f(context, values):
    global others
    if values[0] == 2:
        while others < 5:
            await asyncio.sleep(0.001)
        raise ValueError('no such row')
    others += 1
    await asyncio.Event().wait()
    yield 1
";
    let function = "  f: { args: n BIGINT, returns: BIGINT, chunk_size: 1, timeout: 60s, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(6));
    let ended = fixture.fails("could not call function \"f\" for row 3 (attempts: 1): ValueError: no such row (f.py:22)");
    assert_eq!(fixture.dead_letters(), Vec::<Value>::new());
    assert!(!ended.stderr.contains("panic"), "{ended:?}");
}

#[test]
fn s0_12_or_goes_to_the_dead_letter() {
    let code = "
def helper(value):
    return {}['missing']

async def f(context, values):
    tell(n=values[0])
    yield helper(values[0]) if values[0] == 2 else values[0]
";
    for (on_error, expected) in [("drop_row", json!([0, 1, 3, 4, 5])), ("return_null", json!([0, 1, null, 3, 4, 5]))] {
        let function =
            format!("  f: {{ args: n BIGINT, returns: BIGINT, chunk_size: 1, on_error: {on_error}, python: {{ {{python}} }} }}");
        let fixture = Fixture::new(&function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(6));
        fixture.run();
        assert_eq!(Value::from(column(&fixture.rows(), "m")), expected);
        let [letter] = &fixture.dead_letters()[..] else { panic!("{:?}", fixture.dead_letters()) };
        assert_eq!((&letter["kind"], &letter["reason"]), (&json!("failed_call"), &json!("KeyError: 'missing' (f.py:16)")));
        assert_eq!(fixture.seen().len(), 6, "such a failure is not tried again");
    }
}

#[test]
fn what_another_attempt_may_help_gets_one() {
    let code = "
async def f(context, values):
    tell(n=values[0])
    if first_time(f'asked-{values[0]}'):
        if values[0] == 0:
            raise ConnectionResetError('gone')
        if values[0] == 1:
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        if values[0] == 2:
            try:
                await asyncio.Event().wait()
            finally:
                tell(cancelled=True)
    yield values[0]
";
    let function = "  f: { args: n BIGINT, returns: BIGINT, chunk_size: 1, timeout: 500ms, retry: { base_delay: 1ms }, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(4));
    fixture.run();
    assert_eq!(column(&fixture.rows(), "m"), [0, 1, 2, 3]);
    let seen = fixture.seen();
    let times = |n: u64| seen.iter().filter(|call| call["n"] == n).count();
    assert_eq!([0, 1, 2, 3].map(times), [2, 2, 2, 1], "{seen:?}");
    assert!(seen.contains(&json!({ "cancelled": true })), "a call that takes too long is cancelled: {seen:?}");
}

/// Also where there is no end to it.
#[test]
fn an_answer_that_is_too_large_is_refused() {
    let code = "
async def text(context, values):
    yield 'x' * 5_000_000

async def rows(context, rows):
    while True:
        yield 0, {'k': 1}
";
    let text = "  text: { args: n BIGINT, returns: STRING, python: { {python} } }";
    let why = "bytes is larger than max_answer, 1048576 bytes";
    Fixture::new(text, code, "SELECT text(n) AS m FROM t", "n BIGINT", &numbers(1)).fails(why);
    let rows = "  rows: { args: n BIGINT, returns: TABLE (k BIGINT), timeout: 60s, python: { {python} } }";
    Fixture::new(rows, code, "SELECT r.k FROM t, LATERAL rows(t.n) AS r", "n BIGINT", &numbers(1)).fails(why);
}

/// A program for a function whose code does not matter.
fn fails_to_start(code: &str, python: &str, message: &str) {
    let function = format!("  f: {{ args: n BIGINT, returns: BIGINT, python: {{ {python} }} }}");
    Fixture::new(&function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(2)).fails(message);
}

#[test]
fn what_cannot_be_called_is_told_with_the_reason() {
    let cases = [
        ("x = (", "SyntaxError: '(' was never closed"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("def g():\n    return 1 / 0\ng()", "in g\n    return 1 / 0"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("pass", "f.py has no f"),
        (
            "async def f(context, values): return values",
            "is no async generator function: expected async def f(context, values) with yield",
        ),
        ("def f(context, values): yield 1", "is no async generator function"),
        ("async def f(values): yield 1", "f(values) of "),
        ("f = 7", "is no async generator function"),
    ];
    for (code, message) in cases {
        fails_to_start(&format!("\n{code}\n"), "{python}", message);
    }
}

/// A file of the fixture that the system can run.
fn program(fixture: &Fixture, text: &str) {
    let path = fixture.folder.path("interpreter");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

const FINE: &str = "
async def f(context, values):
    for value in values:
        yield value
";

#[test]
fn an_interpreter_that_is_none_is_told_with_what_it_said() {
    let check = |text: &str, messages: &[&str]| {
        let function = "  f: { args: n BIGINT, returns: BIGINT, python: { file: f.py, interpreter: ./interpreter } }";
        let fixture = Fixture::new(function, FINE, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(2));
        program(&fixture, text);
        let ended = fixture.start().end();
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(messages.iter().all(|message| ended.stderr.contains(message)), "{messages:?}: {ended:?}");
    };
    check(
        "echo first >&2; echo last >&2; exit 3",
        &["ended before the function was there: exit code 3", "\nfirst\nlast; to go on: "],
    );
    let bare = format!("exec {:?} -S \"$@\"", interpreter());
    check(&bare, &["has no pyarrow", "-m pip install pyarrow"]);
}

#[test]
fn a_worker_that_does_not_start_in_time_is_given_up() {
    let function = "  f: { args: n BIGINT, returns: BIGINT, on_error: return_null, retry: { attempts: 2, base_delay: 1ms }, \
                    python: { file: f.py, interpreter: ./interpreter, start_timeout: 50ms } }";
    let fixture = Fixture::new(function, FINE, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(1));
    program(&fixture, "exec sleep 1000");
    fixture.run();
    let reason = fixture.dead_letters()[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("its worker has not started within 50ms"), "{reason}");
}

#[test]
fn a_file_is_looked_for_and_nothing_is_started_by_check() {
    let code = "\ntell(imported=True)\nasync def f(context, values):\n    yield 1\n";
    let function = "  f: { args: n BIGINT, returns: BIGINT, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(1));
    for command in ["check", "explain"] {
        let ended = fixture.folder.run(&[command, "pipeline.yaml"]);
        assert_eq!((ended.code, fixture.seen()), (0, vec![]), "{ended:?}");
    }
    let refused = |set: &str, message: &str| {
        let ended = fixture.folder.run(&["check", "pipeline.yaml", "--set", set]);
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(message), "{ended:?}");
    };
    refused("functions.f.python.file=g.py", "functions.f.python.file: expected a file, found no ");
    refused("functions.f.python.interpreter=./none", "functions.f.python.interpreter: expected a program, found no ");
    refused(
        "functions.f.python.interpreter=no-such-python",
        "functions.f.python.interpreter: expected a program, found no no-such-python",
    );
    refused("functions.f.python.function=f()", "functions.f.python.function: expected the name of a function");
    refused("functions.f.python.workers=0", "functions.f.python.workers: expected");
    refused("functions.f.returns=INTERVAL YEAR", "functions.f.returns: an interval of months is nothing that Python has");
}
