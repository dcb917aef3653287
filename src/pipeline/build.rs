//! Read settings → the types that the engine runs, with the rules that tie one setting to its neighbours.
//!
//! A part that cannot be built is left out, its reason noted, and the rest is built and checked all the same.

use super::check;
use super::connections::{Connections, connections};
use super::event_time::{self, deduplication, watermark};
use super::function;
use super::kafka;
use super::kafka_sink::kafka_sink;
use super::listening;
use super::metric_sink::metric_sink;
use super::problem::{Place, Problems};
use super::redis_sink::redis_sink;
use super::scalar::{Scalar, quoted};
use super::spec::{
    CheckpointRoot, CleanSource, ConsoleFormat, ConsoleSink, CsvSpec, FileFormat, FileSink, FileSource, FormatSpec, Limits,
    Pipeline, QuerySpec, RateSource, Refresh, Roll, SinkConnector, SinkSpec, SocketEndpoint, SocketSource, SourceConnector,
    SourceSpec, TableSpec, ViewSpec,
};
use super::text::Text;
use super::values::Values;
use crate::format::{LineLimits, OnMalformed};
use crate::plan::{QueryText, Scope};
use crate::source::ReadLimit;
use crate::watermark::WatermarkPolicy;

/// The pipeline of `root`, `None` when something is wrong with it.
pub(super) fn pipeline(root: &Values, default_name: &str, problems: &mut Problems) -> Option<Pipeline> {
    check::whole(root, problems);
    let name = root.word("name").unwrap_or_else(|| default_name.to_owned());
    check::transactional_ids(root, &name, problems);
    let connections = connections(root, problems);
    let is_insecure = root.map("service").and_then(|values| values.bool("i_know_insecure")).unwrap_or(false);
    let sources: Option<Vec<_>> =
        all(root.named("sources"), |name, values| source(name, values, &connections, is_insecure, problems));
    let tables: Option<Vec<_>> = all(root.named("tables"), |name, values| table(name, values, problems));
    let views: Option<Vec<_>> = all(root.named("views"), |name, values| view(name, values, problems));
    let queries: Option<Vec<_>> = all(root.named("queries"), |name, values| query(name, values, &connections, problems));
    let limits = root.map("limits").and_then(|values| limits(values, problems));
    let functions = function::functions(root, limits.as_ref(), &connections, problems);
    let service = root.map("service").and_then(|values| listening::service(values, problems));
    let checkpoint = match root.path("checkpoint") {
        Some(path) => CheckpointRoot::At(path),
        None => CheckpointRoot::Temporary,
    };
    Some(Pipeline {
        name,
        checkpoint,
        time_zone: root.word("time_zone")?.into(),
        sources: sources?,
        tables: tables?,
        views: views?,
        functions: functions?,
        queries: queries?,
        limits: limits?,
        service: service?,
    })
}

/// Builds every one, so that every mistake is noted, before it answers whether all are right.
fn all<T>(named: &[(super::tree::Key, Values)], mut build: impl FnMut(&str, &Values) -> Option<T>) -> Option<Vec<T>> {
    let built: Vec<Option<T>> = named.iter().map(|(key, values)| build(&key.text, values)).collect();
    built.into_iter().collect()
}

fn source(
    name: &str,
    values: &Values,
    connections: &Connections,
    is_insecure: bool,
    problems: &mut Problems,
) -> Option<SourceSpec> {
    let format = values.map("format").map(|values| (format(values, problems), values));
    let (key, settings) = values.map("from")?.branch.as_ref()?;
    let admission = ReadLimit {
        rows_max: settings.count("max_rows_per_trigger"),
        bytes_max: settings.count("max_bytes_per_trigger"),
        files_max: if *key == "file" { settings.count("max_files_per_trigger") } else { None },
    };
    check::format_fits(key, settings, values, problems);
    let connector = match *key {
        "socket" => SourceConnector::Socket(socket(settings, problems)?),
        "http" => SourceConnector::Http(Box::new(listening::http_source(settings, is_insecure, problems)?)),
        "file" => SourceConnector::File(file_source(settings, problems)?),
        "kafka" => SourceConnector::Kafka(Box::new(kafka::source(settings, connections, problems)?)),
        _ => SourceConnector::Rate(RateSource { rows_per_second: settings.count("rows_per_second")? }),
    };
    let format = match (&connector, format) {
        (SourceConnector::Rate(_) | SourceConnector::Memory(_), _) | (SourceConnector::Kafka(_), None) => None,
        (_, None) => Some(FormatSpec::Text),
        (_, Some((format, _))) => Some(format?),
    };
    let on_malformed = match values.choice("on_malformed")? {
        "drop" => OnMalformed::Drop,
        "fail" => OnMalformed::Fail,
        _ => OnMalformed::Permissive,
    };
    // Columns that depend on the connector are known when the query is planned.
    if let SourceConnector::File(_) | SourceConnector::Socket(_) | SourceConnector::Http(_) = &connector
        && let Some(FormatSpec::Json { schema } | FormatSpec::Csv { schema, .. }) = &format
    {
        event_time::check(values, schema, problems);
    }
    let watermark = watermark(values)?;
    Some(SourceSpec {
        name: name.to_owned(),
        connector,
        format,
        on_malformed,
        admission,
        watermark,
        deduplicate: deduplication(values, problems)?,
    })
}

fn socket(values: &Values, problems: &mut Problems) -> Option<SocketSource> {
    let endpoint = match (values.address("connect"), values.address("listen")) {
        (Some(address), None) => {
            if address.port() == 0 {
                problems.add(values.place_of("connect"), values.about("connect", "expected a port of 1 to 65535"));
            }
            SocketEndpoint::Connect(address)
        }
        (None, Some(address)) => SocketEndpoint::Listen(address),
        (Some(_), Some(_)) => {
            problems.add(values.place_of("listen"), values.about("", "expected one of connect and listen, found both"));
            return None;
        }
        (None, None) => {
            if !values.is_missing("connect") {
                return None;
            }
            problems.add(&values.place, values.about("", "expected connect: \"host:port\" or listen: \"host:port\""));
            return None;
        }
    };
    let foreign = match endpoint {
        SocketEndpoint::Connect(_) => ("allow_from", "listen"),
        SocketEndpoint::Listen(_) => ("connect_timeout", "connect"),
    };
    if values.is_given(foreign.0) {
        problems.add(values.place_of(foreign.0), values.about(foreign.0, &format!("goes with {} only", foreign.1)));
    }
    Some(SocketSource {
        endpoint,
        include_timestamp: values.bool("include_timestamp")?,
        connect_timeout: values.duration("connect_timeout")?,
        durable: values.bool("durable")?,
        allow_from: listening::networks("allow_from", values),
    })
}

fn file_source(values: &Values, problems: &mut Problems) -> Option<FileSource> {
    let path = values.path("path");
    if let Some(path) = &path {
        check::glob(path, values, problems);
    }
    let (clean_source, archive_to) = (values.choice("clean_source")?, values.path("archive_to"));
    if clean_source != "archive" && values.is_given("archive_to") {
        problems.add(values.place_of("archive_to"), values.about("archive_to", "goes with clean_source: archive only"));
    }
    if clean_source == "archive" && archive_to.is_none() {
        let message = values.about("", "expected archive_to: the folder that clean_source: archive moves files into");
        problems.add(values.place_of("clean_source"), message);
    }
    let tail = values.bool("tail")?;
    if tail && clean_source != "off" {
        let message = values.about("tail", "a file that is followed is never finished, so clean_source must be off");
        problems.add(values.place_of("tail"), message);
    }
    let clean_source = match clean_source {
        "archive" => CleanSource::Archive(archive_to?),
        "delete" => CleanSource::Delete,
        _ => CleanSource::Off,
    };
    Some(FileSource { path: path?, max_file_age: values.duration("max_file_age")?, clean_source, tail })
}

fn format(values: &Values, problems: &mut Problems) -> Option<FormatSpec> {
    let (key, settings) = values.branch.as_ref()?;
    match *key {
        "json" => Some(FormatSpec::Json { schema: settings.schema("schema")? }),
        "csv" => {
            let csv = csv(settings, problems);
            Some(FormatSpec::Csv { schema: settings.schema("schema")?, csv: csv? })
        }
        "parquet" => parquet_is_here(settings, problems).then_some(FormatSpec::Parquet),
        _ => Some(FormatSpec::Text),
    }
}

fn csv(values: &Values, problems: &mut Problems) -> Option<CsvSpec> {
    let Some(separator) = values.character("separator")? else {
        problems.add(values.place_of("separator"), values.about("separator", "expected one ASCII character, found nothing"));
        return None;
    };
    let (quote, escape) = (values.character("quote")?, values.character("escape")?);
    for (name, other) in [("quote", quote), ("escape", escape)] {
        if other == Some(separator) {
            problems.add(values.place_of(name), values.about(name, "expected another character than the separator"));
        }
    }
    Some(CsvSpec { header: values.bool("header")?, separator, quote, escape, null_value: values.word("null_value")? })
}

fn parquet_is_here(values: &Values, problems: &mut Problems) -> bool {
    let here = cfg!(feature = "parquet");
    if !here {
        problems.add(&values.place, values.about("", "this build of Tidemill has no Parquet (feature parquet)"));
    }
    here
}

fn table(name: &str, values: &Values, problems: &mut Problems) -> Option<TableSpec> {
    let format = values.map("format").and_then(|values| format(values, problems));
    let (_, file) = values.map("from")?.branch.as_ref()?;
    let path = file.path("path")?;
    check::glob(&path, file, problems);
    let refresh = match values.choice("refresh")? {
        "when_changed" => Refresh::WhenChanged,
        _ => Refresh::Never,
    };
    Some(TableSpec { name: name.to_owned(), path, format: format?, refresh })
}

fn view(name: &str, values: &Values, problems: &mut Problems) -> Option<ViewSpec> {
    let (sql, position) = (values.word("sql")?, values.place_of("sql").position());
    Some(ViewSpec {
        name: name.to_owned(),
        sql,
        position,
        watermark: watermark(values)?,
        deduplicate: deduplication(values, problems)?,
    })
}

fn query(name: &str, values: &Values, connections: &Connections, problems: &mut Problems) -> Option<QuerySpec> {
    let sinks: Vec<Option<SinkSpec>> = values.list("to").iter().map(|values| sink(values, None, connections, problems)).collect();
    let dead_letter = values.map("dead_letter").map(|values| sink(values, Some("dead_letter"), connections, problems));
    check::sink_names(values, problems);
    check::output_mode(values, problems);
    let scope = match values.choice("scope")? {
        "micro_batch" => Scope::MicroBatch,
        _ => Scope::Query,
    };
    Some(QuerySpec {
        name: name.to_owned(),
        text: QueryText::Sql(values.word("sql")?),
        position: values.place_of("sql").position(),
        output_mode: values.output_mode("output_mode")?,
        scope,
        trigger: values.trigger("trigger")?,
        watermark_policy: match values.choice("watermark_policy")? {
            "max" => WatermarkPolicy::Max,
            _ => WatermarkPolicy::Min,
        },
        sinks: sinks.into_iter().collect::<Option<Vec<_>>>()?,
        dead_letter: match dead_letter {
            Some(sink) => Some(sink?),
            None => None,
        },
    })
}

fn sink(values: &Values, name: Option<&str>, connections: &Connections, problems: &mut Problems) -> Option<SinkSpec> {
    let (key, settings) = values.branch.as_ref()?;
    let format = values.map("format");
    let format_place = format.map_or(&values.place, |format| &format.place).clone();
    let format_key = format.and_then(|format| format.branch.as_ref()).map(|(key, settings)| (*key, settings.as_ref()));
    let connector = match *key {
        "console" => SinkConnector::Console(console(values, settings, format_key, &format_place, problems)?),
        "file" => SinkConnector::File(file_sink(values, settings, format_key, problems)?),
        "kafka" => {
            let format = format_key.map(|(key, _)| (key, &format_place));
            SinkConnector::Kafka(Box::new(kafka_sink(values, settings, format, connections, problems)?))
        }
        "redis" => {
            let format = format_key.map(|(key, _)| (key, &format_place));
            SinkConnector::Redis(Box::new(redis_sink(values, settings, format, connections, problems)?))
        }
        "metric" => {
            let place = format.map(|_| &format_place);
            SinkConnector::Metric(Box::new(metric_sink(values, settings, place, problems)?))
        }
        _ => {
            if format.is_some() {
                problems.add(&format_place, values.about("format", "discard writes nothing and takes no format"));
            }
            SinkConnector::Discard
        }
    };
    let name = name.map(str::to_owned).or_else(|| values.word("name")).unwrap_or_else(|| connector.key().to_owned());
    let select = if values.is_given("select") { Some(values.word("select")?) } else { None };
    let position = select.as_ref().and_then(|_| values.place_of("select").position());
    Some(SinkSpec { name, connector, select, position })
}

fn console(
    sink: &Values,
    values: &Values,
    format: Option<(&'static str, &Values)>,
    place: &Place,
    problems: &mut Problems,
) -> Option<ConsoleSink> {
    let format = match format {
        None => ConsoleFormat::Table,
        Some(("json", _)) => ConsoleFormat::Json,
        Some((other, _)) => {
            let message = format!("expected json or nothing for the console, found {}", quoted(&Text::plain(other)));
            problems.add(place, sink.about("format", &message));
            return None;
        }
    };
    let num_rows = usize::try_from(values.count("num_rows")?).expect("the declared bound fits");
    Some(ConsoleSink { format, num_rows, truncate: values.width("truncate")? })
}

fn file_sink(
    sink: &Values,
    values: &Values,
    format: Option<(&'static str, &Values)>,
    problems: &mut Problems,
) -> Option<FileSink> {
    let format = match format {
        Some(("csv", settings)) => csv(settings, problems).map(FileFormat::Csv),
        Some(("parquet", settings)) => parquet_is_here(settings, problems).then_some(FileFormat::Parquet),
        Some(_) => Some(FileFormat::Json),
        None => {
            if sink.map("format").is_none() {
                problems.add(&sink.place, sink.about("", "expected format: json, csv or parquet for the sink file"));
            }
            None
        }
    };
    let columns = values.scalars("partition_by").iter();
    let columns = columns.filter_map(|scalar| if let Scalar::Word(column) = scalar { Some(column.clone()) } else { None });
    let mut partition_by: Vec<String> = Vec::new();
    for column in columns {
        if partition_by.iter().any(|known| known.eq_ignore_ascii_case(&column)) {
            let message = format!("{} is given twice", quoted(&Text::plain(column.as_str())));
            problems.add(values.place_of("partition_by"), values.about("partition_by", &message));
        }
        partition_by.push(column);
    }
    let roll = if values.is_given("roll") { Some(roll(values.map("roll")?, problems)?) } else { None };
    Some(FileSink { path: values.path("path")?, format: format?, partition_by, roll })
}

/// When files are done, or nothing that says so.
fn roll(values: &Values, problems: &mut Problems) -> Option<Roll> {
    let count = |name: &str| if values.is_given(name) { values.count(name).map(Some) } else { Some(None) };
    let age = if values.is_given("age") { Some(values.duration("age")?) } else { None };
    let roll = Roll { rows: count("rows")?, bytes: count("bytes")?, age };
    if ["rows", "bytes", "age"].into_iter().all(|name| values.is_missing(name)) {
        problems.add(&values.place, values.about("", "expected rows, bytes or age: when a file is done"));
    }
    (!roll.is_never()).then_some(roll)
}

fn limits(values: &Values, problems: &mut Problems) -> Option<Limits> {
    let size = |name: &str| values.count(name);
    let small = |name: &str| values.count(name).map(|count| usize::try_from(count).expect("the declared bound fits"));
    let (line, ingest_log) = (size("line")?, size("ingest_log")?);
    if line > ingest_log {
        let message = "expected at most limits.ingest_log, which could not hold such a line";
        problems.add(values.place_of("line"), values.about("line", message));
    }
    Some(Limits {
        state_memory_bytes_max: size("state_memory")?,
        ingest_log_bytes_max: ingest_log,
        stage_bytes_max: size("stage")?,
        lines: LineLimits { line_bytes_max: small("line")?, json_depth_max: small("json_depth")? },
        connections_max: small("connections")?,
        calls_in_flight_max: small("calls_in_flight")?,
        calls_in_flight_per_query_max: small("calls_in_flight_per_query")?,
    })
}
