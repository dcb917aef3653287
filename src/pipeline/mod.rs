//! WHAT to run: the pipeline file as written → a checked [`Pipeline`].
//!
//! The text becomes a tree with positions (`tree`), the command line's overrides go into the tree (`overrides`), the tree is held
//! against the declared settings (`tables`, `values`), references are replaced in scalars on the way (`reference`), and what was
//! read becomes the types that the engine runs (`build`, `check`). Every mistake of a file is found in one go and names its line
//! and column. The declarations also give the JSON Schema ([`json_schema`]) and the guide's reference page.

use std::path::Path;

mod spec;
mod text;
mod duration;
mod size;
mod problem;
mod tree;
mod reference;
mod overrides;
mod settings;
mod tables;
mod suggest;
mod scalar;
mod values;
mod build;
mod connections;
mod kafka;
mod kafka_sink;
mod listening;
mod redis;
mod metric_sink;
mod redis_sink;
mod event_time;
mod function;
mod function_http;
mod function_object;
mod objects;
mod function_python;
mod function_redis;
mod check;
mod schema;
#[cfg(test)]
mod guide;
#[cfg(test)]
mod tests;

pub use duration::{parse_duration, show_duration};
pub use problem::{Place, Problem, Problems};
pub use schema::json_schema;
pub use size::{parse_size, show_size};
pub use spec::{
    CheckpointRoot, CleanSource, ConsoleFormat, ConsoleSink, CsvSpec, FileFormat, FileSink, FileSource, FormatSpec, HttpSource,
    Limits, MemorySource, Pipeline, Position, QuerySpec, RateSource, Refresh, Roll, ServiceSpec, SinkConnector, SinkSpec,
    SocketEndpoint, SocketSource, SourceConnector, SourceSpec, TableSpec, TlsSpec, Trigger, ViewSpec,
};
pub use suggest::nearest;
pub use text::{Address, FilePath, Text};

/// Reads the pipeline file at `path`, with `overrides` such as `queries.fraud.trigger=once` put over it. Opens nothing but that
/// file and the files of `${file:…}` references.
pub fn load(path: &Path, overrides: &[String]) -> Result<Pipeline, Problems> {
    let name = path.display().to_string();
    let refuse = |message: String| {
        let mut problems = Problems::of(&name);
        problems.add(&Place::File, message);
        problems
    };
    let bytes = read_bounded(path).map_err(|error| refuse(format!("could not read the pipeline file: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| refuse(format!("expected UTF-8, found another byte at {}", error.utf8_error().valid_up_to())))?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    parse(&text, &name, folder, overrides, &|name| std::env::var(name).ok())
}

/// A byte more than a pipeline file may have, at most.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(tree::FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads `text` as [`load`] does: `file_name` stands in messages and gives the default name, `folder` is where relative paths
/// start, `env` gives the environment's variables.
pub fn parse(
    text: &str,
    file_name: &str,
    folder: &Path,
    overrides: &[String],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Pipeline, Problems> {
    let mut problems = Problems::of(file_name);
    let Some(mut root) = tree::parse(text, &mut problems) else {
        return problems.unless_any(None);
    };
    overrides::apply(&mut root, overrides, &mut problems);
    let lookup = reference::Lookup { env, folder };
    let mut reading = values::Reading { lookup, problems: &mut problems };
    let values = values::Values::read(&tables::ROOT, &root, &Place::File, String::new(), &mut reading);
    let pipeline = build::pipeline(&values, &default_name(file_name), &mut problems);
    problems.unless_any(pipeline)
}

/// The file's name without its ending, as far as that is a name.
fn default_name(file_name: &str) -> String {
    let stem = Path::new(file_name).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if scalar::check_name(&stem).is_ok() { stem } else { "pipeline".to_owned() }
}

/// A commented pipeline file that runs as it is, in an empty folder.
pub fn starter() -> &'static str {
    include_str!("starter.yaml")
}
