//! A query's plan as a tree that a page can draw.

use std::sync::LazyLock;

use datafusion::logical_expr::{Expr, LogicalPlan};
use regex::Regex;
use serde_json::{Value, json};

use super::catalog::stream_of;

/// Nesting that is drawn; deeper plans are cut.
const DEPTH_MAX: usize = 100;
/// Characters of a node's detail.
const DETAIL_CHARS_MAX: usize = 300;

/// The tree of `plan`: `name`, `detail` and `inputs`. Steps that only pick or rename columns are left out.
pub(super) fn picture(plan: &LogicalPlan) -> Value {
    node(plan, 0)
}

fn node(plan: &LogicalPlan, depth: usize) -> Value {
    let plan = shown(plan);
    if depth == DEPTH_MAX {
        return json!({ "name": "…", "detail": "", "inputs": [] });
    }
    if let LogicalPlan::TableScan(scan) = plan {
        let columns: Vec<_> = scan.projected_schema.fields().iter().map(|field| field.name().as_str()).collect();
        let name = if stream_of(scan).is_some() { "Source" } else { "Table" };
        return json!({ "name": name, "detail": readable(&format!("{}: {}", scan.table_name, columns.join(", "))), "inputs": [] });
    }
    let text = plan.display().to_string();
    let (name, detail) = text.split_once(':').map_or((text.trim(), ""), |(name, detail)| (name.trim(), detail.trim()));
    let inputs: Vec<Value> = plan.inputs().into_iter().map(|input| node(input, depth + 1)).collect();
    json!({ "name": words(name), "detail": readable(detail), "inputs": inputs })
}

/// The first step that does something.
fn shown(mut plan: &LogicalPlan) -> &LogicalPlan {
    loop {
        plan = match plan {
            LogicalPlan::Projection(project) if project.expr.iter().all(picks) => &project.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            _ => return plan,
        };
    }
}

/// Whether an expression is a column, renamed or not.
fn picks(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => picks(&alias.expr),
        _ => false,
    }
}

/// `StatefulAggregate` as a person would write it.
fn words(name: &str) -> String {
    match name {
        "Projection" => "Select".to_owned(),
        _ => {
            let mut text = String::new();
            for char in name.chars() {
                if char.is_uppercase() && !text.is_empty() && !text.ends_with(' ') {
                    text.push(' ');
                    text.extend(char.to_lowercase());
                } else {
                    text.push(char);
                }
            }
            text
        }
    }
}

/// `detail` without the numbers that tell columns of one name apart (`n#12`) and the types of literals, and not longer than is read.
fn readable(detail: &str) -> String {
    static LITERAL: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\b(?:(?:U?Int|Float)(?:8|16|32|64)|Boolean)\(([-+.\w]*)\)").expect("the expression is right")
    });
    let detail = LITERAL.replace_all(detail, "$1");
    let mut text = String::new();
    let mut chars = detail.chars().peekable();
    let mut taken = 0;
    while let Some(char) = chars.next() {
        if char == '#' && chars.peek().is_some_and(char::is_ascii_digit) {
            while chars.next_if(char::is_ascii_digit).is_some() {}
            continue;
        }
        if taken == DETAIL_CHARS_MAX {
            text.push('…');
            break;
        }
        text.push(char);
        taken += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_short_and_without_numbers_of_columns() {
        assert_eq!(readable("n#12 + a#1 AS s, '#x', '1#'"), "n + a AS s, '#x', '1#'");
        assert_eq!(readable(&"é".repeat(1000)).chars().count(), DETAIL_CHARS_MAX + 1);
        assert_eq!(readable("flag = Int32(1) AND x > Float64(-1.5e3) OR MyInt8(2)"), "flag = 1 AND x > -1.5e3 OR MyInt8(2)");
        assert_eq!(words("StatefulAggregate"), "Stateful aggregate");
        assert_eq!(words("LeftSemi Join"), "Left semi Join");
    }
}
