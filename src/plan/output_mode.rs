//! What a streaming query may not do in which output mode, checked before anything runs.
//!
//! The rules and their order are Spark's: first whether the mode goes with the query's aggregations, then each node from the leaves
//! up. What Spark does and this program does not is refused by name.

use datafusion::common::JoinType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, LogicalPlan, SkipType};

use super::catalog::is_streaming;
use super::event_time::{event_column, session_key};
use super::{OutputMode, PlanSettings, Scope};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::operator::deduplicate::Deduplicate;
use crate::operator::join::bounds::JoinTimes;
use crate::operator::join::condition::Condition;
use crate::operator::join::filters::stream_join;

/// Spark's name for what its checker refuses without a condition of its own.
const UNNAMED: &str = "_LEGACY_ERROR_TEMP_3102";

/// Refuses what cannot run as a stream in `settings.output_mode`. `plan` is as written: not optimised, batch nodes in place.
pub fn check(plan: &LogicalPlan, settings: &PlanSettings) -> Result<()> {
    if !is_streaming(plan) {
        return Err(Error::spark(
            ErrorKind::Config,
            "WRITE_STREAM_NOT_ALLOWED",
            "`writeStream` can be called only on streaming Dataset/DataFrame.",
        ));
    }
    check_subqueries(plan)?;
    let checker = Checker { mode: settings.output_mode, scope: settings.scope };
    match settings.scope {
        Scope::Query => checker.check_mode(plan)?,
        Scope::MicroBatch => checker.check_micro_batch(plan)?,
    }
    checker.check_nodes(plan)
}

/// Whether an aggregation (or DISTINCT, which is one) over a stream is in `plan`.
pub fn has_streaming_aggregate(plan: &LogicalPlan) -> bool {
    streaming_aggregates(plan) > 0
}

fn streaming_aggregates(plan: &LogicalPlan) -> usize {
    let mut count = 0;
    let walked = plan.apply(|node| {
        match node {
            LogicalPlan::Aggregate(aggregate) if is_streaming(&aggregate.input) => count += 1,
            LogicalPlan::Distinct(distinct) if is_streaming(distinct.input()) => count += 1,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the visitor never fails");
    count
}

/// The outermost aggregation over a stream.
fn outermost_aggregate(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    let mut found = None;
    let walked = plan.apply(|node| {
        let is_aggregate = match node {
            LogicalPlan::Aggregate(aggregate) => is_streaming(&aggregate.input),
            LogicalPlan::Distinct(distinct) => is_streaming(distinct.input()),
            _ => false,
        };
        if !is_aggregate {
            return Ok(TreeNodeRecursion::Continue);
        }
        found = Some(node);
        Ok(TreeNodeRecursion::Stop)
    });
    debug_assert!(walked.is_ok(), "the visitor never fails");
    found
}

/// Whether the outermost aggregation over a stream, if there is one, groups by event time, so that its groups end.
fn is_final_some_day(plan: &LogicalPlan) -> bool {
    outermost_aggregate(plan)
        .is_none_or(|node| (0..node.schema().fields().len()).any(|index| event_column(node, index).is_some()))
}

fn unnamed(message: impl Into<String>) -> Error {
    Error::spark(ErrorKind::Config, UNNAMED, message)
}

/// What Spark only notices once the stream runs.
fn fails_in_spark(message: &str) -> Error {
    Error::spark(ErrorKind::Config, "STREAM_FAILED", message)
}

fn unsupported_mode(mode: &str, what: &str) -> Error {
    Error::spark(
        ErrorKind::Config,
        "STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION",
        format!(
            "Invalid streaming output mode: {mode}. This output mode is not supported for {what} on streaming DataFrames/DataSets."
        ),
    )
}

/// A subquery in an expression is evaluated once per batch over static tables; over a stream it would be a join of streams.
fn check_subqueries(plan: &LogicalPlan) -> Result<()> {
    let mut streaming = false;
    let walked = plan.apply(|node| {
        node.apply_subqueries(|subquery| {
            streaming |= is_streaming(subquery);
            Ok(TreeNodeRecursion::Continue)
        })
    });
    walked.map_err(|e| from_datafusion(e, ErrorKind::Internal))?;
    if streaming {
        return Err(Error::spark(
            ErrorKind::Config,
            "INVALID_SUBQUERY_EXPRESSION.STREAMING_QUERY",
            "Invalid subquery: Streaming query is not allowed in subquery expressions.",
        ));
    }
    Ok(())
}

struct Checker {
    mode: OutputMode,
    scope: Scope,
}

impl Checker {
    fn check_mode(&self, plan: &LogicalPlan) -> Result<()> {
        let aggregates = streaming_aggregates(plan);
        match self.mode {
            OutputMode::Append if !is_final_some_day(plan) => {
                Err(unsupported_mode("append", "streaming aggregations without watermark"))
            }
            OutputMode::Update if outermost_aggregate(plan).is_some_and(|node| session_key(node).is_some()) => {
                Err(unsupported_mode("update", "session window streaming aggregations"))
            }
            OutputMode::Complete if aggregates == 0 => Err(unsupported_mode("complete", "no streaming aggregations")),
            OutputMode::Append | OutputMode::Update | OutputMode::Complete => Ok(()),
        }
    }

    fn check_micro_batch(&self, plan: &LogicalPlan) -> Result<()> {
        if self.mode == OutputMode::Complete {
            let mut error = unsupported_mode("complete", "no streaming aggregations");
            if has_streaming_aggregate(plan) {
                error = Error::config(
                    "output_mode complete needs state that outlives a batch, which scope micro_batch does not keep",
                );
            }
            return Err(error);
        }
        Ok(())
    }

    /// The nodes of `plan` from the leaves up.
    fn check_nodes(&self, plan: &LogicalPlan) -> Result<()> {
        let mut refused = Ok(());
        let mut visit = |node: &LogicalPlan| {
            refused = self.check_sessions(node).and_then(|()| match self.scope {
                Scope::Query => self.check_node(node),
                Scope::MicroBatch => self.check_micro_batch_node(node),
            });
            refused.is_ok()
        };
        walk_up(plan, &mut visit);
        refused
    }

    fn check_sessions(&self, node: &LogicalPlan) -> Result<()> {
        if session_key(node).is_none() {
            return Ok(());
        }
        if self.scope == Scope::MicroBatch {
            return Err(Error::config("session_window needs state that outlives a batch, which scope micro_batch does not keep"));
        }
        if !is_streaming(node) {
            return Err(Error::config("session_window is not supported over a table, only over a stream"));
        }
        let keys = match node {
            LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.len(),
            _ => node.schema().fields().len(),
        };
        if keys == 1 {
            let message = "Global aggregation with session window in streaming query is not supported.";
            // Spark finds out when the query runs, so that is the condition its caller sees.
            return Err(fails_in_spark(message));
        }
        Ok(())
    }

    fn check_micro_batch_node(&self, node: &LogicalPlan) -> Result<()> {
        match node {
            LogicalPlan::Join(join) if is_streaming(&join.left) && is_streaming(&join.right) => {
                Err(Error::config("joins between streams are not supported in scope micro_batch"))
            }
            LogicalPlan::Extension(extension) if extension.node.as_any().is::<Deduplicate>() => {
                Err(Error::config("deduplicate needs state that outlives a batch, which scope micro_batch does not keep"))
            }
            _ => Ok(()),
        }
    }

    fn check_node(&self, node: &LogicalPlan) -> Result<()> {
        let inputs: Vec<bool> = node.inputs().into_iter().map(is_streaming).collect();
        if !inputs.contains(&true) {
            return Ok(());
        }
        match node {
            LogicalPlan::Aggregate(aggregate) => self.check_aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => self.check_second_aggregate(input),
            LogicalPlan::Distinct(Distinct::On(_)) => Err(Error::config("DISTINCT ON over a stream is not supported")),
            LogicalPlan::Join(join) => self.check_join(join),
            LogicalPlan::Union(_) if inputs.contains(&false) => {
                Err(unnamed("Union between streaming and batch DataFrames/Datasets is not supported"))
            }
            LogicalPlan::Limit(limit) => {
                // DataFusion keeps an offset and a limit in one node; Spark meets the offset first.
                if !matches!(limit.get_skip_type(), Ok(SkipType::Literal(0))) {
                    return Err(unnamed("Offset is not supported on streaming DataFrames/Datasets"));
                }
                if self.mode == OutputMode::Update {
                    return Err(unnamed("Limits are not supported on streaming DataFrames/Datasets in Update output mode"));
                }
                Ok(())
            }
            LogicalPlan::Sort(sort) if !(self.mode == OutputMode::Complete && has_streaming_aggregate(&sort.input)) => {
                Err(unnamed(
                    "Sorting is not supported on streaming DataFrames/Datasets, unless it is on aggregated DataFrame/Dataset in Complete output mode",
                ))
            }
            LogicalPlan::Window(_) => Err(Error::spark(
                ErrorKind::Config,
                "NON_TIME_WINDOW_NOT_SUPPORTED_IN_STREAMING",
                format!("Window function is not supported in {} on streaming DataFrames/Datasets.", window_names(node)),
            )),
            LogicalPlan::RecursiveQuery(_) => Err(Error::config("a recursive query over a stream is not supported")),
            _ => Ok(()),
        }
    }

    fn check_aggregate(&self, aggregate: &Aggregate) -> Result<()> {
        let distinct = aggregate
            .aggr_expr
            .iter()
            .any(|expr| expr.exists(|e| Ok(matches!(e, Expr::AggregateFunction(call) if call.params.distinct))).unwrap_or(false));
        if distinct {
            return Err(unnamed(
                "Distinct aggregations are not supported on streaming DataFrames/Datasets. Consider using approx_count_distinct() instead.",
            ));
        }
        self.check_second_aggregate(&aggregate.input)
    }

    fn check_second_aggregate(&self, input: &LogicalPlan) -> Result<()> {
        // In append mode the groups of the inner one come out when they have ended, in time for the outer one.
        if self.mode != OutputMode::Append && has_streaming_aggregate(input) {
            return Err(unnamed(
                "Detected pattern of possible 'correctness' issue due to global watermark. The query contains stateful operation which \
                 can emit rows older than the current watermark plus allowed late record delay, which are \"late rows\" in downstream \
                 stateful operations and these rows can be discarded.",
            ));
        }
        Ok(())
    }

    fn check_join(&self, join: &Join) -> Result<()> {
        let name = spark_name(join.join_type);
        match (is_streaming(&join.left), is_streaming(&join.right)) {
            (true, false) => match join.join_type {
                JoinType::Right => Err(unnamed(format!(
                    "{name} join with a streaming DataFrame/Dataset on the left and a static DataFrame/DataSet on the right not supported"
                ))),
                JoinType::Full => Err(unnamed(format!(
                    "{name} joins with streaming DataFrames/Datasets on the left and a static DataFrame/Dataset on the right is not supported"
                ))),
                _ => Ok(()),
            },
            (false, true) => match join.join_type {
                JoinType::Inner | JoinType::Right => Ok(()),
                JoinType::LeftAnti => Err(anti_join_with_stream()),
                JoinType::Full => Err(unnamed(format!(
                    "{name} joins with streaming DataFrames/Datasets on the right and a static DataFrame/Dataset on the left is not supported"
                ))),
                _ => Err(unnamed(format!(
                    "{name} join with a streaming DataFrame/Dataset on the right and a static DataFrame/Dataset on the left is not supported"
                ))),
            },
            _ => self.check_stream_join(join, name),
        }
    }

    fn check_stream_join(&self, join: &Join, name: &str) -> Result<()> {
        let modes = match (join.join_type, self.mode) {
            (_, OutputMode::Append) | (JoinType::Inner | JoinType::LeftSemi, OutputMode::Update) => None,
            (JoinType::Inner | JoinType::LeftSemi, _) => Some("Append and Update output modes"),
            _ => Some("Append output mode"),
        };
        if join.join_type == JoinType::LeftAnti {
            return Err(anti_join_with_stream());
        }
        if let Some(modes) = modes {
            return Err(unnamed(format!(
                "{name} join between two streaming DataFrames/Datasets is not supported in {:?} output mode, only in {modes}",
                self.mode
            )));
        }
        for input in [&join.left, &join.right] {
            self.check_second_aggregate(input)?;
        }
        let condition = Condition::of(join);
        if !JoinTimes::of(join, &condition)?.suffice(join.join_type) {
            return Err(unnamed(format!(
                "Stream-stream {name} join between two streaming DataFrame/Datasets is not supported without a watermark in the join \
                 keys, or a watermark on the nullable side and an appropriate range condition"
            )));
        }
        match join.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full | JoinType::LeftSemi => Ok(()),
            _ => Err(Error::config(format!("a {name} join of two streams is not supported"))),
        }
    }
}

/// A join of streams finds its rows by equal keys. What WHERE asks for has become part of the joins' conditions in `plan`.
pub fn check_join_keys(plan: &LogicalPlan) -> Result<()> {
    let mut keyless = false;
    let walked = plan.apply(|node| {
        keyless |= stream_join(node).is_some_and(|join| Condition::of(join).keys.is_empty());
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(|e| from_datafusion(e, ErrorKind::Internal))?;
    match keyless {
        true => Err(fails_in_spark("Stream-stream join without equality predicate is not supported")),
        false => Ok(()),
    }
}

fn anti_join_with_stream() -> Error {
    unnamed("LeftAnti joins with a streaming DataFrame/Dataset on the right are not supported")
}

fn spark_name(join: JoinType) -> &'static str {
    match join {
        JoinType::Inner => "Inner",
        JoinType::Left => "LeftOuter",
        JoinType::Right => "RightOuter",
        JoinType::Full => "FullOuter",
        JoinType::LeftSemi | JoinType::RightSemi => "LeftSemi",
        JoinType::LeftAnti | JoinType::RightAnti => "LeftAnti",
        JoinType::LeftMark | JoinType::RightMark => "ExistenceJoin",
    }
}

fn window_names(node: &LogicalPlan) -> String {
    let LogicalPlan::Window(window) = node else { return String::new() };
    window.window_expr.iter().map(|expr| expr.schema_name().to_string()).collect::<Vec<_>>().join(", ")
}

/// Visits inputs before what reads them, left to right, until `visit` says no.
fn walk_up(plan: &LogicalPlan, visit: &mut impl FnMut(&LogicalPlan) -> bool) -> bool {
    // Depth is bounded by how deep queries may nest; chains of set operations are flat.
    plan.inputs().into_iter().all(|input| walk_up(input, visit)) && visit(plan)
}
