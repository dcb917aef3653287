//! What planning a query carries along: the catalog, the names in force, fresh column names.

use std::cell::Cell;
use std::rc::Rc;

use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use sqlparser::ast;

use super::columns::{Attribute, Relation, same_name};
use super::scope::QueryScope;
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::plan::{Catalog, PlanSettings};

/// How deep queries, views and common table expressions may nest.
const DEPTH_MAX: usize = 64;
/// How many times tables may be named, counted after views and common table expressions are inlined.
const TABLES_MAX: usize = 4096;

/// Plans one statement.
pub(super) struct Planner<'a> {
    pub catalog: &'a Catalog,
    pub settings: &'a PlanSettings,
    ids: Cell<usize>,
    tables: Cell<usize>,
}

/// What names mean where a query stands.
#[derive(Clone, Default)]
pub(super) struct Env<'a> {
    /// Common table expressions, the innermost first.
    pub ctes: Option<Rc<Cte>>,
    /// The views being inlined, outermost first.
    pub views: Vec<String>,
    /// The query around this one, if this is a subquery expression.
    pub outer: Option<&'a QueryScope<'a>>,
    pub depth: usize,
}

/// A common table expression; planned where it is used, with the names that were in force where it stands.
pub(super) struct Cte {
    pub definition: ast::Cte,
    pub before: Option<Rc<Cte>>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(catalog: &'a Catalog, settings: &'a PlanSettings) -> Self {
        Self { catalog, settings, ids: Cell::new(0), tables: Cell::new(0) }
    }

    /// A plan column's name that nothing else has.
    pub(super) fn fresh(&self, name: &str) -> String {
        let id = self.ids.get() + 1;
        self.ids.set(id);
        format!("{name}#{id}")
    }

    /// Counts one more use of a table, so that views that name each other twice cannot grow without bound.
    pub(super) fn count_table(&self) -> Result<()> {
        self.tables.set(self.tables.get() + 1);
        if self.tables.get() > TABLES_MAX {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the query reads more than {TABLES_MAX} tables once its views are inlined"),
            ));
        }
        Ok(())
    }

    /// A projection of `exprs`, each called as its alias or column.
    pub(super) fn project(&self, plan: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan> {
        Projection::try_new(exprs, plan.into()).map(LogicalPlan::Projection).map_err(broken)
    }
}

impl<'a> Env<'a> {
    /// The names in force one query deeper.
    pub(super) fn deeper(&self) -> Result<Self> {
        if self.depth >= DEPTH_MAX {
            return Err(Error::new(ErrorKind::Config, format!("subqueries and views are nested more than {DEPTH_MAX} deep")));
        }
        Ok(Self { depth: self.depth + 1, ..self.clone() })
    }

    /// The names in force inside the view `name`: only the catalog's.
    pub(super) fn inside_view(&self, name: &str) -> Result<Env<'static>> {
        let deeper = self.deeper()?;
        let mut views = deeper.views;
        views.push(name.to_owned());
        Ok(Env { ctes: None, views, outer: None, depth: deeper.depth })
    }

    /// The common table expression called `name`.
    pub(super) fn cte(&self, name: &str) -> Option<Rc<Cte>> {
        let mut next = self.ctes.clone();
        while let Some(cte) = next {
            if same_name(&cte.definition.alias.name.value, name) {
                return Some(cte);
            }
            next = cte.before.clone();
        }
        None
    }
}

/// Renames a relation's columns and gives them a table's name; hidden columns stay only if `columns` are not renamed.
pub(super) fn aliased(relation: Relation, alias: &ast::TableAlias) -> Result<Relation> {
    let mut columns = relation.columns;
    for column in &mut columns {
        column.qualifier = Some(alias.name.value.clone());
    }
    columns.retain(|column| column.access != super::columns::Access::Qualified);
    if !alias.columns.is_empty() {
        columns.retain(|column| column.access == super::columns::Access::Listed);
        rename(&mut columns, alias)?;
    }
    Ok(Relation { plan: relation.plan, columns })
}

fn rename(columns: &mut [Attribute], alias: &ast::TableAlias) -> Result<()> {
    if columns.len() != alias.columns.len() {
        return Err(Error::spark(
            ErrorKind::Config,
            "ASSIGNMENT_ARITY_MISMATCH",
            format!("{} has {} columns but {} column names are given", alias.name.value, columns.len(), alias.columns.len()),
        ));
    }
    for (column, name) in columns.iter_mut().zip(&alias.columns) {
        column.name = name.name.value.clone();
    }
    Ok(())
}

/// DataFusion refused a plan that was settled: our mistake, unless one of our own errors travelled through it.
pub(super) fn broken(error: DataFusionError) -> Error {
    from_datafusion(error, ErrorKind::Internal)
}
