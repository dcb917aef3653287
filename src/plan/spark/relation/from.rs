//! FROM: tables, views, subqueries and what joins them.

use datafusion::logical_expr::{LogicalPlan, TableScanBuilder, TableSource};
use sqlparser::ast::{self, Ident, TableFactor};
use std::sync::Arc;

use super::super::{dialect, suggest};
use super::columns::{Access, Attribute, Relation, place, same_name, written};
use super::planner::{Env, Planner, aliased, broken};
use super::{event_time, generate, join};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::catalog::stream_source;
use crate::plan::static_table::static_source;

impl<'a> Planner<'a> {
    /// Everything between FROM and WHERE but lateral views: comma-separated tables are cross joined.
    pub(super) fn from(&self, tables: &[ast::TableWithJoins], env: &Env<'_>) -> Result<Relation> {
        let mut result: Option<Relation> = None;
        for table in tables {
            result = Some(match result {
                None => self.joined_table(table, env)?,
                Some(left) => {
                    let left = match lateral(&table.relation) {
                        true => self.joined(left, &table.relation, join::Kind::Cross, &ast::JoinConstraint::None, env)?,
                        false => join::cross(self, left, self.factor(&table.relation, env)?)?,
                    };
                    self.joins(left, &table.joins, env)?
                }
            });
        }
        match result {
            Some(relation) => Ok(relation),
            None => Ok(Relation { plan: one_row(), columns: Vec::new() }),
        }
    }

    fn joined_table(&self, table: &ast::TableWithJoins, env: &Env<'_>) -> Result<Relation> {
        let first = self.factor(&table.relation, env)?;
        self.joins(first, &table.joins, env)
    }

    fn joins(&self, mut left: Relation, joins: &[ast::Join], env: &Env<'_>) -> Result<Relation> {
        for join in joins {
            let (kind, constraint) = join::kind(&join.join_operator)?;
            left = self.joined(left, &join.relation, kind, constraint, env)?;
        }
        Ok(left)
    }

    fn joined(
        &self,
        left: Relation,
        right: &TableFactor,
        kind: join::Kind,
        constraint: &ast::JoinConstraint,
        env: &Env<'_>,
    ) -> Result<Relation> {
        if let TableFactor::Function { lateral: true, name, args, alias, .. } = right {
            let function = generate::TableFunction { name, args, alias: alias.as_ref() };
            return generate::lateral_join(self, left, &function, kind, env);
        }
        let right = self.factor(right, env)?;
        join::plan(self, left, right, kind, constraint, env)
    }

    fn factor(&self, factor: &TableFactor, env: &Env<'_>) -> Result<Relation> {
        match factor {
            TableFactor::Table { name, alias, args: Some(args), .. } => {
                let one_row = Relation { plan: one_row(), columns: Vec::new() };
                let function = generate::TableFunction { name, args: &args.args, alias: alias.as_ref() };
                generate::lateral_join(self, one_row, &function, join::Kind::Cross, env)
            }
            TableFactor::Table { name, alias, args: None, version, sample, with_ordinality, .. } => {
                if sample.is_some() {
                    return Err(refused("TABLESAMPLE"));
                }
                if version.is_some() || *with_ordinality {
                    return Err(refused("a table version"));
                }
                let relation = self.named_table(&identifiers(name)?, env)?;
                alias.as_ref().map_or(Ok(relation.clone()), |alias| aliased(relation, alias))
            }
            TableFactor::Derived { lateral: true, .. } => Err(refused("a LATERAL subquery")),
            TableFactor::Derived { sample: Some(_), .. } => Err(refused("TABLESAMPLE")),
            TableFactor::Derived { subquery, alias, .. } => {
                let mut relation = self.query(subquery, env)?;
                relation.columns.retain(|column| column.access == Access::Listed);
                match alias {
                    Some(alias) => aliased(relation, alias),
                    None => {
                        relation.columns.iter_mut().for_each(|column| column.qualifier = None);
                        Ok(relation)
                    }
                }
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let relation = self.joined_table(table_with_joins, env)?;
                alias.as_ref().map_or(Ok(relation.clone()), |alias| aliased(relation, alias))
            }
            TableFactor::Function { name, args, alias, .. } => {
                let one_row = Relation { plan: one_row(), columns: Vec::new() };
                let function = generate::TableFunction { name, args, alias: alias.as_ref() };
                generate::lateral_join(self, one_row, &function, join::Kind::Cross, env)
            }
            TableFactor::Pivot { .. } => Err(refused("PIVOT")),
            TableFactor::Unpivot { .. } => Err(refused("UNPIVOT")),
            TableFactor::TableFunction { .. } => Err(refused("TABLE(…)")),
            TableFactor::UNNEST { .. } => Err(refused("UNNEST (explode does the same)")),
            TableFactor::MatchRecognize { .. } => Err(refused("MATCH_RECOGNIZE")),
            TableFactor::JsonTable { .. }
            | TableFactor::OpenJsonTable { .. }
            | TableFactor::XmlTable { .. }
            | TableFactor::SemanticView { .. } => Err(refused("a table function of this kind")),
        }
    }

    /// A common table expression, view, stream or static table.
    pub(super) fn named_table(&self, parts: &[Ident], env: &Env<'_>) -> Result<Relation> {
        self.count_table()?;
        let [name] = parts else { return Err(self.not_found(parts, env)) };
        let name = &name.value;
        if let Some(cte) = env.cte(name) {
            let inner = Env { ctes: cte.before.clone(), ..env.deeper()? };
            let mut relation = self.query(&cte.definition.query, &inner)?;
            relation.columns.retain(|column| column.access == Access::Listed);
            return aliased(relation, &cte.definition.alias);
        }
        if let Some((view, sql)) = self.catalog.views.iter().find(|(view, _)| same_name(view, name)) {
            return event_time::declared(self, self.view(view, sql, env)?, view);
        }
        if let Some(stream) = self.catalog.streams.iter().find(|stream| same_name(&stream.name, name)) {
            let declared = stream.schema.fields().len();
            let scan = self.scan(&stream.name, stream_source(stream), declared)?;
            return event_time::declared(self, scan, &stream.name);
        }
        if let Some(table) = self.catalog.tables.iter().find(|table| same_name(&table.name, name)) {
            return self.scan(&table.name, static_source(table)?, table.schema.fields().len());
        }
        Err(self.not_found(parts, env))
    }

    /// A view's own query, with nothing but the catalog in sight.
    fn view(&self, name: &str, sql: &str, env: &Env<'_>) -> Result<Relation> {
        if let Some(start) = env.views.iter().position(|seen| same_name(seen, name)) {
            let chain: Vec<&str> = env.views[start..].iter().map(String::as_str).chain([name]).collect();
            let message = format!("view {name} reads itself: {}", chain.join(" → "));
            return Err(Error::spark(ErrorKind::Config, "RECURSIVE_VIEW", message));
        }
        let in_view = |error: Error| match error.condition().map(str::to_owned) {
            Some(condition) => Error::spark(error.kind(), condition, format!("{}, in view {name}", error.message())),
            None => Error::new(error.kind(), format!("{}, in view {name}", error.message())),
        };
        let statement = dialect::parse(sql).map_err(in_view)?;
        let query = super::only_query(&statement).map_err(in_view)?;
        let inner = env.inside_view(name)?;
        let mut relation = self.query(query, &inner).map_err(in_view)?;
        relation.columns.retain(|column| column.access == Access::Listed);
        relation.columns.iter_mut().for_each(|column| column.qualifier = Some(name.to_owned()));
        Ok(relation)
    }

    /// A leaf, its columns under fresh names; those after the `declared` first are metadata.
    fn scan(&self, name: &str, source: Arc<dyn TableSource>, declared: usize) -> Result<Relation> {
        let scan = TableScanBuilder::new(name, source).build().map_err(broken)?;
        let mut exprs = Vec::new();
        let mut columns = Vec::new();
        for (index, (qualifier, field)) in scan.projected_schema.iter().enumerate() {
            let attribute = Attribute {
                name: field.name().clone(),
                qualifier: Some(name.to_owned()),
                id: self.fresh(field.name()),
                data_type: field.data_type().clone(),
                nullable: field.is_nullable(),
                access: if index < declared { Access::Listed } else { Access::Named },
            };
            let from = datafusion::common::Column::new(qualifier.cloned(), field.name());
            exprs.push(datafusion::logical_expr::Expr::Column(from).alias(&attribute.id));
            columns.push(attribute);
        }
        Ok(Relation { plan: self.project(LogicalPlan::TableScan(scan), exprs)?, columns })
    }

    fn not_found(&self, parts: &[Ident], env: &Env<'_>) -> Error {
        let mut known: Vec<&str> = self.catalog.views.iter().map(|(name, _)| name.as_str()).collect();
        known.extend(self.catalog.streams.iter().map(|stream| stream.name.as_str()));
        known.extend(self.catalog.tables.iter().map(|table| table.name.as_str()));
        let cte = env.ctes.clone();
        if let Some(cte) = &cte {
            known.push(&cte.definition.alias.name.value);
        }
        let last = parts.last().map(|part| part.value.as_str()).unwrap_or_default();
        let hint = match suggest::nearest(last, known, 1).first() {
            Some(near) => format!("; did you mean `{near}`"),
            None => String::new(),
        };
        let message = format!("the table or view {} cannot be found{hint}{}", written(parts), place(parts));
        Error::spark(ErrorKind::Config, "TABLE_OR_VIEW_NOT_FOUND", message)
    }
}

/// The parts of a table's name.
pub(super) fn identifiers(name: &ast::ObjectName) -> Result<Vec<Ident>> {
    let parts = name.0.iter().map(|part| part.as_ident().cloned());
    parts
        .collect::<Option<_>>()
        .ok_or_else(|| Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", format!("{name} is no name")))
}

/// One row without columns: a query without FROM.
pub(super) fn one_row() -> LogicalPlan {
    LogicalPlan::EmptyRelation(datafusion::logical_expr::EmptyRelation {
        produce_one_row: true,
        schema: Arc::new(datafusion::common::DFSchema::empty()),
    })
}

fn lateral(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Function { lateral: true, .. })
}

fn refused(what: &str) -> Error {
    Error::config(format!("{what} is not supported in FROM"))
}
