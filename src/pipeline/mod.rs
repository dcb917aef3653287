//! WHAT to run: the pipeline file as written → a checked [`Pipeline`].

mod spec;
mod text;

pub use spec::{
    CheckpointRoot, CleanSource, ConsoleFormat, ConsoleSink, CsvSpec, FileFormat, FileSink, FileSource, FormatSpec, Limits,
    MemorySource, Pipeline, Position, QuerySpec, RateSource, SinkConnector, SinkSpec, SocketEndpoint, SocketSource,
    SourceConnector, SourceSpec, TableSpec, Trigger, ViewSpec,
};
pub use text::{Address, FilePath, Text};
