//! Processes that run user code: what ends them, what ends with them, what they print.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::{Value, json};

use super::{Fixture, column, numbers};

#[test]
fn a_worker_that_crashes_is_started_again_and_its_calls_are_made_again() {
    for crash in ["os._exit(3)", "os.kill(os.getpid(), 9)", "__import__('ctypes').string_at(0)"] {
        let code = format!(
            "
async def f(context, values):
    if first_time('crashed'):
        {crash}
    for value in values:
        yield value
"
        );
        let function =
            "  f: { args: n BIGINT, returns: BIGINT, chunk_size: 2, retry: { base_delay: 1ms }, python: { {python} } }";
        let fixture = Fixture::new(function, &code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(10));
        let ended = fixture.run();
        assert_eq!(column(&fixture.rows(), "m"), (0..10).map(Value::from).collect::<Vec<_>>());
        assert_eq!(ended.stderr.matches("worker started").count(), 2, "{ended:?}");
    }
}

/// Also where what it has started keeps its output open, so that its end takes a while.
#[test]
fn a_row_that_always_crashes_its_worker_fails_alone() {
    let code = "
import subprocess

async def f(context, values):
    if values[0] == 2:
        subprocess.Popen(['sleep', '2'], start_new_session=True)
        os._exit(3)
    yield values[0]
";
    let function = "  f: { args: n BIGINT, returns: BIGINT, chunk_size: 1, max_in_flight: 1, on_error: return_null, \
                    retry: { attempts: 2, base_delay: 1ms }, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(5));
    fixture.run();
    assert_eq!(Value::from(column(&fixture.rows(), "m")), json!([0, 1, null, 3, 4]));
    let reason = fixture.dead_letters()[0]["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("attempts exhausted after 2: its worker (pid ") && reason.ends_with("has ended: exit code 3"),
        "{reason}"
    );
}

/// Code that never awaits cannot be cancelled: its worker is ended, and what else it was at is done again.
#[test]
fn code_that_blocks_its_worker_is_ended() {
    let code = "
async def f(context, values):
    if values[0] == 1 and first_time('blocked'):
        while True:
            pass
    await asyncio.sleep(0.001)
    yield values[0]
";
    let function = "  f: { args: n BIGINT, returns: BIGINT, chunk_size: 1, timeout: 1s, retry: { base_delay: 1ms, attempts: 10 }, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(5));
    let ended = fixture.run();
    assert_eq!(column(&fixture.rows(), "m"), [0, 1, 2, 3, 4]);
    assert!(ended.stderr.contains("code that never awaits holds up all calls"), "{ended:?}");
}

/// Also while it is busy, and with what it has started itself.
#[test]
fn no_worker_outlives_an_engine_that_is_killed() {
    let code = "
import subprocess

async def f(context, values):
    child = subprocess.Popen(['sleep', '1000'])
    tell(worker=os.getpid(), child=child.pid)
    while True:
        pass
    yield 1
";
    let function = "  f: { args: n BIGINT, returns: BIGINT, timeout: 60s, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(1));
    let running = fixture.start();
    let seen = running.until("the function is called", || fixture.seen().pop());
    let pids = ["worker", "child"].map(|name| Pid::from_raw(seen[name].as_i64().unwrap() as i32).unwrap());
    assert!(pids.iter().all(|pid| !is_gone(*pid)));
    running.signal(Signal::KILL);
    running.until("all are gone", || pids.iter().all(|pid| is_gone(*pid)).then_some(()));
}

/// Also one that has ended but that nobody has waited for.
pub(super) fn is_gone(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_err() || stat.contains(") Z ")
}

/// A signal is for the engine: it lets the batch come to its end.
#[test]
fn a_worker_goes_on_while_the_engine_ends_its_batch() {
    let code = "
import signal

async def f(context, values):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(os.getpid(), number)
    tell(group=os.getpgrp() == os.getpid(), input=sys.stdin.read())
    while not os.path.exists('go'):
        await asyncio.sleep(0.001)
    for value in values:
        yield value
";
    let function = "  f: { args: n BIGINT, returns: BIGINT, timeout: 60s, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(2));
    let running = fixture.start();
    let seen = running.until("the function is called", || fixture.seen().pop());
    assert_eq!(seen, json!({ "group": true, "input": "" }), "a group of its own, and nothing to read");
    running.signal(Signal::TERM);
    running.says("stopping");
    fixture.folder.write("go", "");
    let ended = running.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(column(&fixture.rows(), "m"), [0, 1]);
}

#[test]
fn calls_go_to_the_worker_with_the_fewest() {
    let code = "
async def f(context, values):
    tell(pid=context.pid)
    while not os.path.exists('go'):
        await asyncio.sleep(0.001)
    yield values[0]
";
    let function = "  f: { args: n BIGINT, returns: BIGINT, chunk_size: 1, max_in_flight: 6, timeout: 60s, python: { {python}, workers: 3 } }";
    let fixture = Fixture::new(function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(6));
    let running = fixture.start();
    running.until("all are called", || (fixture.seen().len() == 6).then_some(()));
    fixture.folder.write("go", "");
    assert_eq!(running.end().code, 0);
    let seen = fixture.seen();
    let pids: BTreeSet<u64> = seen.iter().map(|call| call["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| seen.iter().filter(|call| call["pid"] == *pid).count() == 2), "{seen:?}");
}

#[test]
fn what_is_printed_and_logged_is_in_the_log_at_its_level() {
    let code = "
log = logging.getLogger('mine')

async def f(context, values):
    print('printed: ü')
    print('complained', file=sys.stderr)
    print('x' * 20_000 + '!')
    for level in ('debug', 'info', 'warning', 'error'):
        getattr(log, level)('logged at %s', level)
    context.logger.warning('own log')
    tell(level=context.log_level)
    while not os.path.exists('go'):
        await asyncio.sleep(0.001)
    yield 1
";
    let function = "  f: { args: n BIGINT, returns: BIGINT, timeout: 60s, python: { {python} } }";
    let run = |level: &str, last: &[&str]| {
        let fixture = Fixture::new(function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(1));
        let running = fixture.start_with(level);
        last.iter().for_each(|line| drop(running.says(line)));
        fixture.folder.write("go", "");
        let ended = running.end();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(fixture.seen(), [json!({ "level": level })]);
        ended.stderr
    };
    let has = |log: &str, level: &str, words: &[&str]| {
        log.lines().any(|line| line.contains(&format!(" {level} ")) && words.iter().all(|word| line.contains(word)))
    };
    let log = run("info", &["x!", "complained", "own log"]);
    assert!(has(&log, "INFO", &["printed: ü", "function=f", "pid="]), "{log}");
    assert!(has(&log, "WARN", &["complained", "function=f", "pid="]), "{log}");
    assert!(has(&log, "INFO", &["logged at info", "logger=\"mine\"", "query=\"q\"", "batch=0", "chunk=1"]), "{log}");
    assert!(has(&log, "WARN", &["logged at warning"]) && has(&log, "ERROR", &["logged at error"]), "{log}");
    assert!(has(&log, "WARN", &["own log", "logger=\"f\""]) && !log.contains("logged at debug"), "{log}");
    assert_eq!(log.matches("xxxxxxxx").count(), 20_000 / 8, "a long line is cut, and nothing of it lost");
    let log = run("warn", &["complained", "own log"]);
    assert!(!log.contains("printed") && !log.contains("logged at info") && log.contains("complained"), "{log}");
    assert!(has(&run("debug", &["own log"]), "DEBUG", &["logged at debug"]));
}

#[test]
fn parameters_are_what_the_file_says() {
    let code = "
async def f(context, values):
    p = context.parameters
    assert p.nested.deep == [1, 2.5, True, None, 'x'] and p['nested']['deep'] is p.nested.deep
    assert type(p.count) is int and type(p.share) is float and type(p.word) is str
    try:
        p.missing
    except AttributeError as error:
        assert 'missing' in str(error)
    yield f'{p.count} {p.share} {p.word} {p.secret}'
";
    let function = "  f: { args: n BIGINT, returns: STRING, python: { {python} }, parameters: { count: 5, share: 5.0, word: \"5\", \
                    secret: \"${env:NO_SUCH_KEY:-by default}\", nested: { deep: [1, 2.5, true, ~, x] } } }";
    let fixture = Fixture::new(function, code, "SELECT f(n) AS m FROM t", "n BIGINT", &numbers(1));
    fixture.run();
    assert_eq!(column(&fixture.rows(), "m"), ["5 5.0 5 by default"]);
}
