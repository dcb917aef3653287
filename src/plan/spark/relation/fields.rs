//! Fields by name: of a struct, of the structs in an array, and the value of a map's key.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Ident;

use super::super::{Typed, types};
use super::columns::{place_of, same_name};
use crate::error::{Error, ErrorKind, Result};

/// `value.name`, as Spark extracts it. Fails with `FIELD_NOT_FOUND`, `AMBIGUOUS_REFERENCE_TO_FIELDS` or
/// `INVALID_EXTRACT_BASE_FIELD_TYPE`.
pub(super) fn field(value: Typed, name: &Ident) -> Result<Typed> {
    match &value.data_type {
        DataType::Struct(fields) => {
            let index = index_of(fields, name)?;
            let field = &fields[index];
            let (data_type, nullable) = (field.data_type().clone(), value.nullable || field.is_nullable());
            Ok(extract(value, index, data_type, nullable))
        }
        DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)) => {
            let DataType::Struct(fields) = item.data_type() else { return Err(Error::internal("a struct is no struct")) };
            let index = index_of(fields, name)?;
            let nullable_item = item.is_nullable() || fields[index].is_nullable();
            let data_type = DataType::List(Arc::new(Field::new("item", fields[index].data_type().clone(), nullable_item)));
            let nullable = value.nullable;
            Ok(extract(value, index, data_type, nullable))
        }
        other => {
            let found = types::sql_name(other);
            let message =
                format!("can't extract `{}` from a value of type {found}; need a struct{}", name.value, place_of(name.span));
            Err(Error::spark(ErrorKind::Config, "INVALID_EXTRACT_BASE_FIELD_TYPE", message))
        }
    }
}

fn index_of(fields: &arrow::datatypes::Fields, name: &Ident) -> Result<usize> {
    let mut matches = fields.iter().enumerate().filter(|(_, field)| same_name(field.name(), &name.value)).map(|(index, _)| index);
    match (matches.next(), matches.next()) {
        (Some(index), None) => Ok(index),
        (Some(_), Some(_)) => {
            let message = format!("ambiguous reference to the field `{}`{}", name.value, place_of(name.span));
            Err(Error::spark(ErrorKind::Config, "AMBIGUOUS_REFERENCE_TO_FIELDS", message))
        }
        (None, _) => {
            let known: Vec<String> = fields.iter().map(|field| format!("`{}`", field.name())).collect();
            let message = format!("no such struct field `{}` in {}{}", name.value, known.join(", "), place_of(name.span));
            Err(Error::spark(ErrorKind::Config, "FIELD_NOT_FOUND", message))
        }
    }
}

fn extract(value: Typed, index: usize, data_type: DataType, nullable: bool) -> Typed {
    let signature = Signature::any(1, Volatility::Immutable);
    let function = ScalarUDF::new_from_impl(StructField { index, data_type: data_type.clone(), signature });
    Typed { expr: function.call(vec![value.expr]), data_type, nullable }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct StructField {
    index: usize,
    data_type: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for StructField {
    fn name(&self) -> &str {
        "struct_field"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        match &args.args[0] {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(self.extract(array)?)),
            ColumnarValue::Scalar(scalar) => {
                let array = self.extract(&scalar.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
        }
    }
}

impl StructField {
    fn extract(&self, array: &ArrayRef) -> DataFusionResult<ArrayRef> {
        if let Some(structs) = array.as_struct_opt() {
            return member(structs, self.index);
        }
        let (Some(list), DataType::List(item)) = (array.as_list_opt::<i32>(), &self.data_type) else {
            return Err(DataFusionError::Internal(format!("a field of a value of type {}", array.data_type())));
        };
        let values = member(list.values().as_struct(), self.index)?;
        Ok(Arc::new(ListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned())?))
    }
}

/// A field of structs; it is null where its struct is, whatever lies beneath.
pub(super) fn member(structs: &StructArray, index: usize) -> DataFusionResult<ArrayRef> {
    let field = structs.column(index);
    if structs.null_count() == 0 || field.data_type() == &DataType::Null {
        return Ok(field.clone());
    }
    let nulls = NullBuffer::union(structs.nulls(), field.nulls());
    Ok(make_array(field.to_data().into_builder().nulls(nulls).build()?))
}
