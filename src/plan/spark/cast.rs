//! Spark's casts.
