//! Which filters a decoder can judge: comparisons of a declared column with a constant, in Spark's sense.
//!
//! Such a filter stays in the plan. That a decoder knows it as well only saves building rows that the plan would drop.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::catalog::StreamScan;
use super::spark::cast::is_cast;
use super::spark::constant::evaluate;
use super::spark::expression::comparison::under_normalization;
use super::spark::is_fallible;
use crate::format::{Comparison, Condition, Literal, Test};

/// What `filter`, which is true of every row that the plan wants of `stream`, says about one of its declared columns.
pub(super) fn condition(filter: &Expr, stream: &StreamScan) -> Option<Condition> {
    match filter {
        Expr::IsNotNull(value) => Some(Condition { column: column(value, stream)?, test: Test::NotNull }),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let comparison = comparison(*op)?;
            compare(left, comparison, right, stream).or_else(|| compare(right, turned(comparison), left, stream))
        }
        _ => None,
    }
}

fn compare(value: &Expr, comparison: Comparison, constant: &Expr, stream: &StreamScan) -> Option<Condition> {
    let constant = value_of(constant)?;
    let literal = literal(&constant)?;
    // Where a float is not normalised, DataFusion's order is meant, which is not Spark's.
    let (value, is_sparks) = match under_normalization(value) {
        Some(value) => (value, true),
        None => (value, !matches!(literal, Literal::Double(_))),
    };
    let column = column(value, stream)?;
    let data_type = stream.field(column).data_type();
    let fits = constant.data_type() == *data_type && literal.fits(data_type);
    (is_sparks && fits).then_some(Condition { column, test: Test::Compare(comparison, literal) })
}

/// A constant, also one that is cast to the type of the other side: `b = 1` for a BIGINT.
fn value_of(constant: &Expr) -> Option<ScalarValue> {
    let is_constant = |node: &Expr| match node {
        Expr::Literal(..) | Expr::Cast(_) => true,
        Expr::ScalarFunction(call) => is_cast(&call.func) || under_normalization(node).is_some(),
        _ => false,
    };
    let all = !constant.exists(|node| Ok(!is_constant(node))).ok()? && !is_fallible(constant);
    if all { evaluate(constant).ok()? } else { None }
}

/// The declared column that `value` is.
fn column(value: &Expr, stream: &StreamScan) -> Option<usize> {
    let Expr::Column(column) = value else { return None };
    stream.declared_column(&column.name)
}

fn comparison(op: Operator) -> Option<Comparison> {
    Some(match op {
        Operator::Eq => Comparison::Equal,
        Operator::NotEq => Comparison::NotEqual,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

/// The comparison with its sides exchanged.
fn turned(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Equal | Comparison::NotEqual => comparison,
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
    }
}

fn literal(constant: &ScalarValue) -> Option<Literal> {
    Some(match constant {
        ScalarValue::Boolean(Some(value)) => Literal::Boolean(*value),
        ScalarValue::Int8(Some(value)) => Literal::Integer((*value).into()),
        ScalarValue::Int16(Some(value)) => Literal::Integer((*value).into()),
        ScalarValue::Int32(Some(value)) | ScalarValue::Date32(Some(value)) => Literal::Integer((*value).into()),
        ScalarValue::Int64(Some(value)) | ScalarValue::TimestampMicrosecond(Some(value), _) => Literal::Integer(*value),
        ScalarValue::Float32(Some(value)) => Literal::Double((*value).into()),
        ScalarValue::Float64(Some(value)) => Literal::Double(*value),
        ScalarValue::Utf8(Some(value)) => Literal::String(value.as_str().into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::plan::spark::relation::{optimise, plan_query};
    use crate::plan::spark::types::parse_schema;
    use crate::plan::{Catalog, OutputMode, PlanSettings, Scope, StreamTable};

    /// What the decoder is told for a query over `t` and `u`, per source.
    fn pushed(sql: &str) -> String {
        let schema =
            Arc::new(parse_schema("a INT, b BIGINT, d DOUBLE, f FLOAT, s STRING, p BOOLEAN, ts TIMESTAMP, day DATE").unwrap());
        let table = |name: &str| StreamTable { name: name.to_owned(), schema: schema.clone(), metadata: Vec::new() };
        let catalog = Catalog { streams: vec![table("t"), table("u")], ..Catalog::default() };
        let settings = PlanSettings {
            time_zone: "UTC".into(),
            state_memory_bytes_max: 1 << 20,
            output_mode: OutputMode::Append,
            scope: Scope::MicroBatch,
        };
        let plan = optimise(plan_query(sql, &catalog, &settings).unwrap().plan).unwrap();
        let requests = crate::plan::catalog::scan_requests(&plan).unwrap();
        let text = |request: &crate::plan::ScanRequest| {
            assert_eq!(request.filter.len(), request.filter_text.len());
            format!("{}: {}", request.source, request.filter_text.join(" and "))
        };
        requests.iter().map(text).collect::<Vec<_>>().join("; ")
    }

    fn check(condition: &str, expected: &str) {
        assert_eq!(pushed(&format!("SELECT s FROM t WHERE {condition}")), format!("t: {expected}"), "{condition}");
    }

    #[test]
    fn comparisons_of_columns_with_constants_are_pushed() {
        check("a = 1", "t.a = Int32(1)");
        check("1 < a AND b <> 2", "Int32(1) < t.a and t.b != CAST(Int32(2) AS Int64)");
        check("s >= 'x' AND s IS NOT NULL", "t.s >= Utf8(\"x\") and t.s IS NOT NULL");
        check("day < DATE'2024-01-01'", "t.day < Date32(\"2024-01-01\")");
        check("d > 10", "normalize_nan_and_zero(t.d) > normalize_nan_and_zero(CAST(Int32(10) AS Float64))");
        check("d > 0.0D", "normalize_nan_and_zero(t.d) > Float64(0)");
    }

    #[test]
    fn what_a_decoder_cannot_judge_is_not() {
        for condition in
            ["a = b", "a + 1 = 2", "a = 1 OR b = 2", "a IN (1, 2)", "upper(s) = 'X'", "a = CAST(NULL AS INT)", "NOT p"]
        {
            check(condition, "");
        }
    }

    #[test]
    fn a_condition_behind_one_that_can_fail_stays_behind_it() {
        check("1 / a > 2 AND b = 1", "");
    }

    #[test]
    fn of_several_scans_only_what_all_want_is_pushed() {
        let both = |left: &str, right: &str| {
            pushed(&format!("SELECT s FROM t WHERE {left} UNION ALL SELECT s FROM t WHERE {right} UNION ALL SELECT s FROM u"))
        };
        assert_eq!(both("a = 1 AND b = 2", "b = 2 AND a = 3"), "t: t.b = CAST(Int32(2) AS Int64); u: ");
        assert_eq!(both("a = 1", "true"), "t: ; u: ");
    }
}
