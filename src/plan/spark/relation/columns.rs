//! The columns that a relation offers by name.
//!
//! Inside a plan a column is called `name#n`, unique in the whole query as Spark's expression ids are, so that joins and
//! subqueries never clash; the written name and the table's name live here. One plan column may be offered under several names or
//! twice under one: `SELECT a, a` is still one column `a#1`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};
use sqlparser::ast::Ident;
use sqlparser::tokenizer::Span;

use super::super::{Typed, suggest};
use crate::error::{Error, ErrorKind, Result};

/// How a column can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// By name and as part of `*`.
    Listed,
    /// By name only: metadata columns.
    Named,
    /// By its table's name only: the columns that `USING` merged.
    Qualified,
}

/// One column of a relation.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    /// As written.
    pub name: String,
    /// Name or alias of its table.
    pub qualifier: Option<String>,
    /// The plan's column.
    pub id: String,
    pub data_type: DataType,
    pub nullable: bool,
    pub access: Access,
}

impl Attribute {
    /// The column as an expression.
    pub(super) fn typed(&self) -> Typed {
        Typed { expr: column(&self.id), data_type: self.data_type.clone(), nullable: self.nullable }
    }

    /// The column as a subquery's expression sees it from inside.
    pub(super) fn outer(&self) -> Typed {
        let field = Field::new(&self.id, self.data_type.clone(), self.nullable);
        let expr = Expr::OuterReferenceColumn(Arc::new(field), Column::new_unqualified(&self.id));
        Typed { expr, data_type: self.data_type.clone(), nullable: self.nullable }
    }

    fn is_named(&self, name: &Ident) -> bool {
        same_name(&self.name, &name.value)
    }

    fn is_of(&self, table: &Ident) -> bool {
        self.qualifier.as_deref().is_some_and(|qualifier| same_name(qualifier, &table.value))
    }

    fn shown(&self) -> String {
        match &self.qualifier {
            Some(qualifier) => format!("`{qualifier}`.`{}`", self.name),
            None => format!("`{}`", self.name),
        }
    }
}

/// A plan and what its columns are called.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub plan: LogicalPlan,
    pub columns: Vec<Attribute>,
}

impl Relation {
    /// The columns of `*`, in order.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Attribute> {
        self.columns.iter().filter(|column| column.access == Access::Listed)
    }
}

/// The plan's column called `id`.
pub(super) fn column(id: &str) -> Expr {
    Expr::Column(Column::new_unqualified(id))
}

/// Whether two written names are the same to SQL: case does not count.
pub(super) fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!(a.is_ascii() && b.is_ascii()) && a.to_lowercase() == b.to_lowercase())
}

/// The column that `parts` begin with, and how many parts name it; struct fields may follow. A table's name is tried before a
/// column's, as Spark does.
pub(super) fn find<'a>(columns: &'a [Attribute], parts: &[Ident]) -> Result<Option<(&'a Attribute, usize)>> {
    if let [table, name, ..] = parts {
        let matches = columns.iter().filter(|column| column.is_of(table) && column.is_named(name));
        if let Some(found) = only(matches, parts)? {
            return Ok(Some((found, 2)));
        }
    }
    let Some(name) = parts.first() else { return Ok(None) };
    let matches = columns.iter().filter(|column| column.access != Access::Qualified && column.is_named(name));
    Ok(only(matches, parts)?.map(|found| (found, 1)))
}

/// The one column among `matches`; the same plan column twice counts as one.
fn only<'a>(matches: impl Iterator<Item = &'a Attribute>, parts: &[Ident]) -> Result<Option<&'a Attribute>> {
    let matches: Vec<&Attribute> = matches.collect();
    // A declared column hides a metadata column of the same name.
    let listed: Vec<&Attribute> = matches.iter().copied().filter(|column| column.access != Access::Named).collect();
    let matches = if listed.is_empty() { matches } else { listed };
    let Some(first) = matches.first() else { return Ok(None) };
    if matches.iter().all(|other| other.id == first.id) {
        return Ok(Some(first));
    }
    let mut candidates: Vec<String> = matches.iter().map(|column| column.shown()).collect();
    candidates.sort();
    Err(Error::spark(
        ErrorKind::Config,
        "AMBIGUOUS_REFERENCE",
        format!("reference {} is ambiguous, could be: [{}]{}", written(parts), candidates.join(", "), place(parts)),
    ))
}

/// The error for a name that nothing has, with the nearest names.
pub(super) fn unresolved<'a>(parts: &[Ident], known: impl Iterator<Item = &'a Attribute>) -> Error {
    let known: Vec<(&str, String)> = known.map(|column| (column.name.as_str(), column.shown())).collect();
    let last = parts.last().map(|part| part.value.as_str()).unwrap_or_default();
    let mut nearest: Vec<&str> = suggest::nearest(last, known.iter().map(|(name, _)| *name), 5);
    if nearest.is_empty() {
        nearest = known.iter().take(5).map(|(name, _)| *name).collect();
    }
    let mut shown: Vec<&str> = Vec::new();
    for name in nearest {
        shown.extend(known.iter().filter(|(other, _)| *other == name).map(|(_, shown)| shown.as_str()));
    }
    shown.dedup();
    shown.truncate(5);
    let what = format!("a column, variable or function parameter with name {} cannot be resolved", written(parts));
    if shown.is_empty() {
        return Error::spark(ErrorKind::Config, "UNRESOLVED_COLUMN.WITHOUT_SUGGESTION", format!("{what}{}", place(parts)));
    }
    Error::spark(
        ErrorKind::Config,
        "UNRESOLVED_COLUMN.WITH_SUGGESTION",
        format!("{what}; did you mean one of [{}]{}", shown.join(", "), place(parts)),
    )
}

/// A name in back-ticks, part by part.
pub(super) fn written(parts: &[Ident]) -> String {
    parts.iter().map(|part| format!("`{}`", part.value)).collect::<Vec<_>>().join(".")
}

/// ` (line 1, column 8)`, or nothing where the text is not known.
pub(super) fn place(parts: &[Ident]) -> String {
    parts.first().map(|part| place_of(part.span)).unwrap_or_default()
}

/// ` (line 1, column 8)`, or nothing where the text is not known.
pub(super) fn place_of(span: Span) -> String {
    match (span.start.line, span.start.column) {
        (0, _) => String::new(),
        (line, column) => format!(" (line {line}, column {column})"),
    }
}
