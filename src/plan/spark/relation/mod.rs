//! Relations: syntax tree → logical plan.
