//! The one row of a correlated scalar subquery.
//!
//! DataFusion turns a correlated scalar subquery into a join only if it is an aggregate, for then it has one row. Any other one is
//! made so: its first value and the number of its rows, of which more than one is an error.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Int64Type;
use datafusion::functions_aggregate::count::count;
use datafusion::functions_aggregate::first_last::first_value;
use datafusion::logical_expr::{Aggregate, LogicalPlan, lit};

use super::super::expression::native::{Kernel, Operand, call};
use super::columns::{Attribute, Relation, column};
use super::planner::{Planner, broken};
use crate::error::{Error, ErrorKind, Result};

/// The subquery of one column with at most one row, whatever rows it has.
pub(super) fn row(planner: &Planner<'_>, relation: Relation, only: &Attribute) -> Result<Relation> {
    let (value, rows) = (planner.fresh("value"), planner.fresh("rows"));
    let calls = vec![first_value(column(&only.id), Vec::new()).alias(&value), count(lit(1_i64)).alias(&rows)];
    let aggregate = Aggregate::try_new(relation.plan.into(), Vec::new(), calls).map_err(broken)?;
    let args = vec![column(&value), column(&rows)];
    let single = call(Single, args, only.data_type.clone(), true, true);
    let id = planner.fresh(&only.name);
    let plan = planner.project(LogicalPlan::Aggregate(aggregate), vec![single.expr.alias(&id)])?;
    Ok(Relation { plan, columns: vec![Attribute { id, nullable: true, ..only.clone() }] })
}

/// Its first argument, if its second is not above one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Single;

impl Kernel for Single {
    fn name(&self) -> &str {
        "single_row"
    }

    fn run(&self, args: &[Operand], rows: usize) -> Result<ArrayRef> {
        let (value, count) = (&args[0], &args[1]);
        let counts = count.array.as_primitive::<Int64Type>();
        if (0..rows).any(|row| counts.is_valid(count.index(row)) && counts.value(count.index(row)) > 1) {
            let message = "more than one row returned by a subquery used as an expression";
            return Err(Error::spark(ErrorKind::Data, "SCALAR_SUBQUERY_TOO_MANY_ROWS", message));
        }
        if !value.scalar {
            return Ok(value.array.clone());
        }
        take(&value.array, &UInt32Array::from(vec![0; rows]), None)
            .map_err(|error| Error::internal("could not repeat a value").because(error))
    }
}
