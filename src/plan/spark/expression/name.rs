//! The names that Spark gives to select items without alias.

use datafusion::sql::sqlparser::ast;

/// The name of a select item without alias: `count(1)`, `(a + b)`, `upper(s)`.
pub fn spark_column_name(ast: &ast::Expr) -> String {
    ast.to_string()
}
