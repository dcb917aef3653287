//! Calls as Spark prints them: with the arguments that it adds, and under the name that it gives them.

use sqlparser::ast;

use super::aggregate;

/// Functions whose names are printed in capitals.
const UPPER: &[&str] = &[
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "cos",
    "cosh",
    "cot",
    "csc",
    "degrees",
    "e",
    "exp",
    "expm1",
    "hypot",
    "log",
    "log10",
    "log1p",
    "log2",
    "pi",
    "power",
    "radians",
    "regexp",
    "regexp_like",
    "rlike",
    "sec",
    "signum",
    "sin",
    "sinh",
    "spark_partition_id",
    "sqrt",
    "tan",
    "tanh",
];

/// A call with the arguments that Spark adds by itself, under the name that Spark prints.
pub(super) fn called(name: &str, function: &ast::Function, args: Vec<String>, distinct: &str) -> String {
    let count = args.len();
    under_its_name(name, function, count, completed(name, function, args), distinct)
}

/// The arguments with those that are left out, and without those that Spark does not print.
fn completed(name: &str, function: &ast::Function, mut args: Vec<String>) -> Vec<String> {
    let count = args.len();
    let mut default = |at: usize, value: &str| {
        if count == at {
            args.push(value.to_owned());
        }
    };
    match name {
        "substr" | "substring" => default(2, "2147483647"),
        "locate" | "position" => default(2, "1"),
        "split" => default(2, "-1"),
        "hmac" => default(2, "SHA-256"),
        "replace" => default(2, ""),
        "regexp_replace" => default(3, "1"),
        "regexp_extract" | "regexp_extract_all" => default(2, "1"),
        "regexp_instr" => default(2, "0"),
        "lpad" | "rpad" => default(2, " "),
        "from_unixtime" => default(1, "yyyy-MM-dd HH:mm:ss"),
        "months_between" => default(2, "true"),
        "hll_sketch_agg" => default(1, "12"),
        "vector_norm" | "vector_normalize" => default(1, "2.0"),
        "time_bucket" => default(2, "TIMESTAMP '1970-01-01 00:00:00'"),
        "str_to_map" => {
            default(1, ",");
            args.resize(3, ":".into());
        }
        "mask" => args = masked(function, args),
        "convert_timezone" if count == 2 => args.insert(0, "current_timezone()".into()),
        "unix_timestamp" if count == 0 => args.extend(["current_timestamp()".into(), "yyyy-MM-dd HH:mm:ss".into()]),
        "assert_true" if count == 1 => args.push(format!("'{}' is not true!", args[0])),
        "raise_error" if count == 1 => {
            args = vec!["USER_RAISED_EXCEPTION".into(), format!("map(errorMessage, {})", args[0])];
        }
        "to_json" | "variant_get" | "try_variant_get" => args.truncate(if name == "to_json" { 1 } else { 2 }),
        "try_make_timestamp" => args.truncate(6),
        "uuid" => args.clear(),
        "instr" if count == 3 => args.push("1".into()),
        "overlay" => default(3, "-1"),
        "round" | "bround" => default(1, "0"),
        "sort_array" => default(1, "true"),
        "percentile" => default(2, "1"),
        "listagg" | "string_agg" => default(1, "NULL"),
        "percentile_approx" | "approx_percentile" => default(2, "10000"),
        "approx_top_k" => {
            default(1, "5, 10000");
            default(2, "10000");
        }
        "approx_count_distinct" => args.truncate(1),
        "unix_timestamp" | "to_unix_timestamp" => default(1, "yyyy-MM-dd HH:mm:ss"),
        "from_json" | "from_csv" | "first" | "last" | "first_value" | "last_value" | "any_value" => args.truncate(1),
        "schema_of_json" | "schema_of_csv" | "to_csv" | "shuffle" => args.truncate(1),
        "sentences" => args.resize(3, String::new()),
        "make_ym_interval" => args.resize(2, "0".into()),
        "make_interval" | "try_make_interval" if count < 7 => {
            args.resize(6, "0".into());
            args.push("0.000000".into());
        }
        "make_dt_interval" if count < 4 => {
            args.resize(3, "0".into());
            args.push("0.000000".into());
        }
        "log" if count == 1 => args.insert(0, "E()".into()),
        _ => {}
    }
    args
}

/// `count`: how many arguments are written.
fn under_its_name(name: &str, function: &ast::Function, count: usize, args: Vec<String>, distinct: &str) -> String {
    let list = args.join(", ");
    match name {
        "if" => format!("(IF({list}))"),
        "div" => format!("({})", args.join(" div ")),
        "like" if count == 2 => args.join(" LIKE "),
        "like" if count == 3 => format!("{} LIKE {} ESCAPE '{}'", args[0], args[1], args[2]),
        "ilike" if count == 3 => format!("ilike({}, {})", args[0], args[1]),
        "ltrim" if count == 2 => format!("TRIM(LEADING {} FROM {})", args[0], args[1]),
        "rtrim" if count == 2 => format!("TRIM(TRAILING {} FROM {})", args[0], args[1]),
        "datepart" if count == 2 => format!("datepart({} FROM {})", args[0], args[1]),
        "dateadd" | "date_add" | "timestampadd" if count == 3 => format!("timestampadd({list})"),
        "datediff" | "date_diff" | "timediff" | "timestampdiff" if count == 3 => format!("timestampdiff({list})"),
        "curdate" => "current_date()".into(),
        "isnull" => format!("({list} IS NULL)"),
        "isnotnull" => format!("({list} IS NOT NULL)"),
        "positive" => format!("(+ {list})"),
        "dateadd" => format!("date_add({list})"),
        "random" => format!("rand({list})"),
        "to_varchar" => format!("to_char({list})"),
        "current_database" => format!("current_schema({list})"),
        "window" | "session_window" => name.into(),
        "ceil" | "floor" if count == 1 => format!("{}({list})", name.to_uppercase()),
        _ if UPPER.contains(&name) => format!("{}({list})", name.to_uppercase()),
        _ => aggregate::ordered(name, function, distinct, args),
    }
}

/// The arguments of `mask` in their places, with what is left out.
fn masked(function: &ast::Function, args: Vec<String>) -> Vec<String> {
    const NAMES: [&str; 5] = ["str", "upperchar", "lowerchar", "digitchar", "otherchar"];
    let mut places: Vec<String> = ["", "X", "x", "n", "NULL"].map(str::to_owned).into();
    let ast::FunctionArguments::List(list) = &function.args else { return args };
    for (index, (arg, text)) in list.args.iter().zip(args).enumerate() {
        let (place, text) = match arg {
            ast::FunctionArg::Named { name, arg: ast::FunctionArgExpr::Expr(value), .. } => {
                let name = name.value.to_lowercase();
                (NAMES.iter().position(|known| *known == name), super::pretty(value))
            }
            _ => (Some(index), text),
        };
        if let Some(place) = place.and_then(|place| places.get_mut(place)) {
            *place = text;
        }
    }
    places
}
