//! The rules of the house that a compiler does not check.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest file without its tests, in lines.
const FILE_LINES_MAX: usize = 600;
/// Longest function, in lines.
const FUNCTION_LINES_MAX: usize = 70;

struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Its lines without the `#[cfg(test)]` module at its end.
    fn lines(&self) -> Vec<&str> {
        let end = self.text.find("\n#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        self.text[..end].lines().collect()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                walk(&path, wanted, found);
            }
        } else if wanted(&path) {
            found.push(path);
        }
    }
}

/// Rust files of the crates themselves; files called `tests.rs` or under a folder `tests` are left out.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["src", "librdkafka/src", "producer/src"] {
        walk(&root().join(folder), &|path| path.extension().is_some_and(|ext| ext == "rs"), &mut paths);
    }
    paths
        .into_iter()
        .map(|path| Source {
            name: path.strip_prefix(root()).unwrap().display().to_string(),
            text: fs::read_to_string(path).unwrap(),
        })
        .filter(|source| !source.name.ends_with("tests.rs") && !source.name.contains("/tests/"))
        .collect()
}

fn assert_none(what: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{what}:\n  {}", broken.join("\n  "));
}

#[test]
fn files_stay_short() {
    let long = |source: &Source| {
        (source.lines().len() > FILE_LINES_MAX).then(|| format!("{} has {} lines", source.name, source.lines().len()))
    };
    assert_none("a file of more than 600 lines is two ideas", sources().iter().filter_map(long).collect());
}

#[test]
fn functions_stay_short() {
    let mut broken = Vec::new();
    for source in sources() {
        let lines = source.lines();
        for (at, line) in lines.iter().enumerate() {
            let body = line.trim_start();
            let indent = &line[..line.len() - body.len()];
            let starts =
                ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(super) fn ", "pub(crate) fn ", "pub(super) async fn "];
            if !starts.iter().any(|start| body.starts_with(start)) {
                continue;
            }
            // A signature that ends in `;` has no body.
            let opens = lines[at..].iter().position(|line| line.ends_with('{'));
            let ends = lines[at..].iter().position(|line| line.ends_with(';'));
            if ends.is_some_and(|ends| opens.is_none_or(|opens| ends < opens)) {
                continue;
            }
            let close = format!("{indent}}}");
            let end = lines[at..].iter().position(|line| *line == close);
            if let Some(length) = end.filter(|length| length + 1 > FUNCTION_LINES_MAX) {
                broken.push(format!("{}:{} is {} lines long: {}", source.name, at + 1, length + 1, body.trim_end_matches(" {")));
            }
        }
    }
    assert_none("a function of more than 70 lines is two ideas", broken);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |source: &Source| (!source.text.starts_with("//!")).then(|| source.name.clone());
    assert_none("a module opens with `//!`", sources().iter().filter_map(silent).collect());
}

#[test]
fn unsafe_code_stays_where_it_is() {
    let allowed = [
        "src/format/json/simd.rs",
        "librdkafka/src/lib.rs",
        "librdkafka/src/client.rs",
        "librdkafka/src/producer.rs",
        "librdkafka/src/queue.rs",
    ];
    let other = |source: &&Source| source.text.contains("allow(unsafe_code)") && !allowed.contains(&source.name.as_str());
    assert_none("unsafe code has its files", sources().iter().filter(other).map(|source| source.name.clone()).collect());
    for source in sources().iter().filter(|source| allowed[1..].contains(&source.name.as_str())) {
        let lines = source.lines();
        for (number, line) in
            lines.iter().enumerate().filter(|(_, line)| line.contains("unsafe {") || line.contains("unsafe impl"))
        {
            let before = &lines[number.saturating_sub(6)..number];
            assert!(before.iter().any(|line| line.contains("// SAFETY:")), "{}:{}: {line}", source.name, number + 1);
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let words = ["TODO", "FIXME", "unimplemented!", "todo!"];
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{}:{}: {}", source.name, number + 1, line.trim()));
            }
        }
    }
    assert_none("what is not done is not there", broken);
}

/// What a part of the crate must not mention, and why.
const LAYERS: &[(&str, &[&str], &str)] = &[
    ("src/plan/", &["std::fs", "std::net", "tokio::net", "SystemTime"], "plans do no I/O and read no clock"),
    ("src/operator/", &["std::fs", "std::net", "tokio::", "SystemTime"], "operators do no I/O and read no clock"),
    (
        "src/checkpoint/",
        &["Offset::decode", ".decode::<", "crate::sink", "crate::plan"],
        "a checkpoint interprets nothing it keeps",
    ),
    ("src/source/", &["crate::engine"], "only engine/ knows the order of the protocol"),
    ("src/format/", &["crate::engine", "crate::plan::streaming"], "formats know bytes and columns only"),
    ("src/sink/", &["crate::engine"], "only engine/ knows the order of the protocol"),
    ("src/state/", &["crate::engine", "std::fs"], "state does no I/O of its own"),
    ("src/pipeline/", &["crate::engine"], "a pipeline says what to run, not how"),
];

#[test]
fn layers_hold() {
    let mut broken = Vec::new();
    for source in sources() {
        for (folder, words, why) in LAYERS {
            if !source.name.starts_with(folder) {
                continue;
            }
            for (number, line) in source.lines().iter().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if let Some(word) = words.iter().find(|word| code.contains(**word)) {
                    broken.push(format!("{}:{} mentions {word}: {why}", source.name, number + 1));
                }
            }
        }
    }
    assert_none("a layer is crossed", broken);
}

#[test]
fn nothing_committed_names_a_machine() {
    let mut paths = Vec::new();
    let text = ["rs", "md", "toml", "yaml", "yml", "json", "py", "sh"];
    walk(&root(), &|path| path.extension().is_some_and(|ext| text.iter().any(|known| ext == *known)), &mut paths);
    let needles = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("crates", ".io/api"), concat!("index.crates", ".io")];
    let mut broken = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for needle in needles {
            if text.contains(needle) {
                broken.push(format!("{} holds {needle}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert_none("machine paths and registry hosts stay out of the repository", broken);
}
