//! Rows of arguments and of answers ↔ bytes, so that each can be kept by itself and costs what it weighs.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, RowParser, Rows, SortField};

use super::Value;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::function::check::{check, nothing};
use crate::function::{Answer, Returns, Signature};

/// Translates for one function.
#[derive(Debug)]
pub(in crate::function) struct Codec {
    args: RowConverter,
    answers: RowConverter,
    returns: Returns,
    /// The answer null.
    null: Value,
}

/// The keys of the rows of a batch.
#[derive(Debug)]
pub(in crate::function) struct Keys {
    rows: Rows,
    count: usize,
}

impl Keys {
    pub(in crate::function) fn count(&self) -> usize {
        self.count
    }

    pub(in crate::function) fn key(&self, row: usize) -> &[u8] {
        // Without arguments there are no bytes, and all rows are equal.
        if self.rows.num_rows() == 0 { &[] } else { self.rows.row(row).data() }
    }
}

impl Codec {
    /// # Errors
    /// [`ErrorKind::Config`] if a type cannot be kept.
    pub(in crate::function) fn new(signature: &Signature) -> Result<Self> {
        let refused = || Error::config(format!("the cache of function {:?} cannot keep its types", signature.name));
        let converter = |types: Vec<&DataType>| {
            RowConverter::new(types.into_iter().cloned().map(SortField::new).collect()).map_err(|cause| refused().because(cause))
        };
        let args = converter(signature.args.iter().map(|field| field.data_type()).collect())?;
        let answers = match &signature.returns {
            Returns::Value(data_type) => converter(vec![data_type])?,
            Returns::Rows(schema) => converter(schema.fields().iter().map(|field| field.data_type()).collect())?,
        };
        let mut codec = Self { args, answers, returns: signature.returns.clone(), null: Arc::default() };
        let nulls = nothing(&signature.returns, 1);
        if let Answer::Values(null) = &nulls {
            codec.null = codec.rows(&codec.answers, std::slice::from_ref(null))?.row(0).data().into();
        }
        // Some types come back as others: a dictionary as its values.
        let back = codec.join([None].into_iter()).map_err(|cause| refused().because(cause))?;
        check(&signature.returns, 1, usize::MAX, &back.into()).map_err(|cause| refused().because(cause))?;
        Ok(codec)
    }

    pub(in crate::function) fn keys(&self, args: &RecordBatch) -> Result<Keys> {
        Ok(Keys { rows: self.rows(&self.args, args.columns())?, count: args.num_rows() })
    }

    /// An answer, already checked, row by row.
    pub(in crate::function) fn split(&self, answer: &Answer, rows: usize) -> Result<Vec<Value>> {
        match answer {
            Answer::Values(values) => {
                let encoded = self.rows(&self.answers, std::slice::from_ref(values))?;
                Ok(encoded.iter().map(|row| row.data().into()).collect())
            }
            Answer::Rows { rows: answered, of } => {
                let encoded = self.rows(&self.answers, answered.columns())?;
                let mut next = 0;
                let mut bytes = Vec::new();
                let each = (0..rows).map(|row| {
                    bytes.clear();
                    while of.values().get(next).is_some_and(|of| *of as usize == row) {
                        let data = if encoded.num_rows() == 0 { &[] } else { encoded.row(next).data() };
                        bytes.extend_from_slice(&(data.len() as u64).to_le_bytes());
                        bytes.extend_from_slice(data);
                        next += 1;
                    }
                    bytes.as_slice().into()
                });
                Ok(each.collect())
            }
        }
    }

    /// Rows of answers together again; `None` is null, or no row.
    pub(in crate::function) fn join<'a>(&self, values: impl Iterator<Item = Option<&'a Value>>) -> Result<Answer> {
        let parser = self.answers.parser();
        match &self.returns {
            Returns::Value(_) => {
                let rows = values.map(|value| parser.parse(value.unwrap_or(&self.null)));
                let values = self.columns(rows)?.pop();
                values.map(Answer::Values).ok_or_else(|| Error::internal("an answer of one column lost it"))
            }
            Returns::Rows(schema) => self.join_rows(&parser, schema, values),
        }
    }

    fn join_rows<'a>(
        &self,
        parser: &RowParser,
        schema: &SchemaRef,
        values: impl Iterator<Item = Option<&'a Value>>,
    ) -> Result<Answer> {
        let (mut rows, mut of) = (Vec::new(), Vec::new());
        for (row, value) in (0_u32..).zip(values) {
            let mut rest: &[u8] = value.map_or(&[], |value| value);
            while let Some((length, after)) = rest.split_first_chunk() {
                let (data, next) = after.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX));
                rows.push(parser.parse(data));
                of.push(row);
                rest = next;
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = if schema.fields().is_empty() { Vec::new() } else { self.columns(rows.into_iter())? };
        let rows =
            RecordBatch::try_new_with_options(schema.clone(), columns, &options).attempting(ErrorKind::Internal, joining)?;
        Ok(Answer::Rows { rows, of: UInt32Array::from(of) })
    }

    fn rows(&self, converter: &RowConverter, columns: &[ArrayRef]) -> Result<Rows> {
        converter.convert_columns(columns).attempting(ErrorKind::Internal, || "write the rows of a cache".to_owned())
    }

    fn columns<'a>(&self, rows: impl Iterator<Item = arrow::row::Row<'a>>) -> Result<Vec<ArrayRef>> {
        self.answers.convert_rows(rows).attempting(ErrorKind::Internal, joining)
    }
}

fn joining() -> String {
    "read the rows of a cache".to_owned()
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Array, AsArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Fields, Int32Type, Schema};

    use super::*;

    fn codec(returns: Returns) -> Codec {
        Codec::new(&Signature { name: "risk".to_owned(), args: Fields::empty(), returns }).unwrap()
    }

    #[test]
    fn values_of_every_type_come_back_as_they_were() {
        let score: ArrayRef = Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(f64::NAN)]));
        let band: ArrayRef = Arc::new(StringArray::from(vec![Some("käse\0"), None, Some("")]));
        let nulls = Some(vec![true, false, true].into());
        let nested = StructArray::try_new(
            Fields::from(vec![Field::new("score", DataType::Float64, true), Field::new("band", DataType::Utf8, true)]),
            vec![score.clone(), band.clone()],
            nulls,
        );
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
        let arrays: Vec<ArrayRef> = vec![
            score,
            band,
            Arc::new(nested.unwrap()),
            Arc::new(list),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            Arc::new(Decimal128Array::from(vec![Some(5), None, Some(-5)]).with_precision_and_scale(9, 2).unwrap()),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(-1)]).with_timezone("UTC")),
            arrow::array::new_null_array(&DataType::Null, 3),
        ];
        for array in arrays {
            let codec = codec(Returns::Value(array.data_type().clone()));
            let values = codec.split(&Answer::Values(array.clone()), 3).unwrap();
            let Answer::Values(got) = codec.join(values.iter().map(Some)).unwrap() else { panic!() };
            // Bit by bit: NaN is not equal to itself.
            assert_eq!(format!("{:?} {:?}", got.data_type(), got), format!("{:?} {array:?}", array.data_type()));
            let Answer::Values(got) = codec.join([values.get(2), None, values.first()].into_iter()).unwrap() else { panic!() };
            let wanted = arrow::compute::take(&array, &Int32Array::from(vec![Some(2), None, Some(0)]), None).unwrap();
            assert_eq!(format!("{got:?}"), format!("{wanted:?}"));
        }
    }

    #[test]
    fn rows_come_back_for_the_rows_they_were_for() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let codec = codec(Returns::Rows(schema.clone()));
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let rows = RecordBatch::try_new(schema, vec![column]).unwrap();
        let values = codec.split(&Answer::Rows { rows, of: vec![0, 2, 2].into() }, 4).unwrap();
        assert_eq!(values.len(), 4);
        let order = [values.get(2), values.get(1), None, values.first(), values.get(2)];
        let Answer::Rows { rows, of } = codec.join(order.into_iter()).unwrap() else { panic!() };
        assert_eq!(of.values().to_vec(), [0, 0, 3, 4, 4]);
        let got: Vec<_> = rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().iter().collect();
        assert_eq!(got, [None, Some(3), Some(1), None, Some(3)]);
    }

    #[test]
    fn a_type_that_does_not_come_back_is_refused() {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let schema = Schema::new(vec![Field::new("band", dictionary.clone(), true)]);
        for returns in [Returns::Value(dictionary), Returns::Rows(Arc::new(schema))] {
            let signature = Signature { name: "risk".to_owned(), args: Fields::empty(), returns };
            let refused = Codec::new(&signature).unwrap_err();
            assert_eq!(
                (refused.kind(), refused.message()),
                (ErrorKind::Config, "the cache of function \"risk\" cannot keep its types")
            );
        }
    }

    #[test]
    fn rows_without_arguments_are_equal() {
        let codec = codec(Returns::Value(DataType::Int64));
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        let keys = codec.keys(&rows).unwrap();
        assert_eq!((keys.count(), keys.key(0), keys.key(2)), (3, &[][..], &[][..]));
    }
}
