//! What a server's errors mean: whether trying again may help, or who has to do something.

use std::io;
use std::sync::Arc;

use ::redis::{ErrorKind as Kind, RedisError, ServerError};

use crate::error::{Error, ErrorKind};
use crate::function::{CallError, CallErrorKind};

/// Codes of servers that cannot just now: they are starting, full, failing over, or have too few replicas.
const NOT_NOW: &[&str] =
    &["LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "MISCONF", "OOM", "NOREPLICAS"];
/// Codes that speak of who we are.
const NOT_US: &[&str] = &["NOAUTH", "WRONGPASS", "NOPERM"];
/// Codes that only a cluster has.
const CLUSTER: &[&str] = &["MOVED", "ASK", "CROSSSLOT"];

/// What a failed command means.
pub(crate) fn failure(error: &RedisError, shown: &str) -> CallError {
    let (kind, message) = match error.kind() {
        Kind::AuthenticationFailed | Kind::InvalidClientConfig => {
            (CallErrorKind::Config, format!("Redis at {shown} does not let us in: {}", detail(error)))
        }
        Kind::Io if error.is_timeout() => (CallErrorKind::Timeout, format!("Redis at {shown} did not answer in time")),
        Kind::Io => (CallErrorKind::Unavailable, format!("Redis at {shown} cannot be reached: {error}")),
        Kind::Parse => (CallErrorKind::Config, format!("what answers at {shown} is no Redis: {error}")),
        _ => return by_code(error.code().unwrap_or_default(), &detail(error), shown),
    };
    CallError::new(kind, message)
}

/// What it means that a connection was not made.
pub(super) fn connecting(error: &RedisError, shown: &str) -> CallError {
    let failure = failure(error, shown);
    // Certificates that do not fit are told as damaged data.
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>());
    let is_damaged =
        cause.and_then(|cause| cause.downcast_ref::<io::Error>()).is_some_and(|io| io.kind() == io::ErrorKind::InvalidData);
    match failure.kind {
        CallErrorKind::Unavailable if is_damaged => {
            CallError::new(CallErrorKind::Config, format!("Redis at {shown} and we do not agree on TLS: {error}"))
        }
        // Nothing but login, database and the like was asked for.
        CallErrorKind::Rejected => CallError { kind: CallErrorKind::Config, ..failure },
        _ => failure,
    }
}

/// What an error in an answer means.
pub(crate) fn refusal(error: &ServerError, shown: &str) -> CallError {
    by_code(error.code(), error.details().unwrap_or_default(), shown)
}

fn by_code(code: &str, detail: &str, shown: &str) -> CallError {
    let said = format!("{code} {detail}");
    let said = said.trim();
    let (kind, message) = match code {
        code if NOT_NOW.contains(&code) => (CallErrorKind::Unavailable, format!("Redis at {shown} cannot just now: {said}")),
        code if NOT_US.contains(&code) => (CallErrorKind::Config, format!("Redis at {shown} does not let us: {said}")),
        code if CLUSTER.contains(&code) => {
            (CallErrorKind::Config, format!("Redis at {shown} is part of a cluster, which is not supported: {said}"))
        }
        "ERR" if detail.starts_with("max number of clients") => {
            (CallErrorKind::Unavailable, format!("Redis at {shown} cannot just now: {said}"))
        }
        _ => (CallErrorKind::Rejected, format!("Redis at {shown} refuses: {said}")),
    };
    CallError::new(kind, message)
}

fn detail(error: &RedisError) -> String {
    error.detail().map_or_else(|| error.to_string(), str::to_owned)
}

/// The same as an error of a batch.
pub(crate) fn to_error(failure: CallError) -> Error {
    let kind = match failure.kind {
        CallErrorKind::Timeout | CallErrorKind::Unavailable | CallErrorKind::CircuitOpen => ErrorKind::Unavailable,
        CallErrorKind::Rejected | CallErrorKind::BadAnswer | CallErrorKind::Defect => ErrorKind::Data,
        CallErrorKind::Config => ErrorKind::Config,
    };
    Error::new(kind, failure.message)
}

#[cfg(test)]
mod tests {
    use ::redis::{Value, parse_redis_value};

    use super::*;

    #[test]
    fn what_a_server_says_tells_what_to_do() {
        let kind = |line: &str| match parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => refusal(&error, "h:1").kind,
            other => panic!("{other:?}"),
        };
        for later in [
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script",
            "MASTERDOWN Link with MASTER is down",
            "READONLY You can't write against a read only replica.",
            "MISCONF Redis is configured to save RDB snapshots",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "NOREPLICAS Not enough good replicas to write.",
            "TRYAGAIN later",
            "ERR max number of clients reached",
        ] {
            assert_eq!(kind(later), CallErrorKind::Unavailable, "{later}");
            assert!(kind(later).is_transient());
        }
        for config in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid",
            "NOPERM this user has no permissions",
            "MOVED 1 h:2",
            "CROSSSLOT keys",
        ] {
            assert_eq!(kind(config), CallErrorKind::Config, "{config}");
        }
        assert_eq!(kind("WRONGTYPE Operation against a key"), CallErrorKind::Rejected);
        assert_eq!(kind("ERR unknown command"), CallErrorKind::Rejected);
        let gone = RedisError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(failure(&gone, "h:1").kind, CallErrorKind::Unavailable);
        let late = RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
        assert_eq!(failure(&late, "h:1").kind, CallErrorKind::Timeout);
        let certificate = RedisError::from(io::Error::from(io::ErrorKind::InvalidData));
        assert_eq!(connecting(&certificate, "h:1").kind, CallErrorKind::Config);
        assert_eq!(connecting(&gone, "h:1").kind, CallErrorKind::Unavailable);
    }
}
