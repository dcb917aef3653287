//! From a logical plan as written to the physical plan that every batch runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Extension, LogicalPlan, UserDefinedLogicalNode};
use datafusion::optimizer::{Analyzer, Optimizer};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;

use super::static_side::StaticBuildSide;
use crate::error::{ErrorKind, Result, from_datafusion};
use crate::operator::arrivals::in_turn;
use crate::operator::push_down::PushDownFilter;
use crate::operator::watermarks::input_lag_ms;
use crate::operator::{Claim, OPERATORS, Operator, Planned, Planning};
use crate::plan::OutputMode;
use crate::plan::event_time::{EventTime, WatermarkPlanner};
use crate::plan::function::exec::CallPlanner;
use crate::plan::running_batch::RunningBatch;
use crate::plan::spark::relation::generate::exec::GeneratePlanner;
use crate::state::StateMemory;

/// A session for plans that are made once and run many times.
pub(super) fn session(batch: &RunningBatch) -> SessionState {
    let mut config = SessionConfig::new().with_target_partitions(1).with_option_extension(batch.clone());
    let options = config.options_mut();
    // A plan that carries a dynamic filter cannot be run again: the filter would still hold the last batch's values.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // Stored states are merged per key, so a partial aggregation must not give up and pass rows through.
    options.execution.skip_partial_aggregation_probe_rows_threshold = usize::MAX;
    options.execution.skip_partial_aggregation_probe_ratio_threshold = 2.0;
    let mut rules = Optimizer::new().rules;
    for rule in rules.iter_mut().filter(|rule| rule.name() == "push_down_filter") {
        *rule = Arc::new(PushDownFilter::default());
    }
    let mut physical_rules = PhysicalOptimizer::new().rules;
    let join_selection = physical_rules.iter().position(|rule| rule.name() == "join_selection");
    physical_rules.insert(join_selection.map_or(physical_rules.len(), |position| position + 1), Arc::new(StaticBuildSide));
    // Functions that read the running batch are given the options of the execution properties, not those of the session.
    let mut properties = ExecutionProps::new();
    properties.mark_start_execution(config.options().clone());
    SessionStateBuilder::new()
        .with_config(config)
        .with_execution_props(properties)
        // The dialect has resolved and coerced everything; DataFusion's own coercion means something else.
        .with_analyzer_rules(Vec::new())
        .with_optimizer_rules(rules)
        .with_physical_optimizer_rules(physical_rules)
        .build()
}

/// Resolves and coerces a plan that was built with DataFusion's own API.
pub(super) fn analyze(plan: LogicalPlan, session: &SessionState) -> Result<LogicalPlan> {
    Analyzer::new()
        .execute_and_check(plan, session.config_options(), |_, _| {})
        .map_err(|e| from_datafusion(e, ErrorKind::Config))
}

/// Puts stateful nodes in the place of batch nodes over streams. Ids count downstream to upstream.
pub(super) fn make_stateful(plan: LogicalPlan, mode: OutputMode) -> Result<(LogicalPlan, Vec<String>)> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut ids = Vec::new();
    let claimed = plan.transform_down(|node| {
        for spec in OPERATORS {
            let count = counts.entry(spec.kind).or_default();
            let id = format!("{}-{count}", spec.kind);
            if let Some(node) = (spec.claim)(&node, &Claim { id: &id, mode })? {
                *count += 1;
                ids.push(id);
                return Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })));
            }
        }
        Ok(Transformed::no(node))
    });
    Ok((claimed.map_err(|e| from_datafusion(e, ErrorKind::Config))?.data, ids))
}

/// What a physical plan is run with.
#[derive(Debug)]
pub(super) struct Physical {
    pub plan: Arc<dyn ExecutionPlan>,
    /// Downstream operators first.
    pub operators: Vec<SeenBy>,
}

/// An operator, and how far the watermark it sees lies behind the query's, if it sees one.
#[derive(Debug)]
pub(super) struct SeenBy {
    pub operator: Arc<Operator>,
    pub lag_ms: Option<i64>,
}

/// Plans an optimised plan whose stateful operators are `ids`.
pub(super) async fn physical(
    optimized: &LogicalPlan,
    session: &SessionState,
    memory: &Arc<StateMemory>,
    event_time: &Arc<EventTime>,
    ids: &[String],
) -> Result<Physical> {
    let operators =
        Arc::new(OperatorPlanner { memory: memory.clone(), event_time: event_time.clone(), planned: Mutex::default() });
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![
        operators.clone(),
        Arc::new(GeneratePlanner),
        Arc::new(WatermarkPlanner(event_time.clone())),
        Arc::new(CallPlanner(event_time.clone())),
    ]);
    let plan = planner.create_physical_plan(optimized, session).await.map_err(|e| from_datafusion(e, ErrorKind::Config))?;
    let plan = plan.transform_up(in_order).map_err(|e| from_datafusion(e, ErrorKind::Internal))?.data;
    let mut operators = std::mem::take(&mut *operators.planned.lock().unwrap_or_else(PoisonError::into_inner));
    operators.sort_by_key(|seen| ids.iter().position(|id| id == seen.operator.planned_id()));
    Ok(Physical { plan, operators })
}

/// Rows keep the order of their partitions instead of that of their arrival.
fn in_order(node: Arc<dyn ExecutionPlan>) -> DataFusionResult<Transformed<Arc<dyn ExecutionPlan>>> {
    match node.downcast_ref::<CoalescePartitionsExec>() {
        Some(coalesce) if coalesce.fetch().is_none() => Ok(Transformed::yes(in_turn(coalesce.input().clone()))),
        _ => Ok(Transformed::no(node)),
    }
}

/// Makes the physical nodes of stateful operators.
struct OperatorPlanner {
    memory: Arc<StateMemory>,
    event_time: Arc<EventTime>,
    planned: Mutex<Vec<SeenBy>>,
}

#[async_trait]
impl ExtensionPlanner for OperatorPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        planning_ctx: &PhysicalPlanningContext,
    ) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
        let (logical_input, input, second) = match (logical_inputs, physical_inputs) {
            ([logical], [input]) => (logical, input, None),
            ([logical, other], [input, second]) => (logical, input, Some((*other, second))),
            _ => return Ok(None),
        };
        let event_time = self.event_time.behind(input_lag_ms(logical_inputs));
        for spec in OPERATORS {
            let planning = Planning {
                logical_input,
                input: input.clone(),
                second: second.map(|(logical, input)| (logical, input.clone())),
                session,
                subqueries: planning_ctx,
                memory: &self.memory,
                event_time: &event_time,
            };
            if let Some(Planned { node, operators }) = (spec.plan)(node, planning)? {
                let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
                planned.extend(operators.into_iter().map(|operator| SeenBy { operator, lag_ms: event_time.lag_ms() }));
                return Ok(Some(node));
            }
        }
        Ok(None)
    }
}
