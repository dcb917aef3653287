//! Scalar functions of ours, from a kernel over Arrow arrays.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_empty_array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::Result;
use crate::plan::spark::Typed;

/// One argument of a kernel: a value per row, or one value (an array of length 1) for all rows.
#[derive(Debug, Clone)]
pub struct Operand {
    /// The values.
    pub array: ArrayRef,
    /// Whether the one value stands for every row.
    pub scalar: bool,
}

impl Operand {
    /// Which element of `array` belongs to `row`.
    pub fn index(&self, row: usize) -> usize {
        if self.scalar { 0 } else { row }
    }
}

/// What a function computes.
///
/// # Contract
/// - The result has `rows` elements and the type that [`call`] was given, and depends on the arguments only.
/// - Errors are ours, with Spark's condition; a kernel that can fail is passed to [`call`] as fallible.
pub trait Kernel: Debug + PartialEq + Eq + Hash + Send + Sync + 'static {
    /// The function's name in plans.
    fn name(&self) -> &str;
    /// The results of `rows` rows. Not all of `args` are scalar unless `rows` is 1.
    fn run(&self, args: &[Operand], rows: usize) -> Result<ArrayRef>;
}

/// A call of `kernel`. Fallible calls are volatile, so that nothing moves, folds or repeats them.
pub fn call<K: Kernel>(kernel: K, args: Vec<Expr>, data_type: DataType, nullable: bool, fallible: bool) -> Typed {
    let volatility = if fallible { Volatility::Volatile } else { Volatility::Immutable };
    let signature = Signature::any(args.len(), volatility);
    let function = Native { kernel, data_type: data_type.clone(), nullable, signature };
    Typed { expr: ScalarUDF::new_from_impl(function).call(args), data_type, nullable }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Native<K: Kernel> {
    kernel: K,
    data_type: DataType,
    nullable: bool,
    signature: Signature,
}

impl<K: Kernel> ScalarUDFImpl for Native<K> {
    fn name(&self) -> &str {
        self.kernel.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), self.data_type.clone(), self.nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        // Literals too must not fail where there is no row.
        if args.number_rows == 0 {
            return Ok(ColumnarValue::Array(new_empty_array(&self.data_type)));
        }
        let all_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let operands = args
            .args
            .into_iter()
            .map(|arg| match arg {
                ColumnarValue::Array(array) => Ok(Operand { array, scalar: false }),
                ColumnarValue::Scalar(value) => Ok(Operand { array: value.to_array()?, scalar: !all_scalar }),
            })
            .collect::<DataFusionResult<Vec<_>>>()?;
        let rows = if all_scalar { 1 } else { args.number_rows };
        let result = self.kernel.run(&operands, rows)?;
        debug_assert_eq!(result.len(), rows, "{}", self.kernel.name());
        if all_scalar {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        } else {
            Ok(ColumnarValue::Array(result))
        }
    }
}
