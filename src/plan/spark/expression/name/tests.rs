use super::spark_column_name;
use crate::plan::spark::dialect::parse_expression;

/// Expression and the name that Spark gives it, tab-separated.
const CASES: &str = include_str!("cases.txt");

#[test]
fn columns_without_alias_have_the_names_that_spark_gives() {
    let mut complaints = String::new();
    for line in CASES.lines() {
        let (expr, expected) = line.split_once('\t').unwrap();
        let name = match parse_expression(expr) {
            Ok(ast) => spark_column_name(&ast),
            Err(error) => error.to_string(),
        };
        if name != expected {
            complaints += &format!("{expr}: {name} instead of {expected}\n");
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}
