//! Keys: a template filled for each row.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Fields;

use crate::function::arguments::{Filling, Place, write_text};
use crate::function::template::Template;
use crate::function::{CallError, CallErrorKind};

/// Keys of rows, and other texts that are made of a row.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    filling: Filling,
    time_zone: Arc<str>,
}

impl Keys {
    /// The keys that `template` makes of `columns`.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub(crate) fn new(template: &Template, columns: &Fields, time_zone: Arc<str>) -> Result<Self, String> {
        let filling = Filling::new(template.clone(), columns)?;
        let names_call = filling.parts().any(|part| part == Err(Place::RequestId));
        if names_call {
            return Err("a key cannot have the name of the call in it".to_owned());
        }
        Ok(Self { filling, time_zone })
    }

    /// As it was written.
    pub(crate) fn shown(&self) -> String {
        self.filling.template.to_string()
    }

    /// The key of each row, none where a value in it is null.
    pub(crate) fn fill(&self, rows: &RecordBatch) -> Result<Vec<Option<Vec<u8>>>, CallError> {
        (0..rows.num_rows()).map(|row| self.key(rows, row)).collect()
    }

    /// The key of one row, none where a value in it is null.
    pub(crate) fn key(&self, rows: &RecordBatch, row: usize) -> Result<Option<Vec<u8>>, CallError> {
        let mut key = Vec::new();
        for part in self.filling.parts() {
            match part {
                Ok(text) => key.extend_from_slice(text.expose().as_bytes()),
                Err(Place::Arg(index)) => {
                    let written = write_text(rows.column(index).as_ref(), row, &self.time_zone, &mut key);
                    if !written.map_err(|error| CallError::new(CallErrorKind::Config, error.chain()))? {
                        return Ok(None);
                    }
                }
                Err(Place::RequestId) => unreachable!("refused when it was made"),
            }
        }
        Ok(Some(key))
    }
}
