//! How Spark prints what stands behind an aggregate's arguments, and the functions it renames for it.

use sqlparser::ast;

use super::pretty;

/// The call's name and arguments with its WITHIN GROUP, and what it says of nulls.
pub(super) fn ordered(name: &str, call: &ast::Function, distinct: &str, mut args: Vec<String>) -> String {
    let key = |key: &ast::OrderByExpr| (pretty(&key.expr), key.options.asc == Some(false), key.options.nulls_first);
    let keys: Vec<_> = call.within_group.iter().map(key).collect();
    match (name, keys.as_slice()) {
        ("mode", [(value, descending, _)]) => mode(value, *descending),
        // The least of several modes is how Spark keeps the flag.
        ("mode", []) if args.len() == 2 => match args.pop().as_deref() {
            Some("true") => mode(&args[0], false),
            _ => format!("mode({distinct}{})", args.join(", ")),
        },
        ("listagg" | "string_agg", [_, ..]) => {
            let keys = keys.iter().map(|(value, descending, nulls_first)| {
                let direction = if *descending { "DESC" } else { "ASC" };
                let nulls = if nulls_first.unwrap_or(!descending) { "FIRST" } else { "LAST" };
                format!("{value} {direction} NULLS {nulls}")
            });
            format!("listagg({distinct}{}) WITHIN GROUP (ORDER BY {})", args.join(", "), keys.collect::<Vec<_>>().join(", "))
        }
        (_, [(value, descending, _)]) => {
            let direction = if *descending { " DESC" } else { "" };
            format!("{name}({distinct}{}) WITHIN GROUP (ORDER BY {value}{direction})", args.join(", "))
        }
        _ => format!("{}({distinct}{}){}", renamed(name, call), args.join(", "), nulls(name, call)),
    }
}

/// Spark's text of `mode` is that of the other direction.
fn mode(value: &str, descending: bool) -> String {
    format!("mode() WITHIN GROUP (ORDER BY {value}{})", if descending { "" } else { " DESC" })
}

fn treatment(call: &ast::Function) -> Option<&ast::NullTreatment> {
    let ast::FunctionArguments::List(list) = &call.args else { return call.null_treatment.as_ref() };
    let clause = list.clauses.iter().find_map(|clause| match clause {
        ast::FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => Some(treatment),
        _ => None,
    });
    clause.or(call.null_treatment.as_ref())
}

fn renamed<'a>(name: &'a str, call: &ast::Function) -> &'a str {
    match name {
        "array_agg" => "collect_list",
        "first_value" if treatment(call).is_some() => "first",
        "last_value" if treatment(call).is_some() => "last",
        other => other,
    }
}

fn nulls(name: &str, call: &ast::Function) -> &'static str {
    match (name, treatment(call)) {
        ("collect_list" | "collect_set" | "collect_union" | "array_agg", Some(ast::NullTreatment::RespectNulls)) => {
            " RESPECT NULLS"
        }
        _ => "",
    }
}
