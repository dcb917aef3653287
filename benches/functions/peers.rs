//! What our functions are measured beside: DataFusion's own, or a plain loop where it has none.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::functions::all_default_functions;
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::logical_expr::expr::{AggregateFunction, HigherOrderFunction};
use datafusion::logical_expr::{Expr, ScalarUDF};
use datafusion_functions_nested::{all_default_higher_order_functions, all_default_nested_functions};

/// A call of ours and what stands beside it.
pub(crate) struct Pair {
    /// An expression of SQL over the columns of the data.
    pub(crate) ours: &'static str,
    pub(crate) peer: Peer,
    /// Whether both mean the same for every row of the data.
    pub(crate) alike: bool,
    /// Why ours may take more than twice as long, where it does.
    pub(crate) reason: &'static str,
}

pub(crate) enum Peer {
    /// DataFusion's own function, operator or aggregate.
    DataFusion(fn() -> Expr),
    /// A kernel or loop over the columns of one batch, and what it is.
    Loop(&'static str, fn(&RecordBatch) -> ArrayRef),
}

impl Peer {
    /// For a table.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::DataFusion(expr) => format!("`{}`", expr()),
            Self::Loop(what, _) => (*what).to_owned(),
        }
    }
}

impl Pair {
    /// Both give the same.
    pub(crate) const fn same(ours: &'static str, peer: fn() -> Expr) -> Self {
        Self { ours, peer: Peer::DataFusion(peer), alike: true, reason: "" }
    }

    /// The nearest there is.
    pub(crate) const fn near(ours: &'static str, peer: fn() -> Expr) -> Self {
        Self { alike: false, ..Self::same(ours, peer) }
    }

    /// A loop: nothing near in DataFusion.
    pub(crate) const fn beside(ours: &'static str, what: &'static str, run: fn(&RecordBatch) -> ArrayRef) -> Self {
        Self { ours, peer: Peer::Loop(what, run), alike: true, reason: "" }
    }

    /// A loop that does not give quite the same.
    pub(crate) const fn beside_near(ours: &'static str, what: &'static str, run: fn(&RecordBatch) -> ArrayRef) -> Self {
        Self { alike: false, ..Self::beside(ours, what, run) }
    }

    /// With the reason why ours is slower.
    pub(crate) const fn because(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }
}

/// A call of DataFusion's scalar function `name`.
pub(crate) fn f<const N: usize>(name: &str, args: [Expr; N]) -> Expr {
    let all = all_default_functions().into_iter().chain(all_default_nested_functions());
    let mut named = all.filter(|f| f.name() == name || f.aliases().iter().any(|alias| alias == name));
    let function: Arc<ScalarUDF> = named.next().unwrap_or_else(|| panic!("DataFusion has no function {name}"));
    function.call(args.to_vec())
}

/// A call of DataFusion's function `name` that takes a lambda function.
pub(crate) fn lambda_f<const N: usize>(name: &str, args: [Expr; N]) -> Expr {
    let function = all_default_higher_order_functions().into_iter().find(|f| f.name() == name);
    let function = function.unwrap_or_else(|| panic!("DataFusion has no function {name}"));
    Expr::HigherOrderFunction(HigherOrderFunction::new(function, args.to_vec()))
}

/// A call of DataFusion's aggregate function `name`.
pub(crate) fn agg<const N: usize>(name: &str, args: [Expr; N]) -> Expr {
    aggregate(name, args.to_vec(), false)
}

/// The same of distinct values.
pub(crate) fn agg_distinct<const N: usize>(name: &str, args: [Expr; N]) -> Expr {
    aggregate(name, args.to_vec(), true)
}

fn aggregate(name: &str, args: Vec<Expr>, distinct: bool) -> Expr {
    let all = all_default_aggregate_functions();
    let function = all.into_iter().find(|f| f.name() == name || f.aliases().iter().any(|alias| alias == name));
    let function = function.unwrap_or_else(|| panic!("DataFusion has no aggregate function {name}"));
    Expr::AggregateFunction(AggregateFunction::new_udf(function, args, distinct, None, vec![], None))
}

/// A batch's column of texts.
pub(crate) fn texts<'a>(rows: &'a RecordBatch, name: &str) -> &'a StringArray {
    column(rows, name).as_string()
}

/// A batch's column.
pub(crate) fn column<'a>(rows: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    rows.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"))
}

/// A loop from texts to texts.
pub(crate) fn text_loop(rows: &RecordBatch, name: &str, each: impl Fn(&str) -> Option<String>) -> ArrayRef {
    Arc::new(texts(rows, name).iter().map(|value| value.and_then(&each)).collect::<StringArray>())
}
