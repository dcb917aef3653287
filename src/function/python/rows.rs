//! Chunks and answers as bytes: streams of Arrow IPC.

use std::io::Cursor;
use std::time::UNIX_EPOCH;

use arrow::array::{ArrayRef, AsArray, RecordBatch, new_empty_array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, UInt32Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use serde_json::json;

use crate::function::{Answer, CallError, CallErrorKind, Chunk, Returns};
use crate::plan::spark::types::outside::{plain_rows, plain_type, relabelled};

/// Most bytes of a chunk: what is handed over counts them in four bytes.
const CHUNK_BYTES_MAX: usize = 1 << 30;

/// The columns of an answer: which row each is for and the declared ones, or a single one.
pub(super) fn answer_schema(returns: &Returns) -> Schema {
    match returns {
        Returns::Value(data_type) => Schema::new(vec![Field::new("value", plain_type(data_type), true)]),
        Returns::Rows(schema) => {
            let of = Field::new("of", DataType::UInt32, true);
            let plain = schema.fields().iter().map(|field| field.as_ref().clone().with_data_type(plain_type(field.data_type())));
            Schema::new(std::iter::once(of).chain(plain).collect::<Vec<_>>())
        }
    }
}

/// A schema as an Arrow stream without rows.
pub(super) fn encode_schema(schema: &Schema) -> Result<Vec<u8>, ArrowError> {
    StreamWriter::try_new(Vec::new(), schema)?.into_inner()
}

/// A chunk as a worker takes it: where it is from as JSON, behind its length, and the rows.
///
/// # Errors
/// [`CallErrorKind::Rejected`] if it is too large.
pub(super) fn encode(chunk: &Chunk) -> Result<Vec<u8>, CallError> {
    let context = &chunk.context;
    let started = context.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let told = json!({
        "query": &*context.query,
        "batch_id": context.batch_id,
        "partition": context.partition,
        "chunk": context.index,
        "rows": [context.rows.start, context.rows.end],
        "started_us": u64::try_from(started.as_micros()).unwrap_or(u64::MAX),
    })
    .to_string();
    let mut bytes = Vec::with_capacity(1024 + chunk.args.get_array_memory_size().min(1 << 20));
    bytes.extend_from_slice(&u32::try_from(told.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(told.as_bytes());
    let written = plain_rows(&chunk.args).and_then(|args| {
        let mut stream = StreamWriter::try_new(&mut bytes, &args.schema())?;
        stream.write(&args)?;
        stream.finish()
    });
    let refused = |message: String| CallError::new(CallErrorKind::Rejected, message);
    written.map_err(|error| refused(format!("the rows could not be handed over: {error}")))?;
    if bytes.len() > CHUNK_BYTES_MAX {
        return Err(refused(format!("a chunk of {} bytes is too large: a smaller chunk_size helps", bytes.len())));
    }
    Ok(bytes)
}

/// The answer of a worker.
///
/// # Errors
/// [`CallErrorKind::BadAnswer`] if it is not what was declared.
pub(super) fn decode(bytes: &Bytes, returns: &Returns) -> Result<Answer, CallError> {
    read(bytes, returns)
        .map_err(|error| CallError::new(CallErrorKind::BadAnswer, format!("its answer could not be read: {error}")))
}

fn read(bytes: &Bytes, returns: &Returns) -> Result<Answer, ArrowError> {
    let stream = StreamReader::try_new(Cursor::new(bytes.clone()), None)?;
    let schema = stream.schema();
    let batches = stream.collect::<Result<Vec<_>, _>>()?;
    let rows = match batches.as_slice() {
        [only] => only.clone(),
        several => concat_batches(&schema, several)?,
    };
    let columns = rows.columns();
    match returns {
        Returns::Value(declared) => Ok(Answer::Values(
            columns.first().map_or_else(|| Ok(new_empty_array(declared)), |values| as_declared(values, declared))?,
        )),
        Returns::Rows(declared) => {
            let of = columns.first().and_then(|of| of.as_primitive_opt::<UInt32Type>().cloned());
            let of = of.ok_or_else(|| ArrowError::SchemaError("it does not say what its rows are for".to_owned()))?;
            let columns =
                columns[1..].iter().zip(declared.fields()).map(|(values, field)| as_declared(values, field.data_type()));
            Ok(Answer::Rows { rows: RecordBatch::try_new(declared.clone(), columns.collect::<Result<_, _>>()?)?, of })
        }
    }
}

/// `values` as `declared`: on their way names of nested fields can change, and intervals travel as durations; nothing else.
fn as_declared(values: &ArrayRef, declared: &DataType) -> Result<ArrayRef, ArrowError> {
    let plain = plain_type(declared);
    let values = if values.data_type() == &plain { values.clone() } else { cast(values, &plain)? };
    relabelled(&values, declared)
}
