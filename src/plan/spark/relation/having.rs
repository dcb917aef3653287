//! What the names of HAVING mean: the input's columns as far as they are grouped by or within an aggregate function, else aliases of the
//! select list.

use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;
use sqlparser::ast::{self, Ident, VisitMut, VisitorMut};

use super::columns::{Attribute, Relation, column, find};
use super::grouping::Grouping;
use super::planner::{Env, Planner, broken};
use super::scope::QueryScope;
use super::select::{Item, boolean, inlined};
use crate::error::Result;
use crate::plan::spark::functions::{self, FunctionKind};

/// Put before an alias where it, and not the column of the same name, is meant.
const ALIAS: char = '\u{1}';

impl Planner<'_> {
    /// The condition of HAVING over the input's columns.
    pub(super) fn having(
        &self,
        having: &ast::Expr,
        (items, outputs): (&[Item], &[Attribute]),
        (input, grouping): (&Relation, Option<&Grouping>),
        env: &Env<'_>,
    ) -> Result<Expr> {
        let input_first = QueryScope::new(self, env, vec![&input.columns, outputs]);
        // As Spark does, this is tried first, and what is wrong with it is wrong.
        let first = input_first.resolve_condition(having)?;
        let keys: Vec<&Expr> = grouping.iter().flat_map(|grouping| &grouping.keys).map(|key| &key.expr).collect();
        if is_grouped(&first.expr, &keys, input)? {
            return inlined(boolean(first, "HAVING")?.expr, items);
        }
        let mut marked = having.clone();
        // The visitor never breaks.
        let _ = marked.visit(&mut Aliases { input, outputs, keys: &keys, aggregates: 0 });
        let aliases = outputs.iter().map(|output| {
            let name = format!("{ALIAS}{}", output.name);
            Attribute { name, qualifier: None, ..output.clone() }
        });
        let aliases: Vec<Attribute> = aliases.collect();
        let scope = QueryScope::new(self, env, vec![&input.columns, &aliases, outputs]);
        inlined(boolean(scope.resolve_condition(&marked)?, "HAVING")?.expr, items)
    }
}

/// Whether every column of the input is grouped by, where it is not within an aggregate function.
fn is_grouped(expr: &Expr, keys: &[&Expr], input: &Relation) -> Result<bool> {
    let mut grouped = true;
    let walked = expr.apply(|node| {
        if keys.contains(&node) || matches!(node, Expr::AggregateFunction(_)) {
            return Ok(TreeNodeRecursion::Jump);
        }
        if let Expr::Column(name) = node {
            grouped &= !input.columns.iter().any(|attribute| attribute.id == name.name);
        }
        Ok(if grouped { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.map_err(broken)?;
    Ok(grouped)
}

/// Marks the names that mean an alias.
struct Aliases<'a> {
    input: &'a Relation,
    outputs: &'a [Attribute],
    keys: &'a [&'a Expr],
    /// How many calls of aggregate functions are around.
    aggregates: usize,
}

impl Aliases<'_> {
    fn means_alias(&self, name: &Ident) -> bool {
        let parts = std::slice::from_ref(name);
        let is_key = match find(&self.input.columns, parts) {
            Ok(Some((attribute, _))) => self.keys.contains(&&column(&attribute.id)),
            _ => false,
        };
        self.aggregates == 0 && !is_key && matches!(find(self.outputs, parts), Ok(Some(_)) | Err(_))
    }
}

fn is_aggregate(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Function(function) => {
            functions::find(&function.name.to_string()).is_some_and(|spec| spec.kind == FunctionKind::Aggregate)
        }
        _ => false,
    }
}

impl VisitorMut for Aliases<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        self.aggregates += usize::from(is_aggregate(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        self.aggregates -= usize::from(is_aggregate(expr));
        if let ast::Expr::Identifier(name) = expr
            && self.means_alias(name)
        {
            name.value.insert(0, ALIAS);
        }
        ControlFlow::Continue(())
    }
}
