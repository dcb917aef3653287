//! Expressions: syntax tree → typed expression.
