//! `watermark` and `deduplicate` of sources and views: their settings, and whether a source has the columns that they name.

use std::borrow::Cow;

use arrow::datatypes::Schema;

use super::problem::Problems;
use super::scalar::{Scalar, quoted};
use super::suggest::nearest;
use super::text::Text;
use super::values::Values;
use crate::plan::Deduplication;
use crate::plan::event_time::{self, Watermark};

/// The watermark beside a source's or view's other settings; `None` if what is there is wrong.
pub(super) fn watermark(values: &Values) -> Option<Option<Watermark>> {
    let Some(settings) = values.map("watermark") else { return Some(None) };
    let mut watermark = Watermark::new(&settings.word("column")?, settings.duration("delay")?);
    if let Some(ahead) = settings.duration("max_future") {
        watermark = watermark.max_future(ahead);
    }
    if let Some(silence) = settings.duration("idle_after") {
        watermark = watermark.idle_after(silence);
    }
    Some(Some(watermark))
}

/// The deduplication beside a source's or view's other settings; `None` if what is there is wrong.
pub(super) fn deduplication(values: &Values, problems: &mut Problems) -> Option<Option<Deduplication>> {
    let Some(settings) = values.map("deduplicate") else { return Some(None) };
    let by: Vec<String> = columns(settings).map(str::to_owned).collect();
    if by.is_empty() {
        if settings.is_given("by") {
            problems.add(settings.place_of("by"), settings.about("by", "expected at least one column"));
        }
        return None;
    }
    Some(Some(Deduplication { by, within_watermark: settings.bool("within_watermark")? }))
}

fn columns(deduplicate: &Values) -> impl Iterator<Item = &str> {
    let columns = deduplicate.scalars("by").iter();
    columns.filter_map(|scalar| if let Scalar::Word(column) = scalar { Some(column.as_str()) } else { None })
}

/// Refuses columns that a source of `schema` does not have, or that are no event time. What a column of metadata is, is known when
/// the query is planned.
pub(super) fn check(source: &Values, schema: &Schema, problems: &mut Problems) {
    let is_metadata = |name: &str| name.starts_with('_');
    if let Some(settings) = source.map("watermark")
        && let Some(column) = settings.word("column").filter(|column| !is_metadata(column))
        && let Err(error) = event_time::check(schema, &Watermark::new(&column, std::time::Duration::ZERO))
    {
        let condition: Cow<'static, str> = error.condition().unwrap_or_default().to_owned().into();
        let message = format!("{}{}", error.message(), choices(&column, schema));
        problems.add_spark(settings.place_of("column"), condition, settings.about("column", &message));
    }
    let Some(settings) = source.map("deduplicate") else { return };
    for column in columns(settings).filter(|column| !is_metadata(column)) {
        if !schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case(column)) {
            let message = format!("there is no column {}{}", quoted(&Text::plain(column)), choices(column, schema));
            problems.add_spark(settings.place_of("by"), "UNRESOLVED_COLUMN_AMONG_FIELD_NAMES", settings.about("by", &message));
        }
    }
    if settings.bool("within_watermark") == Some(true) && !source.is_given("watermark") {
        let message = "dropDuplicatesWithinWatermark is not supported without watermark: give the source one";
        let place = settings.place_of("within_watermark");
        problems.add_spark(place, "_LEGACY_ERROR_TEMP_3102", settings.about("within_watermark", message));
    }
}

/// The column that may have been meant, or all there are.
fn choices(column: &str, schema: &Schema) -> String {
    let mut names = schema.fields().iter().map(|field| field.name().as_str());
    if names.clone().any(|name| name.eq_ignore_ascii_case(column)) {
        return String::new();
    }
    match nearest(column, names.clone()) {
        Some(near) => format!("; did you mean {}?", quoted(&Text::plain(near))),
        None => {
            let first: Vec<&str> = names.by_ref().take(20).collect();
            let more = if names.next().is_some() { ", …" } else { "" };
            format!("; its columns are {}{more}", first.join(", "))
        }
    }
}
