//! The guide is true: its pipelines can be planned, its links lead somewhere, its list of functions is the one there is.

use std::fs;
use std::path::{Path, PathBuf};

use tidemill::engine::start;
use tidemill::pipeline;
use tidemill::plan::spark::functions::missing::{MISSING, Missing};
use tidemill::plan::spark::functions::{FAMILIES, Family, FunctionSpec, find};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The README, the other pages beside it, and everything under `docs/`.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        paths.push(root().join(name));
    }
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The blocks of a page that are whole pipelines.
pub(crate) fn pipelines(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```").map(|(block, _)| block));
    blocks.filter(|block| block.contains("\nqueries:"))
}

/// The blocks of a page that are files in Python, each with the name in its first line.
pub(crate) fn programs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let blocks = text.split("```python\n# ").skip(1).filter_map(|rest| rest.split_once("```").map(|(block, _)| block));
    blocks.filter_map(|block| block.split_once('\n'))
}

#[test]
fn every_pipeline_of_the_guide_can_be_planned() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("users.csv"), "name,city\nann,Oslo\n").unwrap();
    let mut planned = 0;
    for (path, text) in pages() {
        for (name, code) in programs(&text) {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, code).unwrap();
        }
        for block in pipelines(&text) {
            let shown = path.display().to_string();
            let pipeline = pipeline::parse(block, &shown, folder.path(), &[], &|_: &str| None)
                .unwrap_or_else(|error| panic!("{shown}: {error}"));
            runtime.block_on(start::plan_all(&pipeline)).unwrap_or_else(|error| panic!("{shown}: {}", error.chain()));
            planned += 1;
        }
    }
    assert!(planned > 20, "only {planned} pipelines were found");
}

#[test]
fn every_link_of_the_guide_leads_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in pages() {
        let folder = path.parent().unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target)) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = if file.is_empty() { path.clone() } else { folder.join(file) };
            if !linked.exists() || !anchor.is_empty() && !anchors(&linked).contains(&anchor.to_owned()) {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The names that a page's headings get: lower case, without punctuation, hyphens for spaces.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings.map(|heading| heading.chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn the_guide_lists_every_function() {
    let path = root().join("docs/functions.md");
    let text = fs::read_to_string(&path).unwrap();
    let filled = fill(&text, "<!-- functions", &FAMILIES.iter().map(family).collect::<String>());
    let filled = fill(&filled, "<!-- missing", &missing());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &filled).unwrap();
    } else {
        assert_eq!(filled, text, "the functions have changed: UPDATE_DOCS=1 cargo test --test it docs::");
    }
}

/// What Spark has beside that: a table, a line per reason. A function that there is does not belong there.
fn missing() -> String {
    let mut text = String::from("| what | functions | why, and what helps |\n|---|---|---|\n");
    for Missing { title, reason, names } in MISSING {
        for name in *names {
            assert!(find(name).is_none(), "{name} is a function: take it off the table of missing ones");
        }
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        text.push_str(&format!("| {title} | {} | {reason} |\n", names.join(", ")));
    }
    text
}

/// A heading and a table, a line per function.
fn family(family: &Family) -> String {
    let mut text = format!("## {}\n\n| | | |\n|---|---|---|\n", family.title);
    for FunctionSpec { signature, doc, example, .. } in family.functions {
        let example = example.split_once(" → ").map(|(call, result)| format!("`{call}` → `{result}`")).unwrap_or_default();
        let cells = [&format!("`{signature}`"), *doc, &example].map(|cell| cell.replace('|', "\\|"));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text + "\n"
}

/// `text` with `list` between the line that begins with `mark` and the next `<!-- end -->`.
fn fill(text: &str, mark: &str, list: &str) -> String {
    let (before, rest) = text.split_once(mark).expect("the page has its marks");
    let (line, rest) = rest.split_once('\n').expect("the mark is a line");
    let (_, after) = rest.split_once("<!-- end -->").expect("the list has an end");
    format!("{before}{mark}{line}\n{list}<!-- end -->{after}")
}
