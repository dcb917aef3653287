//! Jobs that run a bounded pipeline to its end.

use std::fs;

use crate::data::{size, transactions};
use crate::measure::{Figures, tidemill, to_end};
use crate::{Bench, Outcome};

/// The columns of a transaction.
pub(crate) const COLUMNS: &str = "name STRING, surname STRING, amount DOUBLE, delta_t DOUBLE, flag INT";

/// The demo's query.
pub(crate) const FRAUD: &str = "SELECT concat(name, surname) AS userID, true AS isFraud, count(*) AS nTransactions FROM transactions \
                                WHERE flag = 1 GROUP BY concat(name, surname) HAVING count(*) > 1";

/// One row in ten, to JSON files.
pub(crate) fn filter(bench: &Bench) -> Outcome {
    let sql = "SELECT * FROM transactions WHERE flag = 1";
    pipeline(bench, "filter", 64, COLUMNS, sql, "append", "{ file: { path: out/ }, format: json }")
}

/// The demo's query.
pub(crate) fn fraud(bench: &Bench) -> Outcome {
    pipeline(bench, "fraud", 64, COLUMNS, FRAUD, "update", "{ discard: {} }")
}

/// A million keys in state.
pub(crate) fn keys_1m(bench: &Bench) -> Outcome {
    let sql = "SELECT user, count(*) AS n, sum(amount) AS total, max(amount) AS largest FROM transactions GROUP BY user";
    let columns = format!("{COLUMNS}, user STRING");
    pipeline(bench, "keys_1m", 1_000_000, &columns, sql, "update", "{ discard: {} }")
}

/// All columns of all rows, to the discard sink.
pub(crate) fn columns(bench: &Bench) -> Outcome {
    pipeline(bench, "columns", 64, COLUMNS, "SELECT * FROM transactions", "append", "{ discard: {} }")
}

/// The same with ten functions of as many families.
pub(crate) fn functions(bench: &Bench) -> Outcome {
    let sql = "SELECT upper(name) AS a, concat_ws(' ', name, surname) AS b, regexp_replace(surname, '[aeiou]', '_') AS c, \
               round(amount, 1) AS d, CAST(amount AS STRING) AS e, CASE WHEN amount > 100 THEN 'high' ELSE 'low' END AS f, \
               date_format(timestamp_seconds(delta_t), 'yyyy-MM-dd HH:mm:ss') AS g, xxhash64(name, surname) AS h, \
               transform(array(amount, delta_t), x -> x * 2) AS i, format_number(delta_t, 2) AS j FROM transactions";
    pipeline(bench, "functions", 64, COLUMNS, sql, "append", "{ discard: {} }")
}

fn pipeline(bench: &Bench, job: &str, users: u32, columns: &str, sql: &str, mode: &str, sink: &str) -> Outcome {
    let (input, folder) = (transactions(bench, users)?, bench.folder(job)?);
    let file = folder.join("pipeline.yaml");
    let text = format!(
        "version: 1\nname: bench\ncheckpoint: checkpoint\nsources:\n  transactions:\n    from: {{ file: {{ path: {input:?}, max_files_per_trigger: 1 }} }}\n    \
         format: {{ json: {{ schema: {columns:?} }} }}\nqueries:\n  {job}:\n    sql: {sql:?}\n    output_mode: {mode}\n    \
         trigger: available_now\n    to: {sink}\n"
    );
    fs::write(&file, text)?;
    let file = file.to_str().ok_or("a path that is not UTF-8")?;
    let figures = to_end(tidemill(&["run", file, "--quiet"]))?;
    Ok(Figures { rows: Some(bench.rows), bytes: Some(size(&input)?), ..figures })
}
