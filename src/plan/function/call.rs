//! A call while a query is resolved: an expression that no row is computed from, until `super::place` has made it a node.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::node::Callee;
use crate::error::{Error, ErrorKind, Result};
use crate::function::{Function, Returns};
use crate::plan::spark::expression::implicit_cast;
use crate::plan::spark::types::sql_name;
use crate::plan::spark::{Call, Context, Typed, not_aggregate};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    callee: Callee,
    returns: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        self.callee.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        Err(DataFusionError::Internal(format!("the call of {} was not placed", self.callee.name())))
    }
}

/// The function of this name among `functions`, whatever the case.
pub fn find<'a>(functions: &'a [Arc<Function>], name: &str) -> Option<&'a Arc<Function>> {
    functions.iter().find(|function| function.signature().name.to_lowercase() == name.to_lowercase())
}

/// A call of `function` where a value is wanted.
pub fn call(function: Arc<Function>, call: Call<'_>) -> Result<Typed> {
    let Returns::Value(returns) = function.signature().returns.clone() else {
        let message = format!("{} yields rows, not a value: call it in FROM, as LATERAL {0}(…)", call.name);
        return Err(Error::spark(ErrorKind::Config, "UNRESOLVED_ROUTINE", message));
    };
    if call.is_of_aggregate() {
        return Err(not_aggregate(call.name));
    }
    let args = arguments(&function, call.args, &call.context)?;
    let signature = Signature::variadic_any(Volatility::Volatile);
    let marker = Marker { callee: Callee(function), returns: returns.clone(), signature };
    let expr = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(marker)), args));
    Ok(Typed { expr, data_type: returns, nullable: true })
}

/// The arguments as the function declares them, cast as Spark casts those of a function of the user's.
pub fn arguments(function: &Function, args: Vec<Typed>, context: &Context<'_>) -> Result<Vec<Expr>> {
    let signature = function.signature();
    let name = &signature.name;
    if args.len() != signature.args.len() {
        let declared: Vec<String> =
            signature.args.iter().map(|field| format!("{} {}", field.name(), sql_name(field.data_type()))).collect();
        let message = format!("`{name}` takes {} arguments ({}), not {}", signature.args.len(), declared.join(", "), args.len());
        return Err(Error::spark(ErrorKind::Config, "WRONG_NUM_ARGS.WITHOUT_SUGGESTION", message));
    }
    let declared = signature.args.iter().zip(args);
    let cast = declared.map(|(field, arg)| {
        let cast = implicit_cast(arg, field.data_type(), context.settings);
        let named = |error: Error| {
            let message = format!("{} of {name}: {}", field.name(), error.message());
            Error::spark(ErrorKind::Config, "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message)
        };
        cast.map(|arg| arg.expr).map_err(named)
    });
    cast.collect()
}

/// Who is called by `expr` itself, and with what.
pub(super) fn called(expr: &Expr) -> Option<(&Callee, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let marker = (call.func.inner().as_ref() as &dyn Any).downcast_ref::<Marker>()?;
    Some((&marker.callee, &call.args))
}

/// Whether `expr` itself is a call of a function that asks the outside world.
pub(in crate::plan) fn is_called(expr: &Expr) -> bool {
    called(expr).is_some()
}

/// The first function that is called anywhere in `expr`.
pub(in crate::plan) fn first_called(expr: &Expr) -> Option<String> {
    let mut found = None;
    let _ = expr.exists(|inner| {
        found = called(inner).map(|(callee, _)| callee.name().to_owned());
        Ok(found.is_some())
    });
    found
}
