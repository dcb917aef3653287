//! Which columns stand in a file and which in the names of its folders, as Spark lays out partitions.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder, UInt32Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Date32Type, Float32Type, Float64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};

use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::number::{double_text, float_text};
use crate::plan::spark::cast::time::{Clock, Zone, write_date, write_timestamp};

/// How rows of one schema are laid out.
#[derive(Debug)]
pub(super) struct Layout {
    schema: SchemaRef,
    /// Columns of the schema that become folders, outermost first.
    partitions: Vec<usize>,
    /// The others, which stand in the files.
    columns: Vec<usize>,
    body: SchemaRef,
}

/// What Spark (and Hive) call the folder of null.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";
/// Longest name that a local file system takes.
const NAME_BYTES_MAX: usize = 255;

impl Layout {
    /// Checks the columns; errors are [`ErrorKind::Config`].
    pub(super) fn new(schema: &SchemaRef, partition_by: &[String]) -> Result<Self> {
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().to_lowercase()).collect();
        if let Some((at, name)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            let message = format!(
                "The column `{}` already exists. Choose another name or rename the existing column.",
                schema.field(at).name()
            );
            debug_assert_eq!(&names[at], name);
            return Err(Error::spark(ErrorKind::Config, "COLUMN_ALREADY_EXISTS", message));
        }
        let mut partitions = Vec::with_capacity(partition_by.len());
        for column in partition_by {
            let Some(index) = names.iter().position(|name| *name == column.to_lowercase()) else {
                let known: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let message = format!(
                    "Partition column `{column}` not found in schema {}. Please provide the existing column for partitioning.",
                    known.join(", ")
                );
                return Err(Error::spark(ErrorKind::Config, "PARTITION_COLUMN_NOT_FOUND_IN_SCHEMA", message));
            };
            let data_type = schema.field(index).data_type();
            if !can_partition(data_type) {
                let message = format!("Cannot use {data_type} for partition column `{column}`.");
                return Err(Error::spark(ErrorKind::Config, "INVALID_PARTITION_COLUMN_DATA_TYPE", message));
            }
            if partitions.contains(&index) {
                let message = format!("The column `{column}` already exists. Choose another name or rename the existing column.");
                return Err(Error::spark(ErrorKind::Config, "COLUMN_ALREADY_EXISTS", message));
            }
            partitions.push(index);
        }
        let columns: Vec<usize> = (0..names.len()).filter(|index| !partitions.contains(index)).collect();
        if columns.is_empty() {
            let message = "Cannot use all columns for partition columns.";
            return Err(Error::spark(ErrorKind::Config, "ALL_PARTITION_COLUMNS_NOT_ALLOWED", message));
        }
        let body = schema.project(&columns).attempting(ErrorKind::Internal, || "lay out files".to_owned())?;
        Ok(Self { schema: schema.clone(), partitions, columns, body: body.into() })
    }

    /// The schema of the files.
    pub(super) fn body(&self) -> &SchemaRef {
        &self.body
    }

    /// The rows of each file by its folder, empty for none; no file without rows.
    pub(super) fn split(&self, rows: &[RecordBatch], time_zone: &str) -> Result<BTreeMap<String, Vec<RecordBatch>>> {
        let attempt = || "split rows by partition".to_owned();
        let rows: Vec<&RecordBatch> = rows.iter().filter(|rows| rows.num_rows() > 0).collect();
        let mut files: BTreeMap<String, Vec<RecordBatch>> = BTreeMap::new();
        if rows.is_empty() {
            return Ok(files);
        }
        let project = |rows: &RecordBatch| rows.project(&self.columns).attempting(ErrorKind::Internal, attempt);
        if self.partitions.is_empty() {
            files.insert(String::new(), rows.into_iter().map(project).collect::<Result<_>>()?);
            return Ok(files);
        }
        let all = concat_batches(&self.schema, rows).attempting(ErrorKind::Internal, attempt)?;
        let body = project(&all)?;
        for (folder, indices) in self.rows_by_folder(&all, time_zone)? {
            let taken = take_record_batch(&body, &UInt32Array::from(indices)).attempting(ErrorKind::Internal, attempt)?;
            files.insert(folder, vec![taken]);
        }
        Ok(files)
    }

    fn rows_by_folder(&self, rows: &RecordBatch, time_zone: &str) -> Result<BTreeMap<String, Vec<u32>>> {
        let zone = Zone::parse(time_zone).ok_or_else(|| Error::config(format!("there is no time zone {time_zone}")))?;
        let mut columns = Vec::with_capacity(self.partitions.len());
        for index in &self.partitions {
            let mut name = String::new();
            escape(self.schema.field(*index).name(), &mut name);
            columns.push((name, value_texts(rows.column(*index), &zone)?));
        }
        let mut folders: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let mut folder = String::new();
        for row in 0..rows.num_rows() {
            folder.clear();
            for (at, (name, texts)) in columns.iter().enumerate() {
                folder.push_str(if at == 0 { "" } else { "/" });
                let start = folder.len();
                folder.push_str(name);
                folder.push('=');
                match texts.is_valid(row).then(|| texts.value(row)) {
                    None | Some("") => folder.push_str(NULL_PARTITION),
                    Some(text) => escape(text, &mut folder),
                }
                if folder.len() - start > NAME_BYTES_MAX {
                    let what = format!("a value of partition column {name} is too long for the name of a folder");
                    return Err(Error::new(ErrorKind::Data, what));
                }
            }
            let row = u32::try_from(row).map_err(|_| Error::internal("a batch has over 4 billion rows"))?;
            match folders.get_mut(folder.as_str()) {
                Some(indices) => indices.push(row),
                None => drop(folders.insert(folder.clone(), vec![row])),
            }
        }
        Ok(folders)
    }
}

fn can_partition(data_type: &DataType) -> bool {
    use DataType as D;
    data_type.is_integer()
        || matches!(data_type, D::Float32 | D::Float64 | D::Boolean | D::Date32 | D::Utf8 | D::LargeUtf8 | D::Utf8View)
        || matches!(data_type, D::Decimal128(..) | D::Timestamp(TimeUnit::Microsecond, _))
}

/// Values as Spark casts them to STRING.
fn value_texts(values: &ArrayRef, zone: &Zone) -> Result<StringArray> {
    let mut texts = StringBuilder::new();
    match values.data_type() {
        DataType::Float64 => {
            for value in values.as_primitive::<Float64Type>() {
                texts.append_option(value.map(|value| text_of(double_text(value).as_bytes())).transpose()?);
            }
        }
        DataType::Float32 => {
            for value in values.as_primitive::<Float32Type>() {
                texts.append_option(value.map(|value| text_of(float_text(value).as_bytes())).transpose()?);
            }
        }
        DataType::Date32 => {
            for value in values.as_primitive::<Date32Type>() {
                texts.append_option(value.map(date_text));
            }
        }
        DataType::Timestamp(_, instant) => {
            for value in values.as_primitive::<TimestampMicrosecondType>() {
                let clock = value.map(|us| if instant.is_some() { zone.clock(us) } else { Clock::of(us) });
                texts.append_option(clock.map(timestamp_text));
            }
        }
        _ => {
            let cast = cast(values, &DataType::Utf8).attempting(ErrorKind::Internal, || "name partitions".to_owned())?;
            return Ok(cast.as_string::<i32>().clone());
        }
    }
    Ok(texts.finish())
}

fn text_of(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).attempting(ErrorKind::Internal, || "write a number".to_owned())
}

fn date_text(days: i32) -> String {
    let mut text = String::new();
    write_date(&mut text, days.into()).expect("writing to a string cannot fail");
    text
}

/// `2024-05-01 12:00:00.25`: the fraction without its last zeros.
fn timestamp_text(clock: Clock) -> String {
    let mut text = String::new();
    write_timestamp(&mut text, clock).expect("writing to a string cannot fail");
    text
}

/// Appends a name with the characters escaped that Spark escapes, so that it stands for one folder and reads back.
fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        let is_special = character.is_ascii_control() || "\"#%'*/:=?\\{[]^".contains(character);
        if is_special {
            write!(out, "%{:02X}", u32::from(character)).expect("writing to a string cannot fail");
        } else {
            out.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn the_first_and_last_dates_and_times_name_folders() {
        let texts = |values: ArrayRef, zone: &str| {
            let texts = value_texts(&values, &Zone::parse(zone).unwrap()).unwrap();
            [texts.value(0).to_owned(), texts.value(1).to_owned()]
        };
        let dates = Arc::new(Date32Array::from(vec![i32::MIN, i32::MAX]));
        assert_eq!(texts(dates, "UTC"), ["-5877641-06-23", "+5881580-07-11"]);
        let times = TimestampMicrosecondArray::from(vec![i64::MIN, i64::MAX]).with_timezone("UTC");
        assert_eq!(texts(Arc::new(times), "-01:00"), ["-290308-12-21 18:59:05.224192", "+294247-01-10 03:00:54.775807"]);
    }
}
