//! What is declared beside a stream or view: its watermark, and what tells its rows apart.

use datafusion::common::Column;

use super::columns::{Access, Attribute, Relation, same_name};
use super::planner::Planner;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::deduplicate::Deduplicate;
use crate::plan::Deduplication;
use crate::plan::catalog::is_streaming;
use crate::plan::event_time::{Watermark, no_column, watermarked};

/// `relation`, which is called `name`, with the watermark and the deduplication that are declared for it.
pub(super) fn declared(planner: &Planner<'_>, mut relation: Relation, name: &str) -> Result<Relation> {
    let name = name.to_lowercase();
    if let Some(watermark) = planner.catalog.watermarks.get(&name) {
        relation = with_watermark(relation, &name, watermark)?;
    }
    match planner.catalog.deduplications.get(&name) {
        Some(deduplication) => deduplicated(relation, &name, deduplication),
        None => Ok(relation),
    }
}

fn with_watermark(relation: Relation, name: &str, watermark: &Watermark) -> Result<Relation> {
    let wanted = &watermark.column;
    let Some(found) = find(&relation, wanted) else {
        let is_nested = wanted.split_once('.').is_some_and(|(first, _)| find(&relation, first).is_some());
        let refused = no_column(wanted, is_nested);
        let message = format!("{}; the columns of {name} are {}", refused.message(), names(&relation));
        return Err(Error::spark(refused.kind(), refused.condition().unwrap_or_default().to_owned(), message));
    };
    let column = Column::new_unqualified(&found.id);
    let plan = watermarked(relation.plan, name, column, watermark.clone())?;
    Ok(Relation { plan, columns: relation.columns })
}

fn deduplicated(relation: Relation, name: &str, deduplication: &Deduplication) -> Result<Relation> {
    if !is_streaming(&relation.plan) {
        return Err(Error::config(format!("{name} is no stream: SELECT DISTINCT removes its duplicates")));
    }
    let mut by = Vec::with_capacity(deduplication.by.len());
    for wanted in &deduplication.by {
        let Some(found) = find(&relation, wanted) else {
            let known = names(&relation);
            let message = format!("cannot resolve column name \"{wanted}\" among ({known}), by which {name} is deduplicated");
            return Err(Error::spark(ErrorKind::Config, "UNRESOLVED_COLUMN_AMONG_FIELD_NAMES", message));
        };
        let column = Column::new_unqualified(&found.id);
        if !by.contains(&column) {
            by.push(column);
        }
    }
    let plan = Deduplicate::plan(relation.plan, by, deduplication.within_watermark)?;
    Ok(Relation { plan, columns: relation.columns })
}

fn names(relation: &Relation) -> String {
    relation.listed().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn find<'a>(relation: &'a Relation, name: &str) -> Option<&'a Attribute> {
    let named = relation.columns.iter().filter(|column| column.access != Access::Qualified && same_name(&column.name, name));
    // A declared column hides a metadata column of the same name.
    named.min_by_key(|column| column.access == Access::Named)
}
