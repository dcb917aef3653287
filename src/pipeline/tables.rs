//! Every setting of a pipeline file, declared once.

use std::time::Duration;

use super::connections::CONNECTION;
use super::function::FUNCTION;
use super::kafka::KAFKA_SOURCE;
use super::kafka_sink::KAFKA_SINK;
use super::listening::{HTTP_SOURCE, SERVICE};
use super::metric_sink::METRIC_SINK;
use super::redis_sink::REDIS_SINK;
use super::settings::Presence::{Default, Optional, Required};
use super::settings::{Branch, Kind, Presence, Setting, Table};
use crate::function::IN_FLIGHT_MAX;

pub(super) const MANY: u64 = 1 << 53;
pub(super) const ANY_SIZE: Kind = Kind::Size { min: 1, max: u64::MAX };
pub(super) const ANY_DURATION: Kind = Kind::Duration { min: Duration::ZERO };

pub(super) const fn setting(name: &'static str, kind: Kind, presence: Presence, doc: &'static str) -> Setting {
    Setting { name, kind, presence, doc }
}

/// A map with settings only.
pub(super) const fn plain(title: &'static str, doc: &'static str, settings: &'static [Setting]) -> Table {
    Table { title, doc, settings, branches: &[], branch: "" }
}

/// The whole file.
pub(super) static ROOT: Table = plain(
    "The file",
    "A pipeline is one YAML (or JSON) file.",
    &[
        setting("version", Kind::Count { min: 1, max: 1 }, Default("1"), "Version of this grammar."),
        setting("name", Kind::Name, Optional, "Names the pipeline in metrics. Default: the file's name without its ending."),
        setting(
            "checkpoint",
            Kind::Path,
            Optional,
            "Folder of the logs and states that a restart goes on from. May be left out when every sink is `console` or `discard` \
             and no source says `durable: true`: then a temporary folder is used, and removed after a clean end.",
        ),
        setting(
            "time_zone",
            Kind::TimeZone,
            Default("UTC"),
            "Zone of zoneless text and of date functions; fixed in the checkpoint.",
        ),
        setting("sources", Kind::Named(&SOURCE), Required, "Streams, by the name that SQL gives them."),
        setting("tables", Kind::Named(&TABLE), Optional, "Static tables, by name; read at start."),
        setting("views", Kind::Named(&VIEW), Optional, "Named SQL, by name; inlined into each query that names it."),
        setting(
            "functions",
            Kind::Named(&FUNCTION),
            Optional,
            "Functions that ask the outside world, by the name that SQL calls.",
        ),
        setting("queries", Kind::Named(&QUERY), Required, "What to compute, by name."),
        setting("limits", Kind::Table(&LIMITS), Optional, "What the process may use."),
        setting("service", Kind::Table(&SERVICE), Optional, "Who may look at the process and control it over HTTP."),
        setting(
            "connections",
            Kind::Named(&CONNECTION),
            Optional,
            "Clusters and servers that several parts of the file share, by name.",
        ),
    ],
);

static SOURCE: Table = plain(
    "A source",
    "`sources.<name>`: a stream of rows. Sources, tables and views share one namespace.",
    &[
        setting("from", Kind::Table(&FROM), Required, "Where its rows come from: one connector."),
        setting(
            "format",
            Kind::Table(&FORMAT),
            Optional,
            "How its lines become rows. Default: `text`; for `kafka` its raw columns. A `rate` source takes none.",
        ),
        setting(
            "on_malformed",
            Kind::Choice(&["permissive", "drop", "fail"]),
            Default("permissive"),
            "What a line that is not right yields: the fields that are right and nulls elsewhere, no row, or a failed query. \
             Independently, a query with `dead_letter` also gets each such line there.",
        ),
        WATERMARK,
        DEDUPLICATE,
    ],
);

const DEDUPLICATE: Setting = setting(
    "deduplicate",
    Kind::Table(&DEDUPLICATE_SETTINGS),
    Optional,
    "Of rows that are the same in some columns, only the first is kept. It comes after the watermark.",
);

static DEDUPLICATE_SETTINGS: Table = plain(
    "A deduplication",
    "`deduplicate` of a source or a view: repeated rows are taken out before any query sees them.",
    &[
        setting("by", Kind::Columns, Required, "The columns that tell rows apart."),
        setting(
            "within_watermark",
            Kind::Bool,
            Default("false"),
            "Whether a row is remembered only until the watermark reaches its event time plus the watermark's delay. Without it, rows \
             are remembered until the watermark reaches the event time, if that is one of `by`, and for ever otherwise.",
        ),
    ],
);

const WATERMARK: Setting =
    setting("watermark", Kind::Table(&WATERMARK_SETTINGS), Optional, "When its rows happened, and how late they may come.");

static WATERMARK_SETTINGS: Table = plain(
    "A watermark",
    "`watermark` of a source or a view: rows older than the latest event time minus a delay are no longer waited for.",
    &[
        setting("column", Kind::Column, Required, "The column with the event time, a TIMESTAMP."),
        setting("delay", ANY_DURATION, Required, "How far the watermark stays behind the latest event time."),
        setting(
            "max_future",
            ANY_DURATION,
            Optional,
            "Rows whose event time is further than this after the batch's time are set aside, so that they cannot move the watermark. \
             Default: every event time is believed.",
        ),
        setting(
            "idle_after",
            Kind::Duration { min: Duration::from_millis(1) },
            Optional,
            "After so long without a row, this watermark no longer holds the query's others back. Default: never.",
        ),
    ],
);

static FROM: Table = Table {
    title: "Where a source reads",
    doc: "`sources.<name>.from`: exactly one connector.",
    settings: &[],
    branches: &[
        Branch { key: "socket", table: &SOCKET },
        Branch { key: "http", table: &HTTP_SOURCE },
        Branch { key: "file", table: &FILE_SOURCE },
        Branch { key: "kafka", table: &KAFKA_SOURCE },
        Branch { key: "rate", table: &RATE },
    ],
    branch: "connector",
};

pub(super) const MAX_ROWS: Setting = setting(
    "max_rows_per_trigger",
    Kind::Count { min: 1, max: MANY },
    Optional,
    "Rows that one batch takes at most. The trigger `once` ignores it.",
);
pub(super) const MAX_BYTES_DOC: &str =
    "Bytes that one batch takes at most; one row is always admitted. The trigger `once` ignores it.";

static SOCKET: Table = plain(
    "Source `socket`",
    "Lines over TCP, made replayable by an ingest log under the checkpoint. Exactly one of `connect` and `listen`.",
    &[
        setting(
            "connect",
            Kind::Address,
            Optional,
            "Server to connect to, as `host:port`; lost connections are retried with back-off.",
        ),
        setting(
            "listen",
            Kind::Address,
            Optional,
            "Address to listen on, as `host:port`, for any number of clients; port 0 takes a free one.",
        ),
        setting(
            "connect_timeout",
            Kind::Duration { min: Duration::from_millis(1) },
            Default("30s"),
            "How long the first connection may take until the query fails. With `connect` only.",
        ),
        setting(
            "allow_from",
            Kind::Networks,
            Optional,
            "Networks that clients may come from (`10.0.0.0/8`, `192.168.1.7`). Default: any. With `listen` only.",
        ),
        setting(
            "durable",
            Kind::Bool,
            Default("true"),
            "Whether lines go through the ingest log. Without it, what was read and not committed is lost when the process ends.",
        ),
        setting(
            "include_timestamp",
            Kind::Bool,
            Default("false"),
            "Whether a column `timestamp`, when the line was received, follows `value`. With format `text` only; elsewhere name the \
             column `_received_at` in SQL.",
        ),
        MAX_ROWS,
        setting("max_bytes_per_trigger", ANY_SIZE, Default("64 MiB"), MAX_BYTES_DOC),
    ],
);

static FILE_SOURCE: Table = plain(
    "Source `file`",
    "Files in order of modification time and path. Names that start with `_` or `.` or end with `.tmp` are left alone; `.gz` and \
     `.zst` are unpacked.",
    &[
        setting("path", Kind::Path, Required, "A folder, a glob (`in/*.json`) or one file."),
        setting(
            "max_files_per_trigger",
            Kind::Count { min: 1, max: MANY },
            Optional,
            "Files that one batch takes at most. The trigger `once` ignores it.",
        ),
        setting(
            "max_file_age",
            ANY_DURATION,
            Default("7 days"),
            "Files older than this, measured from the newest one seen, are left alone; bounds what must be remembered.",
        ),
        setting(
            "clean_source",
            Kind::Choice(&["off", "archive", "delete"]),
            Default("off"),
            "What becomes of a file once its rows are committed.",
        ),
        setting("archive_to", Kind::Path, Optional, "Folder that `clean_source: archive` moves files into; required with it."),
        setting("tail", Kind::Bool, Default("false"), "Whether files are followed as they grow."),
        MAX_ROWS,
        setting("max_bytes_per_trigger", ANY_SIZE, Optional, MAX_BYTES_DOC),
    ],
);

static RATE: Table = plain(
    "Source `rate`",
    "Made-up rows at a steady rate, with the columns `timestamp TIMESTAMP` and `value BIGINT` (0, 1, 2, …).",
    &[
        setting("rows_per_second", Kind::Count { min: 1, max: 1_000_000_000 }, Default("1"), "Rows per second."),
        MAX_ROWS,
        setting("max_bytes_per_trigger", ANY_SIZE, Optional, MAX_BYTES_DOC),
    ],
);

static FORMAT: Table = Table {
    title: "Formats of sources",
    doc: "`sources.<name>.format`: one format, or its bare name for its defaults.",
    settings: &[],
    branches: &[
        Branch { key: "json", table: &JSON_IN },
        Branch { key: "text", table: &TEXT_IN },
        Branch { key: "csv", table: &CSV_IN },
    ],
    branch: "format",
};

static TABLE_FORMAT: Table = Table {
    title: "Formats of tables",
    doc: "`tables.<name>.format`: one format of sources, or `parquet`.",
    settings: &[],
    branches: &[
        Branch { key: "json", table: &JSON_IN },
        Branch { key: "text", table: &TEXT_IN },
        Branch { key: "csv", table: &CSV_IN },
        Branch { key: "parquet", table: &PARQUET_IN },
    ],
    branch: "format",
};

const SCHEMA: Setting = setting(
    "schema",
    Kind::Schema,
    Required,
    "The columns, as Spark's DDL: `\"name STRING, amount DOUBLE, tags ARRAY<STRING>\"`.",
);

static JSON_IN: Table = plain("Format `json` of sources and tables", "One JSON object per line.", &[SCHEMA]);
static TEXT_IN: Table = plain("Format `text` of sources and tables", "One column `value STRING`: the line.", &[]);
static PARQUET_IN: Table = plain("Format `parquet` of tables", "Parquet files bring their own columns.", &[]);

const HEADER: Setting = setting("header", Kind::Bool, Default("false"), "Whether the first line of a file names the columns.");
const SEPARATOR: Setting = setting("separator", Kind::Character, Default(","), "Stands between two values.");
const QUOTE: Setting =
    setting("quote", Kind::Character, Default("\""), "Stands around a value that needs it; `\"\"` turns quoting off.");
const ESCAPE: Setting =
    setting("escape", Kind::Character, Default("\\"), "Stands before a quote inside quotes; `\"\"` leaves only doubled quotes.");
const NULL_VALUE: Setting = setting("null_value", Kind::Text, Default(""), "The text that stands for null.");

static CSV_IN: Table = plain(
    "Format `csv` of sources and tables",
    "Separated values, one record per line.",
    &[SCHEMA, HEADER, SEPARATOR, QUOTE, ESCAPE, NULL_VALUE],
);

static TABLE: Table = plain(
    "A table",
    "`tables.<name>`: read at start and joined by name.",
    &[
        setting("from", Kind::Table(&TABLE_FROM), Required, "Where its rows lie."),
        setting("format", Kind::Table(&TABLE_FORMAT), Required, "How its files become rows."),
        setting(
            "refresh",
            Kind::Choice(&["never", "when_changed"]),
            Default("never"),
            "Whether its files are read again: never, or before a batch that finds them changed. Files that are not right leave the \
             rows as they were.",
        ),
    ],
);

static TABLE_FROM: Table = Table {
    title: "Where a table reads",
    doc: "`tables.<name>.from`.",
    settings: &[],
    branches: &[Branch { key: "file", table: &TABLE_FILE }],
    branch: "connector",
};

static TABLE_FILE: Table =
    plain("Table `file`", "Files of a static table.", &[setting("path", Kind::Path, Required, "A file, a folder or a glob.")]);

static VIEW: Table = plain(
    "A view",
    "`views.<name>`: SQL with a name.",
    &[setting("sql", Kind::Sql, Required, "A query over sources, tables and other views."), WATERMARK, DEDUPLICATE],
);

static QUERY: Table = plain(
    "A query",
    "`queries.<name>`: what to compute, when, and where it goes.",
    &[
        setting("sql", Kind::Sql, Required, "Spark SQL over sources, tables and views."),
        setting(
            "output_mode",
            Kind::OutputMode,
            Default("append"),
            "Which rows a batch emits: those that never change again (`append`), those that changed (`update`), or the whole result \
             (`complete`).",
        ),
        setting(
            "scope",
            Kind::Choice(&["query", "micro_batch"]),
            Default("query"),
            "How long state lives: as long as the query, or for each micro-batch alone.",
        ),
        setting(
            "trigger",
            Kind::Trigger,
            Default("as_fast_as_possible"),
            "When a batch runs: an interval (`2 seconds`), `as_fast_as_possible`, or once for what is there at start, in batches \
             (`available_now`) or in one (`once`).",
        ),
        setting(
            "watermark_policy",
            Kind::Choice(&["min", "max"]),
            Default("min"),
            "Which of several watermarks is the query's: the smallest, or the largest. A restart goes on with the one it began with.",
        ),
        setting("to", Kind::OneOrMore(&SINK), Required, "Where results go: one sink, or a list in commit order."),
        setting(
            "dead_letter",
            Kind::Table(&DEAD_LETTER),
            Optional,
            "One more sink, for rows that could not be used: malformed lines with their raw bytes, position and reason, and rows that came \
             too late or lie in the future.",
        ),
    ],
);

const FORMAT_OUT: Setting = setting(
    "format",
    Kind::Table(&SINK_FORMAT),
    Optional,
    "The encoding. Required for `file`; the console's default is its table, Kafka's are the columns of a message, and \
     Redis' are fields of a hash.",
);

static SINK_BRANCHES: [Branch; 6] = [
    Branch { key: "console", table: &CONSOLE },
    Branch { key: "file", table: &FILE_SINK },
    Branch { key: "kafka", table: &KAFKA_SINK },
    Branch { key: "redis", table: &REDIS_SINK },
    Branch { key: "discard", table: &DISCARD },
    Branch { key: "metric", table: &METRIC_SINK },
];

static SINK: Table = Table {
    title: "A sink",
    doc: "`queries.<name>.to`: exactly one connector, with its format beside it.",
    settings: &[
        setting("name", Kind::Name, Optional, "Its name within the query. Default: the connector; required when that repeats."),
        FORMAT_OUT,
        setting("select", Kind::Sql, Optional, "Stateless SQL over `result`, the query's rows."),
    ],
    branches: &SINK_BRANCHES,
    branch: "connector",
};

static DEAD_LETTER: Table = Table {
    title: "A dead letter",
    doc: "`queries.<name>.dead_letter`: exactly one connector, with its format beside it. It always appends, and is committed with the \
          batch. Columns: `query, batch_id, source, position, time, kind, operator, watermark, field, reason, row, raw`.",
    settings: &[FORMAT_OUT],
    // All but metric: what is set aside has no numbers.
    branches: SINK_BRANCHES.split_at(5).0,
    branch: "connector",
};

static CONSOLE: Table = plain(
    "Sink `console`",
    "Standard output: Spark's table per batch, or with `format: json` one line of JSON per batch with all its rows.",
    &[
        setting("num_rows", Kind::Count { min: 0, max: 1_000_000 }, Default("20"), "Rows of the table that are shown."),
        setting(
            "truncate",
            Kind::Width,
            Default("true"),
            "Characters of a cell that are shown: 20 (`true`), all (`false`, aligned left) or a number.",
        ),
    ],
);

static FILE_SINK: Table = plain(
    "Sink `file`",
    "Files of a folder, each row exactly once. Output mode append only.",
    &[
        setting("path", Kind::Path, Required, "The folder."),
        setting("partition_by", Kind::Columns, Optional, "Columns that become folders `column=value`."),
        setting(
            "roll",
            Kind::Table(&ROLL),
            Optional,
            "Gathers batches into larger files, whose rows readers see when the files are done. Default: files of each batch.",
        ),
    ],
);

static ROLL: Table = plain(
    "Larger files",
    "`roll` of a sink `file`: when files are done. All of the sink are done together, as soon as one of these is so, and when the query \
     ends. At least one is needed.",
    &[
        setting("rows", Kind::Count { min: 1, max: MANY }, Optional, "One of the files has so many rows."),
        setting("bytes", ANY_SIZE, Optional, "One of the files has so many bytes, as its batches were encoded."),
        setting(
            "age",
            Kind::Duration { min: Duration::from_millis(1) },
            Optional,
            "The first batch in them is so old. Without it rows may wait as long as the query runs.",
        ),
    ],
);

static DISCARD: Table = plain("Sink `discard`", "Counts rows and keeps nothing.", &[]);

static SINK_FORMAT: Table = Table {
    title: "Formats of sinks",
    doc: "`format` beside a sink's connector: one format, or its bare name for its defaults. The console, Kafka and Redis take \
          `json`, files take all.",
    settings: &[],
    branches: &[
        Branch { key: "json", table: &JSON_OUT },
        Branch { key: "csv", table: &CSV_OUT },
        Branch { key: "parquet", table: &PARQUET_OUT },
    ],
    branch: "format",
};

static JSON_OUT: Table = plain("Format `json` of sinks", "One JSON object per line; nulls are left out.", &[]);
static PARQUET_OUT: Table = plain("Format `parquet` of sinks", "Parquet.", &[]);
static CSV_OUT: Table =
    plain("Format `csv` of sinks", "Separated values, one record per line.", &[HEADER, SEPARATOR, QUOTE, ESCAPE, NULL_VALUE]);

const CALLS: Kind = Kind::Count { min: 1, max: IN_FLIGHT_MAX as u64 };

static LIMITS: Table = plain(
    "Limits",
    "`limits`: what the process may use. Sizes are in bytes unless they have a unit.",
    &[
        setting("state_memory", ANY_SIZE, Default("1 GiB"), "What the stateful operators of one query may hold together."),
        setting(
            "ingest_log",
            ANY_SIZE,
            Default("4 GiB"),
            "What a source's ingest log may hold before its socket is no longer read.",
        ),
        setting("stage", ANY_SIZE, Default("1 GiB"), "What one batch may stage for all its sinks."),
        setting("line", Kind::Size { min: 1, max: 1 << 30 }, Default("1 MiB"), "Longest line; a longer one is malformed."),
        setting("json_depth", Kind::Count { min: 1, max: 1000 }, Default("64"), "Deepest nesting of JSON; deeper is malformed."),
        setting(
            "connections",
            Kind::Count { min: 1, max: 1_000_000 },
            Default("1024"),
            "Connections that one listener holds at a time.",
        ),
        setting(
            "calls_in_flight",
            CALLS,
            Default("1000"),
            "Calls of functions that may be in flight, those of all queries together.",
        ),
        setting("calls_in_flight_per_query", CALLS, Default("1000"), "The same for each query."),
    ],
);
