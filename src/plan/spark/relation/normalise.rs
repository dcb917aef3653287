//! One NaN and one zero.
//!
//! To Spark all NaN are one value and so are -0.0 and 0.0, wherever rows are compared by equality: group keys, DISTINCT, join
//! keys, sort keys. Arrow compares bits, so keys pass through here first.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, StructArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

/// Whether values of this type can hold a floating-point number.
pub(super) fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::List(item) | DataType::FixedSizeList(item, _) => has_floats(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        _ => false,
    }
}

/// `expr` with one NaN and one zero.
pub(super) fn normalised(expr: Expr) -> Expr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(NormaliseFloats::new())));
    if matches!(&expr, Expr::ScalarFunction(call) if call.func == *FUNCTION) {
        return expr;
    }
    FUNCTION.call(vec![expr])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NormaliseFloats {
    signature: Signature,
}

impl NormaliseFloats {
    fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for NormaliseFloats {
    fn name(&self) -> &str {
        "knownfloatingpointnormalized"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        match &args.args[0] {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(normalise(array))),
            ColumnarValue::Scalar(scalar) => {
                let array = normalise(&scalar.to_array()?);
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
        }
    }
}

fn normalise(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        // Adding 0.0 turns -0.0 into 0.0.
        DataType::Float32 => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 })),
        DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 })),
        DataType::List(item) if has_floats(item.data_type()) => {
            let list = array.as_list::<i32>();
            Arc::new(ListArray::new(item.clone(), list.offsets().clone(), normalise(list.values()), list.nulls().cloned()))
        }
        DataType::FixedSizeList(item, size) if has_floats(item.data_type()) => {
            let list = array.as_fixed_size_list();
            Arc::new(FixedSizeListArray::new(item.clone(), *size, normalise(list.values()), list.nulls().cloned()))
        }
        DataType::Struct(fields) if has_floats(array.data_type()) => {
            let columns = array.as_struct().columns().iter().map(normalise).collect();
            Arc::new(StructArray::new(fields.clone(), columns, array.nulls().cloned()))
        }
        _ => array.clone(),
    }
}
