//! State read back without the query that wrote it: for people who look into a checkpoint.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::Bytes;

use super::changelog::columns_of;
use super::memory::MemoryStore;
use super::operator_state::OperatorState;
use super::{StateMemory, StateSchema};
use crate::error::{Attempt, ErrorKind, Result};

/// The live rows that `changelogs` (a snapshot or nothing, then later ones, oldest first) leave: key columns, of which there are
/// `keys`, then state columns. Nothing if no row was ever set.
pub fn rows_of_changelogs(changelogs: &[Bytes], keys: usize) -> Result<Option<RecordBatch>> {
    let mut columns = None;
    for bytes in changelogs {
        columns = columns.or(columns_of(bytes)?);
    }
    let Some(columns) = columns else { return Ok(None) };
    let fields = columns.fields();
    let (key_fields, state_fields) = fields.split_at(keys.min(fields.len()));
    let schema = StateSchema::new(key_fields.to_vec(), state_fields.to_vec());
    let store = MemoryStore::new(schema.clone(), StateMemory::new(usize::MAX).account("inspect"))?;
    let mut state = OperatorState::new(schema, Box::new(store));
    state.restore(changelogs)?;
    concat_batches(&columns, &state.freeze().collect::<Result<Vec<_>>>()?)
        .map(Some)
        .attempting(ErrorKind::Internal, || "put state pages together".to_owned())
}
