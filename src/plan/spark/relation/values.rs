//! `VALUES`: rows written in the query.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan, Values};
use sqlparser::ast;

use super::super::Typed;
use super::columns::{Access, Attribute, Relation};
use super::planner::{Env, Planner, broken};
use super::scope::QueryScope;
use super::widen;
use crate::error::{Error, ErrorKind, Result};

/// Rows written in the query, their columns called `col1`, `col2`, … .
pub(super) fn plan(planner: &Planner<'_>, values: &ast::Values, env: &Env<'_>) -> Result<Relation> {
    let scope = QueryScope::new(planner, env, Vec::new());
    let mut rows: Vec<Vec<Typed>> = Vec::with_capacity(values.rows.len());
    for row in &values.rows {
        rows.push(row.content.iter().map(|expr| scope.resolve(expr)).collect::<Result<_>>()?);
    }
    let width = rows.first().map_or(0, Vec::len);
    if let Some(other) = rows.iter().find(|row| row.len() != width) {
        let message = format!("a row of VALUES has {} columns, but the first has {width}", other.len());
        return Err(Error::spark(ErrorKind::Config, "INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH", message));
    }
    let mut columns = Vec::with_capacity(width);
    for index in 0..width {
        let data_type = column_type(rows.iter().map(|row| &row[index].data_type))?;
        let name = format!("col{}", index + 1);
        columns.push(Attribute {
            id: planner.fresh(&name),
            name,
            qualifier: None,
            data_type,
            nullable: rows.iter().any(|row| row[index].nullable),
            access: Access::Listed,
        });
    }
    let mut exprs: Vec<Vec<Expr>> = Vec::with_capacity(rows.len());
    for row in rows {
        let row = row.into_iter().zip(&columns).map(|(value, column)| Ok(widen::cast(planner, value, &column.data_type)?.expr));
        exprs.push(row.collect::<Result<_>>()?);
    }
    let fields: Vec<Field> = columns.iter().map(|c| Field::new(&c.id, c.data_type.clone(), c.nullable)).collect();
    let schema = Arc::new(DFSchema::try_from(Schema::new(fields)).map_err(broken)?);
    Ok(Relation { plan: LogicalPlan::Values(Values { schema, values: exprs }), columns })
}

fn column_type<'t>(mut types: impl Iterator<Item = &'t DataType>) -> Result<DataType> {
    let first = types.next().cloned().unwrap_or(DataType::Null);
    types.try_fold(first, |a, b| {
        widen::common(&a, b).ok_or_else(|| {
            let message = "the rows of VALUES have types that do not go together in one column";
            Error::spark(ErrorKind::Config, "INVALID_INLINE_TABLE.INCOMPATIBLE_TYPES_IN_INLINE_TABLE", message)
        })
    })
}
