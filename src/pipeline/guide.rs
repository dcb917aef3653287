//! The guide's reference page of the pipeline file, written from the declared settings.

use std::fmt::Write;

use super::scalar::describe;
use super::settings::{Kind, Presence, Setting, Table};
use super::suggest::all_tables;

const PREFACE: &str = "\
# The pipeline file

<!-- Written from the declared settings: `UPDATE_DOCS=1 cargo test -p tidemill --lib pipeline::` writes it anew. -->

A pipeline is one YAML (or JSON) file: where rows come from, what to compute, where results go. `tidemill run FILE` runs it,
`tidemill check FILE` says what is wrong with it, `tidemill init` writes a first one, `tidemill schema` prints its JSON Schema for
editors.

```yaml
version: 1
name: fraud
sources:
  transactions:
    from: { socket: { connect: \"127.0.0.1:5555\" } }
    format: { json: { schema: \"name STRING, surname STRING, amount DOUBLE, delta_t DOUBLE, flag INT\" } }
queries:
  suspicious:
    sql: |
      SELECT concat(name, surname) AS userID, true AS isFraud, count(*) AS nTransactions
      FROM transactions WHERE flag = 1
      GROUP BY concat(name, surname) HAVING count(*) > 1
    output_mode: update
    trigger: 2 seconds
    to: { console: { truncate: false } }
```

One connector is one key under `from` or `to`; its settings are that key's map. Every mistake of a file is reported in one go, with
file, line and column; an unknown key is a mistake, never ignored. Names of sources, tables, views, queries and sinks are a letter,
then letters, digits, `_` or `-`, at most 100.

## Values

- **Durations**: `2s`, `500ms`, `5 minutes`, `1h 30m`; units from weeks to nanoseconds. Months and years have no fixed length and are
  refused.
- **Sizes**: `64 MiB`, `1 GiB`, `1000` (bytes); `KiB`, `MiB`, `GiB`, `TiB` count in 1024s, `kB`, `MB`, `GB`, `TB` in 1000s.
- **Paths** are relative to the file's folder.
- **References**: `${env:NAME}` stands for an environment variable, `${env:NAME:-default}` gives a default for one that is unset or
  empty, `${file:/run/secrets/x}` stands for a file's text; `$${` is a literal `${`. They are replaced inside values after the file
  has been read, so they can never change its structure. What came from a reference is a secret: messages, logs and pages show the
  reference. Names, SQL, schemas, columns and other text are shown everywhere and take none; numbers, durations, sizes and words may
  come from one and are shown as what they are.
- **Overrides**: `tidemill run FILE --set queries.suspicious.trigger=once` puts a value over the file's. The path is dotted, a list's
  items are numbered from 0 (`queries.q.to.0.console.num_rows=5`), the value is YAML.
- Anchors and aliases may be used; merge keys, tags, repeated keys and a second document are refused.

";

/// The page as it should be in `docs/pipeline-file.md`.
pub(super) fn page() -> String {
    let mut page = PREFACE.to_owned();
    for table in all_tables() {
        section(table, &mut page);
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn section(table: &Table, page: &mut String) {
    let _ = write!(page, "## {}\n\n{}\n\n", table.title, table.doc);
    if !table.branches.is_empty() {
        let keys: Vec<String> =
            table.branches.iter().map(|branch| format!("[`{}`](#{})", branch.key, anchor(branch.table.title))).collect();
        let _ = write!(page, "One {} of: {}.\n\n", table.branch, keys.join(", "));
    }
    if table.settings.is_empty() {
        if table.branches.is_empty() {
            page.push_str("It has no settings.\n\n");
        }
        return;
    }
    page.push_str("| setting | value | default | meaning |\n|---|---|---|---|\n");
    for setting in table.settings {
        let _ = writeln!(page, "| `{}` | {} | {} | {} |", setting.name, value(setting), default(setting), setting.doc);
    }
    page.push('\n');
}

fn value(setting: &Setting) -> String {
    let linked = |table: &Table| format!("[{}](#{})", table.title.to_lowercase(), anchor(table.title));
    match setting.kind {
        Kind::Named(table) => format!("names, each with {}", linked(table)),
        Kind::OneOrMore(table) => format!("{}, or a list of them", linked(table)),
        Kind::Table(table) => linked(table),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        kind => describe(kind).replace('|', "\\|"),
    }
}

fn default(setting: &Setting) -> String {
    match setting.presence {
        Presence::Required => "required".to_owned(),
        Presence::Optional => "–".to_owned(),
        Presence::Default("") => "empty".to_owned(),
        Presence::Default(text) => format!("`{text}`"),
    }
}

/// A heading's anchor as GitHub makes it.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).map(|c| if c == ' ' { '-' } else { c }).collect()
}
