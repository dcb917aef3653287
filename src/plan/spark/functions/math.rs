//! Arithmetic as functions.
use super::FunctionSpec;
/// The functions of this family.
pub(super) const FUNCTIONS: &[FunctionSpec] = &[];
