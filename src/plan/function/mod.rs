//! Calls of functions that ask the outside world, in a plan.
//!
//! SQL calls them by name. While a query is resolved, a call is a marker in an expression ([`call`]); `place`
//! then takes the calls out of select lists and conditions and makes each a [`node::CallNode`] below, whose answers are a column.
//! Rules of the optimiser neither fold nor repeat nor move it; conditions that do not need its answer may sink below it.

pub mod call;
pub mod exec;
pub mod node;
pub(super) mod place;
