//! Keys as bytes, and where they stand in a page.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int8Array, StringArray};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

/// Stands for null where keys are texts: no text contains this byte.
const NULL_TEXT: &[u8] = &[0xFF];

/// Turns key columns into bytes that are equal where the keys are, and back.
#[derive(Debug)]
pub(super) enum KeyCodec {
    /// One column of texts, whose bytes are the keys.
    Text,
    /// Any columns, as rows.
    Rows {
        converter: RowConverter,
        /// Without key columns there is one key; a constant column stands for it, since rows of no columns cannot be counted.
        unit: bool,
    },
}

/// Keys that a [`KeyCodec`] encoded.
#[derive(Debug)]
pub(super) enum Keys {
    Text(StringArray),
    Rows(Rows),
}

impl Keys {
    pub(super) fn get(&self, row: usize) -> &[u8] {
        match self {
            Self::Text(texts) if texts.is_null(row) => NULL_TEXT,
            Self::Text(texts) => texts.value(row).as_bytes(),
            Self::Rows(rows) => rows.row(row).data(),
        }
    }

    /// Calls `visit` with each key in order.
    pub(super) fn each(&self, mut visit: impl FnMut(usize, &[u8])) {
        match self {
            Self::Text(texts) if texts.null_count() == 0 => {
                for row in 0..texts.len() {
                    visit(row, texts.value(row).as_bytes());
                }
            }
            Self::Text(texts) => (0..texts.len()).for_each(|row| visit(row, self.get(row))),
            Self::Rows(rows) => rows.iter().enumerate().for_each(|(row, key)| visit(row, key.data())),
        }
    }
}

impl KeyCodec {
    pub(super) fn new(keys: &[FieldRef]) -> Result<Self, ArrowError> {
        if let [key] = keys
            && *key.data_type() == DataType::Utf8
        {
            return Ok(Self::Text);
        }
        let unit = keys.is_empty();
        let mut fields: Vec<_> = keys.iter().map(|k| SortField::new(k.data_type().clone())).collect();
        if unit {
            fields.push(SortField::new(DataType::Int8));
        }
        Ok(Self::Rows { converter: RowConverter::new(fields)?, unit })
    }

    pub(super) fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<Keys, ArrowError> {
        match (self, columns) {
            (Self::Text, [texts]) => match texts.as_string_opt::<i32>() {
                Some(texts) => Ok(Keys::Text(texts.clone())),
                None => Err(ArrowError::InvalidArgumentError(format!("a key is {}, not a text", texts.data_type()))),
            },
            (Self::Text, _) => Err(ArrowError::InvalidArgumentError("a key has one column".to_owned())),
            (Self::Rows { converter, unit: true }, _) => {
                let unit: ArrayRef = Arc::new(Int8Array::from_value(0, rows));
                converter.convert_columns(&[unit]).map(Keys::Rows)
            }
            (Self::Rows { converter, unit: false }, columns) => converter.convert_columns(columns).map(Keys::Rows),
        }
    }

    pub(super) fn decode<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, ArrowError> {
        match self {
            Self::Text => {
                let text = |key| if key == NULL_TEXT { Ok(None) } else { std::str::from_utf8(key).map(Some) };
                let texts = keys.map(text).collect::<Result<StringArray, _>>();
                let texts = texts.map_err(|cause| ArrowError::InvalidArgumentError(format!("a key is no text: {cause}")))?;
                Ok(vec![Arc::new(texts)])
            }
            Self::Rows { unit: true, .. } => Ok(Vec::new()),
            Self::Rows { converter, unit: false } => {
                let parser = converter.parser();
                converter.convert_rows(keys.map(|key| parser.parse(key)))
            }
        }
    }
}

/// The keys of one page, one behind the other.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyPage {
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl KeyPage {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.bytes[start..self.ends[row] as usize]
    }

    /// Whether one more key of `key_bytes` keeps the page below `bytes_max`. An empty page takes any key that it can address.
    pub(super) fn has_room(&self, key_bytes: usize, bytes_max: usize) -> bool {
        let bytes = self.bytes.len() + key_bytes;
        bytes <= bytes_max || (self.ends.is_empty() && u32::try_from(bytes).is_ok())
    }

    /// Adds a key there is room for.
    pub(super) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len() as u32);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    /// Gives back what was reserved for more keys.
    pub(super) fn shrink(&mut self) {
        self.ends.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    /// Memory held.
    pub(super) fn memory(&self) -> usize {
        self.ends.capacity() * size_of::<u32>() + self.bytes.capacity()
    }
}
