//! Settings of functions: what there is to set for every kind, and how a declaration becomes a function.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Schema};

use super::connections::Connections;
use super::function_http;
use super::function_http::HTTP;
use super::function_object;
use super::function_object::OBJECT;
use super::function_python;
use super::function_python::PYTHON;
use super::function_redis;
use super::function_redis::REDIS;
use super::problem::Problems;
use super::scalar::quoted;
use super::settings::Presence::{Default, Optional, Required};
use super::settings::{Branch, Kind, Table};
use super::spec::Limits;
use super::tables::{ANY_SIZE, MANY, plain, setting};
use super::text::Text;
use super::values::Values;
use crate::clock::SystemClock;
use crate::format::nullable;
use crate::function::http::Shared;
use crate::function::policy::{BreakerSettings, Budget, RateLimitSettings, RetrySettings};
use crate::function::{
    ATTEMPTS_MAX, CACHE_ENTRIES_MAX, CHUNK_ROWS_MAX, CacheSettings, CallSettings, Function, IN_FLIGHT_MAX, Mistake, OnError,
    Returns, Signature,
};
use crate::plan::spark::expression::call::is_built_in;
use crate::plan::spark::types::{parse_ddl, parse_schema};
use crate::redis::Stores;

const SOME_TIME: Kind = Kind::Duration { min: Duration::from_millis(1) };
const PERCENT: Kind = Kind::Count { min: 1, max: 100 };

/// A function.
pub(super) static FUNCTION: Table = Table {
    title: "A function",
    doc: "`functions.<name>`: asks the outside world for each row that a query calls it with; called by name in SQL. Exactly one kind. Its \
          name is a letter, then letters, digits or `_`, and none of Spark's functions.",
    settings: &[
        setting("args", Kind::Schema, Required, "Its arguments, as Spark's DDL: `\"user STRING, amount DOUBLE\"`."),
        setting(
            "returns",
            Kind::Returns,
            Required,
            "What it returns: a type, or columns, which are the fields of a STRUCT. With `TABLE (columns)` it returns any number of rows \
             and is called in FROM: `LATERAL f(…)`.",
        ),
        setting("timeout", SOME_TIME, Default("5s"), "How long one attempt may take."),
        setting(
            "max_in_flight",
            Kind::Count { min: 1, max: IN_FLIGHT_MAX as u64 },
            Default("20"),
            "Calls in flight at a time, those of all queries together.",
        ),
        setting(
            "chunk_size",
            Kind::Count { min: 1, max: CHUNK_ROWS_MAX as u64 },
            Optional,
            "Rows that a call gets, for kinds that take several (100); only a batch's last one may get fewer. `http` and `object` make a call for each row.",
        ),
        setting(
            "on_error",
            Kind::Choice(&["fail", "return_null", "drop_row"]),
            Default("fail"),
            "What follows when a call fails for good: the batch fails, the row gets null (no rows in the table form), or the row is left \
             out. But for `fail`, the row also goes to the query's dead letter.",
        ),
        setting("retry", Kind::Table(&RETRY), Optional, "When a failed attempt is made again."),
        setting(
            "rate_limit",
            Kind::Table(&RATE_LIMIT),
            Optional,
            "How often attempts are made. Default: as often as calls come.",
        ),
        setting("breaker", Kind::Table(&BREAKER), Optional, "When calls stop being made for a while, as most fail."),
        setting("cache", Kind::Table(&CACHE), Optional, "Which answers are kept, by their arguments. Default: none."),
        setting(
            "max_answer",
            ANY_SIZE,
            Default("1 MiB"),
            "Largest answer of one call, as it is sent; a larger one is a failure.",
        ),
        setting(
            "ordered",
            Kind::Bool,
            Default("true"),
            "Whether rows of the table form come in the order of the rows they are for. Values always do.",
        ),
        setting(
            "parameters",
            Kind::Json { places: false },
            Optional,
            "Values that a `python` function finds in `context.parameters`. Other kinds take none.",
        ),
    ],
    branches: &[
        Branch { key: "http", table: &HTTP },
        Branch { key: "redis", table: &REDIS },
        Branch { key: "object", table: &OBJECT },
        Branch { key: "python", table: &PYTHON },
    ],
    branch: "kind",
};

static RETRY: Table = plain(
    "Further attempts",
    "`functions.<name>.retry`: attempts that failed because the other side did not answer, or could not, are made again after a pause at \
     random. `Retry-After` is honoured up to a minute.",
    &[
        setting(
            "attempts",
            Kind::Count { min: 1, max: ATTEMPTS_MAX as u64 },
            Default("3"),
            "Attempts in all; 1 is no further one.",
        ),
        setting("base_delay", SOME_TIME, Default("100ms"), "Upper bound of the first pause; it doubles with each further one."),
        setting("max_delay", SOME_TIME, Default("2s"), "Largest upper bound of a pause."),
        setting(
            "budget_percent",
            Kind::Count { min: 0, max: 10_000 },
            Default("10"),
            "Further attempts for a hundred calls, in the long run. 100 are there at the start, and 10 a second always.",
        ),
    ],
);

static RATE_LIMIT: Table = plain(
    "A rate limit",
    "`functions.<name>.rate_limit`: attempts are spaced evenly.",
    &[
        setting("calls", Kind::Count { min: 1, max: MANY }, Required, "Attempts in the time that `per` says."),
        setting("per", SOME_TIME, Default("1s"), "The time."),
        setting(
            "burst",
            Kind::Count { min: 1, max: u32::MAX as u64 },
            Default("1"),
            "Attempts that may be made at once after a pause.",
        ),
    ],
);

static BREAKER: Table = plain(
    "A circuit breaker",
    "`functions.<name>.breaker`: where most calls fail because the other side does not answer, or cannot, none is made for a while.",
    &[
        setting("enabled", Kind::Bool, Default("true"), "Whether there is one."),
        setting("failure_percent", PERCENT, Default("50"), "Share of the calls that must have failed."),
        setting("min_calls", Kind::Count { min: 1, max: u32::MAX as u64 }, Default("100"), "Calls that must have been made."),
        setting("window", SOME_TIME, Default("10s"), "Calls of how long are looked at."),
        setting("open_for", SOME_TIME, Default("5s"), "How long no call is made; then a single one decides."),
    ],
);

static CACHE: Table = plain(
    "A cache",
    "`functions.<name>.cache`: answers are kept and shared by all queries; what is being asked already is not asked again. Failures are not \
     kept.",
    &[
        setting(
            "entries",
            Kind::Count { min: 0, max: CACHE_ENTRIES_MAX as u64 },
            Default("10000"),
            "Rows whose answer is kept; 0 keeps none.",
        ),
        setting("ttl", SOME_TIME, Default("10 minutes"), "How long an answer is good for."),
        setting("memory", ANY_SIZE, Default("64 MiB"), "What arguments and answers may take in all."),
    ],
);

/// Tells what is wrong with the settings `values` of a kind, if anything is; what stands beside the kind is the declaration's.
pub(super) fn fits(declaration: &Values, values: &Values, mistakes: &[Mistake], problems: &mut Problems) -> Option<()> {
    for mistake in mistakes {
        let of = if ["args", "returns"].contains(&mistake.setting) { declaration } else { values };
        problems.add(of.place_of(mistake.setting), of.about(mistake.setting, &mistake.message));
    }
    mistakes.is_empty().then_some(())
}

/// Every function of the file. Nothing is called or started; files of certificates are read.
pub(super) fn functions(
    root: &Values,
    limits: Option<&Limits>,
    connections: &Connections,
    problems: &mut Problems,
) -> Option<Vec<Arc<Function>>> {
    let in_flight_max = limits.map_or(1, |limits| limits.calls_in_flight_max);
    let process = Arc::new(Budget::new(in_flight_max));
    let time_zone = root.word("time_zone").unwrap_or_else(|| "UTC".to_owned());
    let shared = Shared { clients: Arc::default(), clock: Arc::new(SystemClock), time_zone: time_zone.into() };
    let around = Around { connections, http: shared, stores: Stores::default(), process };
    let declared = root.named("functions").iter();
    let functions: Vec<Option<Arc<Function>>> = declared
        .map(|(key, values)| {
            name_fits(&key.text).map_err(|message| problems.add(&key.place, format!("functions: {message}"))).ok()?;
            function(&key.text, values, &around, problems).map(Arc::new)
        })
        .collect();
    functions.into_iter().collect()
}

/// What the functions of the file share.
pub(super) struct Around<'a> {
    pub(super) connections: &'a Connections,
    pub(super) http: Shared,
    pub(super) stores: Stores,
    /// Places for the calls of all functions.
    pub(super) process: Arc<Budget>,
}

fn function(name: &str, values: &Values, around: &Around<'_>, problems: &mut Problems) -> Option<Function> {
    let calls = calls(values, problems);
    let args = values.schema("args").map(|schema| schema.fields().clone());
    let returns = values.returns("returns");
    let (key, settings) = values.branch.as_ref()?;
    let signature = || Some(Signature { name: name.to_owned(), args: args?, returns: returns? });
    match *key {
        "http" => {
            let http = function_http::settings(settings, problems);
            one_row_a_call("http", values, problems);
            function_http::function(values, signature()?, http?, calls?, &around.http, around.process.clone(), problems)
        }
        "redis" => {
            let redis = function_redis::settings(settings, around.connections, problems);
            no_parameters("redis", values, problems);
            function_redis::function(values, signature()?, &redis?, calls?, around, problems)
        }
        "object" => {
            let object = function_object::settings(settings, around.connections, problems);
            one_row_a_call("object", values, problems);
            function_object::function(values, signature()?, &object?, calls?, around, problems)
        }
        "python" => function_python::function(values, signature()?, calls?, around.process.clone(), problems),
        other => unreachable!("{other} is no kind of function"),
    }
}

/// What a kind has no use for that makes a call for each row.
fn one_row_a_call(kind: &str, values: &Values, problems: &mut Problems) {
    if values.is_given("chunk_size") {
        problems.add(values.place_of("chunk_size"), values.about("chunk_size", &format!("{kind} makes a call for each row")));
    }
    no_parameters(kind, values, problems);
}

/// What a kind has no use for that runs no code.
fn no_parameters(kind: &str, values: &Values, problems: &mut Problems) {
    if values.is_given("parameters") {
        let message = format!("{kind} takes none: write values where they belong");
        problems.add(values.place_of("parameters"), values.about("parameters", &message));
    }
}

/// A name that SQL can call.
fn name_fits(name: &str) -> Result<(), String> {
    let shown = quoted(&Text::plain(name));
    if is_built_in(name) {
        return Err(format!("{shown} is one of Spark's functions, which cannot be declared anew"));
    }
    match name.contains('-') {
        true => Err(format!("expected a name that SQL can call (a letter, then letters, digits or _), found {shown}")),
        false => Ok(()),
    }
}

fn calls(values: &Values, problems: &mut Problems) -> Option<CallSettings> {
    let small = |values: &Values, name: &str| values.count(name).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    if values.is_given("ordered") && matches!(values.returns("returns"), Some(Returns::Value(_))) {
        problems.add(
            values.place_of("ordered"),
            values.about("ordered", "goes with returns: TABLE (…) only: values always come in order"),
        );
    }
    let given = |name: &str| values.map(name).filter(|_| values.is_given(name));
    let parameters = match values.tree("parameters") {
        Some(serde_json::Value::Object(map)) => map.clone().into_iter().collect::<BTreeMap<_, _>>(),
        _ => BTreeMap::new(),
    };
    Some(CallSettings {
        chunk_size: if values.is_given("chunk_size") { small(values, "chunk_size")? } else { CallSettings::default().chunk_size },
        max_in_flight: small(values, "max_in_flight")?,
        timeout: values.duration("timeout")?,
        retry: retry(values.map("retry")?)?,
        rate_limit: match given("rate_limit") {
            Some(limit) => Some(rate_limit(limit)?),
            None => None,
        },
        breaker: breaker(values.map("breaker")?)?,
        cache: match given("cache") {
            Some(cache) => Some(CacheSettings {
                entries: small(cache, "entries")?,
                ttl: cache.duration("ttl")?,
                bytes_max: small(cache, "memory")?,
            }),
            None => None,
        },
        on_error: match values.choice("on_error")? {
            "return_null" => OnError::ReturnNull,
            "drop_row" => OnError::DropRow,
            _ => OnError::Fail,
        },
        ordered: values.bool("ordered")?,
        answer_bytes_max: small(values, "max_answer")?,
        parameters: Arc::new(parameters),
    })
}

fn retry(values: &Values) -> Option<RetrySettings> {
    Some(RetrySettings {
        attempts: u32::try_from(values.count("attempts")?).ok()?,
        base_delay: values.duration("base_delay")?,
        max_delay: values.duration("max_delay")?,
        budget: values.count("budget_percent")? as f64 / 100.0,
    })
}

fn rate_limit(values: &Values) -> Option<RateLimitSettings> {
    Some(RateLimitSettings {
        calls_per_second: values.count("calls")? as f64 / values.duration("per")?.as_secs_f64(),
        burst: u32::try_from(values.count("burst")?).ok()?,
    })
}

/// None inside is no breaker.
fn breaker(values: &Values) -> Option<Option<BreakerSettings>> {
    let breaker = BreakerSettings {
        failure_share: values.count("failure_percent")? as f64 / 100.0,
        calls_min: u32::try_from(values.count("min_calls")?).ok()?,
        window: values.duration("window")?,
        open_for: values.duration("open_for")?,
    };
    Some(values.bool("enabled")?.then_some(breaker))
}

/// What a function returns, as it is written: a type, columns, or `TABLE (columns)`. Anything may be null.
pub(super) fn returns(text: &str) -> Result<Returns, String> {
    let text = text.trim();
    let table = text.get(..5).filter(|word| word.eq_ignore_ascii_case("table")).map(|_| text[5..].trim());
    if let Some(columns) = table.and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')')) {
        return match parse_schema(columns) {
            Ok(schema) if schema.fields().is_empty() => Err("expected at least one column".to_owned()),
            Ok(schema) => match nullable(&DataType::Struct(schema.fields)) {
                DataType::Struct(fields) => Ok(Returns::Rows(Arc::new(Schema::new(fields)))),
                _ => unreachable!("a struct stays one"),
            },
            Err(error) => Err(error.chain()),
        };
    }
    match parse_ddl(text) {
        Ok(DataType::Struct(fields)) if fields.is_empty() => Err("expected at least one column".to_owned()),
        Ok(data_type) => Ok(Returns::Value(nullable(&data_type))),
        Err(error) => Err(error.chain()),
    }
}
