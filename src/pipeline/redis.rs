//! Settings of Redis connections, and how they become what functions and sinks take.

use std::time::Duration;

use super::connections::{Connection, Connections, named};
use super::function_http::CERTIFICATES;
use super::problem::Problems;
use super::settings::Presence::{Default, Optional, Required};
use super::settings::{Kind, Setting, Table};
use super::tables::{MANY, plain, setting};
use super::text::Text;
use super::values::Values;
use crate::redis::{RedisConnection, RedisTls};

/// The setting that names a connection.
pub(super) const CONNECTION: Setting =
    setting("connection", Kind::Name, Required, "The entry of `connections` that says where the server is.");

/// How a server is reached.
pub(super) static REDIS_CONNECTION: Table = plain(
    "Connection `redis`",
    "How a Redis server is reached, of version 6.2 or later. It is one server, with or without replicas: clusters are not supported.",
    &[
        setting("address", Kind::Address, Required, "The server, as `host:port`."),
        setting("database", Kind::Count { min: 0, max: MANY }, Default("0"), "Number of the database."),
        setting("username", Kind::Value, Optional, "The user. Default: the server's default one."),
        setting("password", Kind::Value, Optional, "The password: better a reference than in the file."),
        setting(
            "tls",
            Kind::Table(&TLS),
            Optional,
            "An encrypted connection; `{}` trusts the certificates of the system. Default: not encrypted.",
        ),
        setting(
            "connect_timeout",
            Kind::Duration { min: Duration::from_millis(1) },
            Default("5s"),
            "How long a connection may take.",
        ),
    ],
);

static TLS: Table = plain("Encryption to Redis", "`tls` of a Redis connection.", &CERTIFICATES);

/// A connection of the file.
pub(super) fn connection(values: &Values, problems: &mut Problems) -> Option<RedisConnection> {
    let tls = match values.map("tls").filter(|_| values.is_given("tls")) {
        Some(tls) => {
            for (one, other) in [("certificate", "key"), ("key", "certificate")] {
                if tls.is_given(one) && tls.is_missing(other) {
                    problems.add(tls.place_of(one), tls.about(one, &format!("goes with {other} only")));
                }
            }
            Some(RedisTls { ca: tls.path("ca"), identity: tls.path("certificate").zip(tls.path("key")) })
        }
        None => None,
    };
    if values.is_given("username") && values.is_missing("password") {
        problems.add(values.place_of("username"), values.about("username", "goes with password only"));
    }
    // What is written out in the file is no less a secret.
    let hidden = |text: Text| if text.is_secret() { text } else { Text::secret(text.expose(), "(secret)") };
    Some(RedisConnection {
        address: values.address("address")?,
        database: u32::try_from(values.count("database")?).ok()?,
        username: values.text("username").map(hidden),
        password: values.text("password").map(hidden),
        tls,
        connect_timeout: values.duration("connect_timeout")?,
    })
}

/// The server that a function or sink names.
pub(super) fn server(values: &Values, connections: &Connections, problems: &mut Problems) -> Option<RedisConnection> {
    let pick = |connection| if let Connection::Redis(connection) = connection { Some(connection) } else { None };
    named(values, connections, "redis", pick, problems)
}
