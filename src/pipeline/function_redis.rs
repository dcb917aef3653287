//! Settings of functions that read from Redis.

use super::connections::Connections;
use super::function::{Around, fits};
use super::problem::Problems;
use super::redis::{CONNECTION, server};
use super::settings::Kind;
use super::settings::Presence::Optional;
use super::settings::Table;
use super::tables::{plain, setting};
use super::values::Values;
use crate::function::redis::{Read, RedisSettings, function as redis_function};
use crate::function::{CallSettings, Function, Signature};

/// A function that reads from Redis.
pub(super) static REDIS: Table = plain(
    "Function `redis`",
    "`functions.<name>.redis`: what is under a key, for `chunk_size` rows at a time. Exactly one of `get`, `hash` and `members`. A key that \
     is not there, or with a null in it, is null. Functions only read, as a planned batch may run twice: what writes is the sink `redis`.",
    &[
        CONNECTION,
        setting(
            "get",
            Kind::Template,
            Optional,
            "Key of a string, such as `customer:{id}`: text, a number, a boolean (also `1` and `0`), or JSON where a STRUCT, ARRAY or MAP is \
             returned. All keys of a call are one `MGET`.",
        ),
        setting(
            "hash",
            Kind::Template,
            Optional,
            "Key of a hash. The fields of the STRUCT that is returned are fields of the hash (`HMGET`); a MAP has all (`HGETALL`).",
        ),
        setting("field", Kind::Template, Optional, "With `hash`: the field whose value is returned (`HGET`)."),
        setting("members", Kind::Template, Optional, "Key of a set: its members as an ARRAY, in order (`SMEMBERS`)."),
    ],
);

/// What is set under `redis`.
pub(super) fn settings(values: &Values, connections: &Connections, problems: &mut Problems) -> Option<RedisSettings> {
    let connection = server(values, connections, problems);
    let names = ["get", "hash", "members"];
    let given: Vec<&str> = names.into_iter().filter(|name| values.is_given(name)).collect();
    if values.is_given("field") && given != ["hash"] {
        problems.add(values.place_of("field"), values.about("field", "goes with hash only"));
        return None;
    }
    let read = match *given.as_slice() {
        ["get"] => Read::Get(values.template("get")?),
        ["hash"] if values.is_given("field") => Read::Field { key: values.template("hash")?, field: values.template("field")? },
        ["hash"] => Read::Hash(values.template("hash")?),
        [_] => Read::Members(values.template("members")?),
        [] => {
            if names.iter().all(|name| values.is_missing(name)) {
                let message = "expected get, hash or members: the key to read";
                problems.add(&values.place, values.about("", message));
            }
            return None;
        }
        [first, second, ..] => {
            let message = format!("expected one of get, hash and members, found {first} and {second}");
            problems.add(values.place_of(second), values.about("", &message));
            return None;
        }
    };
    Some(RedisSettings { connection: connection?, read })
}

/// The function, or what is wrong with how its settings go together.
pub(super) fn function(
    declaration: &Values,
    signature: Signature,
    settings: &RedisSettings,
    calls: CallSettings,
    around: &Around<'_>,
    problems: &mut Problems,
) -> Option<Function> {
    let (_, values) = declaration.branch.as_ref()?;
    fits(declaration, values, &settings.mistakes(&signature), problems)?;
    let stores = &around.stores;
    let built = redis_function(signature, settings, calls, stores, around.http.time_zone.clone(), around.process.clone());
    built.map_err(|error| problems.add(values.place_of("connection"), values.about("connection", &error.chain()))).ok()
}
