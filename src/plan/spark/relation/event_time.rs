//! What is declared beside a stream or view: its watermark.

use datafusion::common::Column;

use super::columns::{Access, Relation, same_name};
use super::planner::Planner;
use crate::error::Result;
use crate::plan::event_time::{no_column, watermarked};

/// `relation`, which is called `name`, with the watermark that is declared for it.
pub(super) fn declared(planner: &Planner<'_>, relation: Relation, name: &str) -> Result<Relation> {
    let Some(watermark) = planner.catalog.watermarks.get(&name.to_lowercase()) else { return Ok(relation) };
    let wanted = &watermark.column;
    let find = |name: &str| {
        let by_name =
            relation.columns.iter().filter(|column| column.access != Access::Qualified && same_name(&column.name, name));
        // A declared column hides a metadata column of the same name.
        by_name.min_by_key(|column| column.access == Access::Named)
    };
    let Some(found) = find(wanted) else {
        return Err(no_column(wanted, wanted.split_once('.').is_some_and(|(first, _)| find(first).is_some())));
    };
    let column = Column::new_unqualified(&found.id);
    let plan = watermarked(relation.plan, &name.to_lowercase(), column, watermark.clone())?;
    Ok(Relation { plan, columns: relation.columns })
}
