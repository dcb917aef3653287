//! Spark's `show()`: a box table of the first rows.

use std::fmt::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::cell::Cells;
use crate::error::Result;

/// How long a cell may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncate {
    /// Cells are cut to so many characters (the last three `...` from 4 on) and right-aligned.
    At(usize),
    /// Cells are whole and left-aligned.
    Never,
}

impl Default for Truncate {
    fn default() -> Self {
        Self::At(20)
    }
}

const COLUMN_WIDTH_MIN: usize = 3;

/// The table of the first `num_rows` rows, ending with a blank line, or with `only showing top N rows` if there are more.
pub(super) fn show(schema: &SchemaRef, rows: &[RecordBatch], num_rows: usize, truncate: Truncate, zone: &str) -> Result<String> {
    let mut lines = vec![schema.fields().iter().map(|field| escape(field.name())).collect::<Vec<_>>()];
    let mut left = num_rows;
    for batch in rows {
        let take = left.min(batch.num_rows());
        lines.extend(cells(&batch.slice(0, take), truncate, zone)?);
        left -= take;
    }
    let more = rows.iter().map(RecordBatch::num_rows).sum::<usize>() > num_rows;
    let mut text = boxed(&lines, truncate);
    match (more, num_rows) {
        (false, _) => text.push('\n'),
        (true, 1) => text.push_str("only showing top 1 row\n"),
        (true, n) => {
            let _ = writeln!(text, "only showing top {n} rows");
        }
    }
    Ok(text)
}

fn cells(batch: &RecordBatch, truncate: Truncate, zone: &str) -> Result<Vec<Vec<String>>> {
    let columns = batch.columns().iter().map(|column| Cells::new(column, zone)).collect::<Result<Vec<_>>>()?;
    let mut lines = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        lines.push(columns.iter().map(|column| cut(escape(&column.text(row)), truncate)).collect());
    }
    Ok(lines)
}

fn boxed(lines: &[Vec<String>], truncate: Truncate) -> String {
    let mut widths = vec![COLUMN_WIDTH_MIN; lines[0].len()];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(half_widths(cell));
        }
    }
    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(*width))).chain(["+\n".to_owned()]).collect();
    let mut text = rule.clone();
    for (number, line) in lines.iter().enumerate() {
        for (width, cell) in widths.iter().zip(line) {
            let padding = " ".repeat(width - half_widths(cell));
            text.push('|');
            match truncate {
                Truncate::At(_) => text.extend([padding.as_str(), cell]),
                Truncate::Never => text.extend([cell.as_str(), &padding]),
            }
        }
        text.push_str("|\n");
        if number == 0 {
            text.push_str(&rule);
        }
    }
    text.push_str(&rule);
    text
}

fn cut(cell: String, truncate: Truncate) -> String {
    match truncate {
        Truncate::At(limit) if limit > 0 && utf16_len(&cell) > limit => {
            let (keep, dots) = if limit < 4 { (limit, "") } else { (limit - 3, "...") };
            let mut kept = 0;
            let mut text: String = cell
                .chars()
                .take_while(|c| {
                    kept += c.len_utf16();
                    kept <= keep
                })
                .collect();
            text.push_str(dots);
            text
        }
        Truncate::At(_) | Truncate::Never => cell,
    }
}

/// Java counts characters in UTF-16 units.
fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Width on a terminal: East Asian full-width characters take two cells.
fn half_widths(text: &str) -> usize {
    text.chars().map(|c| if is_full_width(c) { 2 } else { c.len_utf16() }).sum()
}

fn is_full_width(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115F}' | '\u{2E80}'..='\u{A4CF}' | '\u{AC00}'..='\u{D7A3}' | '\u{F900}'..='\u{FAFF}'
        | '\u{FE10}'..='\u{FE19}' | '\u{FE30}'..='\u{FE6F}' | '\u{FF00}'..='\u{FF60}' | '\u{FFE0}'..='\u{FFE6}')
}

/// Control characters as Spark shows them, so that a cell stays on its line.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{0C}' => out.push_str("\\f"),
            '\u{08}' => out.push_str("\\b"),
            '\u{0B}' => out.push_str("\\v"),
            '\u{07}' => out.push_str("\\a"),
            other => out.push(other),
        }
    }
    out
}
