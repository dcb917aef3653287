//! Rules that hold between parts of the file: names, paths, the checkpoint, output modes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::problem::Problems;
use super::scalar::quoted;
use super::spec::refuses_mode;
use super::text::{FilePath, Text};
use super::values::Values;
use crate::kafka::default_id;
use crate::plan::OutputMode;

/// Rules of the file as a whole.
pub(super) fn whole(root: &Values, problems: &mut Problems) {
    for name in ["sources", "queries"] {
        if root.is_given(name) && root.named(name).is_empty() {
            problems.add(root.place_of(name), root.about(name, "expected at least one"));
        }
    }
    one_namespace(root, &["sources", "tables", "views"], problems);
    one_namespace(root, &["queries"], problems);
    one_namespace(root, &["functions"], problems);
    checkpoint_when_needed(root, problems);
    paths(root, problems);
}

/// Names resolve without regard to case, so they must differ in more than case.
fn one_namespace(root: &Values, groups: &[&str], problems: &mut Problems) {
    let mut known: Vec<(&str, &str)> = Vec::new();
    for group in groups {
        for (key, _) in root.named(group) {
            // The same key twice in one map is refused already, as a key.
            let first =
                known.iter().find(|(other, name)| name.eq_ignore_ascii_case(&key.text) && (other, *name) != (group, &*key.text));
            match first {
                Some((other, name)) => {
                    let message =
                        format!("{group}.{}: the name is taken by {other}.{name}; names differ in more than case", key.text);
                    problems.add(&key.place, message);
                }
                None => known.push((group, &key.text)),
            }
        }
    }
}

fn all_sinks(root: &Values) -> impl Iterator<Item = (&str, &Values)> {
    root.named("queries").iter().flat_map(|(key, query)| sinks_of(query).map(move |sink| (key.text.as_str(), sink)))
}

/// The query's sinks, the dead letter last.
fn sinks_of(query: &Values) -> impl Iterator<Item = &Values> {
    query.list("to").iter().chain(query.map("dead_letter"))
}

fn checkpoint_when_needed(root: &Values, problems: &mut Problems) {
    if !root.is_missing("checkpoint") {
        return;
    }
    for (query, sink) in all_sinks(root) {
        let what = match &sink.branch {
            Some(("file", _)) => "writes files",
            Some(("kafka", _)) => "sends to Kafka",
            Some(("redis", _)) => "writes to Redis",
            _ => continue,
        };
        let message = format!("checkpoint must be specified: query {query} {what}, and a restart must know which");
        problems.add(&sink.place, message);
        return;
    }
    for (key, source) in root.named("sources") {
        let Some(("socket", socket)) = source.map("from").and_then(|from| from.branch.as_ref()).map(|(key, v)| (*key, v)) else {
            continue;
        };
        if socket.is_given("durable") && socket.bool("durable") == Some(true) {
            let message = format!("checkpoint must be specified: source {} says durable: true", key.text);
            problems.add(socket.place_of("durable"), message);
            return;
        }
    }
}

/// Two sinks with one transactional id would take it from each other for ever, and so would two with one mark.
pub(super) fn transactional_ids(root: &Values, pipeline: &str, problems: &mut Problems) {
    let mut known: BTreeMap<(&str, String), (String, bool)> = BTreeMap::new();
    for (key, query) in root.named("queries") {
        let sinks = query.list("to").iter().filter_map(|sink| Some((sink, sink_name(sink)?)));
        let dead_letter = query.map("dead_letter").map(|sink| (sink, "dead_letter".to_owned()));
        for (sink, name) in sinks.chain(dead_letter) {
            let (setting, what, settings) = match &sink.branch {
                Some(("kafka", settings)) if settings.choice("guarantee") == Some("exactly_once") => {
                    ("transactional_id", "transactional id", settings)
                }
                Some(("redis", settings)) => ("marker", "marker", settings),
                _ => continue,
            };
            let is_given = settings.is_given(setting);
            let id = settings.word(setting).unwrap_or_else(|| default_id(pipeline, &key.text, &name));
            let here = format!("queries.{}.{name}", key.text);
            match known.get(&(setting, id.clone())) {
                // Without one of their own only equal names make equal ids, and those are refused already.
                Some((other, was_given)) if is_given || *was_given => {
                    let id = quoted(&Text::plain(id.as_str()));
                    let message = format!("{here} and {other} have the {what} {id}; each sink needs its own");
                    problems.add(settings.place_of(setting), settings.about(setting, &message));
                }
                Some(_) => {}
                None => drop(known.insert((setting, id), (here, is_given))),
            }
        }
    }
}

/// What a sink is called in its query.
fn sink_name(sink: &Values) -> Option<String> {
    sink.word("name").or_else(|| sink.branch.as_ref().map(|(key, _)| (*key).to_owned()))
}

/// Sinks' names are what the checkpoint knows them by.
pub(super) fn sink_names(query: &Values, problems: &mut Problems) {
    let mut known: Vec<String> = vec!["dead_letter".to_owned()];
    for sink in query.list("to") {
        let Some(name) = sink_name(sink) else { continue };
        if known.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
            let message = match name.as_str() {
                "dead_letter" => "the name dead_letter is kept for the query's dead letter".to_owned(),
                _ => format!("two sinks of the query are called {name}; give one of them another name"),
            };
            problems.add(sink.place_of("name"), sink.about("name", &message));
        }
        known.push(name);
    }
}

/// Files only append; each micro-batch alone has no complete result.
pub(super) fn output_mode(query: &Values, problems: &mut Problems) {
    let Some(mode) = query.output_mode("output_mode") else { return };
    let refused = query.list("to").iter().filter_map(|sink| {
        let (key, settings) = sink.branch.as_ref()?;
        refuses_mode(key, *key == "redis" && settings.choice("operation") == Some("atomic_add"), mode)
    });
    for message in refused.collect::<BTreeSet<_>>() {
        let message = query.about("output_mode", &message);
        problems.add_spark(query.place_of("output_mode"), "STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE", message);
    }
    if mode == OutputMode::Complete && query.choice("scope") == Some("micro_batch") {
        let message = "invalid streaming output mode: complete. This output mode is not supported for scope: micro_batch, which keeps no result";
        let message = query.about("output_mode", message);
        problems.add_spark(query.place_of("output_mode"), "STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION", message);
    }
}

/// What a connector makes of the format and the settings beside it.
pub(super) fn format_fits(connector: &str, settings: &Values, source: &Values, problems: &mut Problems) {
    if connector == "rate" {
        for name in ["format", "on_malformed"] {
            if source.is_given(name) {
                problems.add(source.place_of(name), source.about(name, "rate makes rows of its own: there is nothing to decode"));
            }
        }
        return;
    }
    if !matches!(connector, "socket" | "http" | "kafka") {
        return;
    }
    let format = source.map("format").and_then(|format| format.branch.as_ref());
    if connector == "kafka" {
        if format.is_none() && source.is_given("on_malformed") && source.is_missing("format") {
            let message = "goes with a format only: raw columns are never malformed";
            problems.add(source.place_of("on_malformed"), source.about("on_malformed", message));
        }
        if format.is_some() && settings.bool("include_headers") == Some(true) {
            let message = "goes without a format only: headers are a raw column";
            problems.add(settings.place_of("include_headers"), settings.about("include_headers", message));
        }
    }
    let is_text = format.is_none_or(|(key, _)| *key == "text");
    if settings.bool("include_timestamp") == Some(true) && !is_text {
        let message = "goes with format: text only; name the column _received_at in SQL instead";
        problems.add(settings.place_of("include_timestamp"), settings.about("include_timestamp", message));
    }
    if let Some(("csv", csv)) = format.map(|(key, values)| (*key, values))
        && csv.bool("header") == Some(true)
    {
        problems.add(csv.place_of("header"), csv.about("header", "files have headers, what is sent line by line has none"));
    }
}

/// A pattern must be one that can match.
pub(super) fn glob(path: &FilePath, values: &Values, problems: &mut Problems) {
    if is_glob(path)
        && let Err(error) = globset::Glob::new(&path.to_string_lossy())
    {
        let message = format!("expected a path or a glob such as in/*.json: {}", error.kind());
        problems.add(values.place_of("path"), values.about("path", &message));
    }
}

/// What exists under this very name is no pattern.
fn is_glob(path: &Path) -> bool {
    has_wildcards(path) && !path.exists()
}

fn has_wildcards(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '[', '{'])
}

/// A folder that the pipeline writes into.
struct Written<'a> {
    path: PathBuf,
    what: String,
    values: &'a Values,
    setting: &'static str,
    is_sink: bool,
}

/// What is written must not be read again, written over, or mixed with the checkpoint.
fn paths(root: &Values, problems: &mut Problems) {
    let written = written(root);
    let checkpoint = root.path("checkpoint").map(|path| real(&path));
    for (index, one) in written.iter().enumerate() {
        let mut refuse =
            |message: String| problems.add(one.values.place_of(one.setting), one.values.about(one.setting, &message));
        if one.is_sink
            && let Some(other) = written[..index].iter().find(|other| other.is_sink && other.path == one.path)
        {
            refuse(format!("{} writes there too; two sinks cannot share a folder", other.what));
        }
        if checkpoint.as_ref().is_some_and(|checkpoint| one.path.starts_with(checkpoint)) {
            refuse("lies inside the checkpoint".to_owned());
        }
        for (key, source) in root.named("sources") {
            let path = source.map("from").and_then(|from| from.branch.as_ref()).and_then(|(_, file)| file.path("path"));
            if path.is_some_and(|path| reads_from(&path, &one.path)) {
                refuse(format!("source {} reads there: it would read what is written", key.text));
            }
        }
    }
}

fn written(root: &Values) -> Vec<Written<'_>> {
    let sinks = all_sinks(root).filter_map(|(query, sink)| {
        let (_, file) = sink.branch.as_ref()?;
        let what = format!("query {query}");
        Some(Written { path: real(&file.path("path")?), what, values: file, setting: "path", is_sink: true })
    });
    let archives = root.named("sources").iter().filter_map(|(key, source)| {
        let (_, file) = source.map("from")?.branch.as_ref()?;
        let what = format!("source {}", key.text);
        Some(Written { path: real(&file.path("archive_to")?), what, values: file, setting: "archive_to", is_sink: false })
    });
    sinks.chain(archives).collect()
}

/// Whether a source at `path` would see files written into `folder`.
fn reads_from(path: &Path, folder: &Path) -> bool {
    if !is_glob(path) {
        return real(path) == folder;
    }
    // The part before the first wildcard is a real folder; the wildcards see names below it.
    let mut base = PathBuf::new();
    let mut pattern = PathBuf::new();
    for component in path.components() {
        if pattern.as_os_str().is_empty() && !has_wildcards(Path::new(component.as_os_str())) {
            base.push(component);
        } else {
            pattern.push(component);
        }
    }
    let full = PathBuf::from(globset::escape(&real(&base).to_string_lossy())).join(pattern);
    let Ok(glob) = globset::GlobBuilder::new(&full.to_string_lossy()).literal_separator(true).build() else { return false };
    let matcher = glob.compile_matcher();
    ["json", "csv", "parquet"].iter().any(|ending| matcher.is_match(folder.join(format!("part-0.{ending}"))))
}

/// `path` without links and `..`, as far as it exists; two paths to one folder come out equal.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut clean = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
        // Links are followed as soon as they are met, for a `..` behind one leads elsewhere.
        if let Ok(found) = clean.canonicalize() {
            clean = found;
        }
    }
    clean
}
