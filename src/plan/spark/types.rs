//! Spark's type names and DDL.
