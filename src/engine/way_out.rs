//! What a person can do about a query that has stopped: one table, from an error's condition to the command or the edit.
//!
//! The guide's page "When something fails" says the same at greater length; a test compares the two, and another one parses each command.

use std::path::Path;

use crate::checkpoint::storage::absolute;
use crate::error::Error;

/// A condition, or the name that [`Error::code`] has for errors without one, and what to do.
#[derive(Debug, Clone, Copy)]
pub struct WayOut {
    /// Such as `SINK_AHEAD`, or `LIMIT` for each error of that kind without an entry of its own.
    pub code: &'static str,
    /// Commands stand between backticks; `{root}`, `{query}`, `{source}`, `{sink}` and `{at}` stand for what it is about.
    text: &'static str,
}

macro_rules! ways_out {
    ($($code:literal => $text:literal,)*) => { &[$(WayOut { code: $code, text: $text },)*] };
}

const LEAVE_OUT: &str = "{leave_out}";

/// All of them.
pub const WAYS_OUT: &[WayOut] = ways_out![
    "SINK_AHEAD" => "put the checkpoint that the output belongs to back, or accept that rows are written twice: \
        `tidemill checkpoint accept {root} --query {query} --sink {sink} --at {at}`",
    "MARKER_LOST" => "put the sink's mark back, or say that its commits are in it: \
        `tidemill checkpoint accept {root} --query {query} --sink {sink} --at {at}`",
    "CKPT_CORRUPT" => "`tidemill checkpoint verify {root}` names all of it; put a copy of the whole root back, \
        or start over: `tidemill run FILE --fresh`",
    "WRONG_QUERY" => "put the checkpoint's own file back; `tidemill checkpoint verify {root}` names all that is wrong",
    "CKPT_INCOMPATIBLE" => "undo the change, or start over: `tidemill run FILE --fresh`",
    "STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA" => "undo the change, or give the query another name, or start over: \
        `tidemill run FILE --fresh`",
    "STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE" => "undo the change, or give the query another name, or start over: \
        `tidemill run FILE --fresh`",
    "STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE" => "undo the change, or give the query another name, or start over: \
        `tidemill run FILE --fresh`",
    "FENCED" => "end the process that is named, or leave the checkpoint to it; then run again",
    "PRODUCER_FENCED" => "run one of the two, or give one of them another `transactional_id`; then run again",
    "DATA_LOST" => "go on with what is left: `tidemill offsets set {root} --query {query} --source {source} --earliest --file FILE`, \
        or set `fail_on_data_loss: false`, then run again",
    "TOPIC_RECREATED" => "read the new topic from its first record: \
        `tidemill offsets set {root} --query {query} --source {source} --earliest --file FILE`, or set `fail_on_data_loss: false`; then run again",
    "FILE_CHANGED" => "put the file back as it was, or {leave_out}",
    "NEVER_CONNECTED" => "start the server, then run again",
    "UNKNOWN_TOPIC_OR_PARTITION" => "make the topic or correct its name, then run again",
    "MALFORMED_RECORD_IN_PARSING" => "set `on_malformed` to `permissive` or `drop` and run again, or {leave_out}",
    "CONFIG" => "correct what is named, then run again; `tidemill check FILE` looks for more",
    "UNAVAILABLE" => "run again when it is there",
    "NO_SPACE" => "make space, then run again",
    "DATA" => "edit the query and run again: the batch is run again with its range; or {leave_out}",
    "CORRUPT" => "`tidemill checkpoint verify {root}` tells whether the checkpoint is whole; put a copy back, or start over: \
        `tidemill run FILE --fresh`",
    "STORAGE" => "look at the disk, then run again: what was decided is on it",
    "LIMIT" => "raise the limit that is named, then run again",
    "INTERNAL" => "run again, which repeats the batch; it is a defect of Tidemill: please report it",
];

/// What stands for `{leave_out}`: how to go on behind the range of a batch that fails each time.
const LEAVING_OUT: &str = "leave its range out: `tidemill offsets show {root} --query {query}` tells where it ends, \
    `tidemill offsets set {root} --query {query} --source {source} --offset JSON` moves there";

/// What an error is about, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// The checkpoint root.
    pub root: Option<&'a Path>,
    /// The query.
    pub query: Option<&'a str>,
    /// The source, if the query has only one.
    pub source: Option<&'a str>,
}

/// The error with its way out at its end, unless it has one.
#[must_use]
pub fn complete(error: Error, about: &About<'_>) -> Error {
    if error.way_out().is_some() {
        return error;
    }
    let code = error.code();
    // A condition of Spark's without an entry is about data or the query, as its kind says.
    let found = find(code).or_else(|| find(error.kind_code()));
    let text = found.map(|way| way.text_for(&error, about));
    match text {
        Some(text) => error.with_way_out(text),
        None => error,
    }
}

/// The entry of a condition.
pub fn find(code: &str) -> Option<&'static WayOut> {
    WAYS_OUT.iter().find(|way| way.code == code)
}

impl WayOut {
    /// The text for an error; what is not known stands there in capitals.
    pub fn text_for(&self, error: &Error, about: &About<'_>) -> String {
        let root = about.root.map(|root| absolute(root).unwrap_or_else(|_| root.to_owned()).display().to_string());
        let fact = |name: &str| error.fact(name).map(str::to_owned);
        let values = [
            ("{root}", root, "ROOT"),
            ("{query}", about.query.map(str::to_owned), "QUERY"),
            ("{source}", fact("source").or_else(|| about.source.map(str::to_owned)), "SOURCE"),
            ("{sink}", fact("sink"), "SINK"),
            ("{at}", fact("at"), "N"),
        ];
        let mut text = self.text.replace(LEAVE_OUT, LEAVING_OUT);
        for (name, value, unknown) in values {
            text = text.replace(name, &value.map_or_else(|| unknown.to_owned(), |value| quoted(&value)));
        }
        text
    }
}

/// A value as one word of a command line.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:@%+,=".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_error_ends_with_what_can_be_done() {
        let about = About { root: Some(Path::new("/c k/root")), query: Some("q"), source: Some("it's") };
        let ahead = Error::spark(ErrorKind::Corrupt, "SINK_AHEAD", "ahead").with_fact("sink", "file").with_fact("at", "7");
        let told = complete(Error::new(ErrorKind::Corrupt, "stopped").because(ahead), &about).chain();
        assert!(told.ends_with("`tidemill checkpoint accept '/c k/root' --query q --sink file --at 7`"), "{told}");
        let zero = complete(Error::spark(ErrorKind::Data, "DIVIDE_BY_ZERO", "zero"), &about).chain();
        assert!(zero.contains("; to go on: edit the query and run again"), "{zero}");
        assert!(
            zero.ends_with("`tidemill offsets set '/c k/root' --query q --source 'it'\\''s' --offset JSON` moves there"),
            "{zero}"
        );
        let unknown = complete(Error::spark(ErrorKind::Data, "FILE_CHANGED", "changed"), &About::default()).chain();
        assert!(unknown.contains("`tidemill offsets show ROOT --query QUERY`"), "{unknown}");
        let once = complete(Error::new(ErrorKind::Limit, "too much"), &about);
        assert_eq!(
            complete(once, &About::default()).chain(),
            "too much; to go on: raise the limit that is named, then run again"
        );
    }

    /// The conditions that the code gives to errors that stop a query, by kind; refusals of a pipeline file are left out.
    fn conditions() -> Vec<(String, String)> {
        let given = regex::Regex::new(r#"spark\(\s*(?:crate::)?ErrorKind::(\w+),\s*(?:"(\w+)"|([A-Z_]+))"#).unwrap();
        let named = regex::Regex::new(r#"const ([A-Z_]+): &str = "([A-Z_]+)";"#).unwrap();
        let lost = regex::Regex::new(r#"\.lose\("(\w+)""#).unwrap();
        let (mut names, mut found) = (std::collections::BTreeMap::new(), Vec::new());
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut texts = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.extension() {
                    _ if path.ends_with("tests") || path.ends_with("tests.rs") => {}
                    _ if path.is_dir() => folders.push(path),
                    Some(kind) if kind == "rs" => texts.push(std::fs::read_to_string(path).unwrap()),
                    _ => {}
                }
            }
        }
        for text in &texts {
            names.extend(named.captures_iter(text).map(|found| (found[1].to_owned(), found[2].to_owned())));
        }
        for text in &texts {
            for given in given.captures_iter(text).filter(|given| &given[1] != "Config") {
                let condition = given.get(2).map(|name| name.as_str().to_owned());
                let condition = condition.or_else(|| names.get(&given[3]).cloned()).expect("a constant with a condition");
                found.push((given[1].to_owned(), condition));
            }
            found.extend(lost.captures_iter(text).map(|given| ("Data".to_owned(), given[1].to_owned())));
        }
        found.retain(|(_, condition)| condition != crate::sink::console::OUTPUT_CLOSED);
        found
    }

    #[test]
    fn each_stop_has_a_way_out_and_is_in_the_guide() {
        let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/failures.md")).unwrap();
        let conditions = conditions();
        assert!(conditions.iter().any(|(_, condition)| condition == "NEVER_CONNECTED"), "constants are followed");
        for (kind, condition) in conditions {
            // Those of Spark are told by their kind, and by the class of what they are about in the guide.
            if kind != "Data" || ["DATA_LOST", "TOPIC_RECREATED", "FILE_CHANGED"].contains(&condition.as_str()) {
                assert!(find(&condition).is_some(), "{condition} has no way out");
            }
        }
        let by_kind = |code: &str| ErrorKind::ALL.iter().any(|kind| Error::new(*kind, "").kind_code() == code);
        for way in WAYS_OUT.iter().filter(|way| !by_kind(way.code)) {
            assert!(guide.contains(&format!("`{}`", way.code)), "docs/failures.md does not tell of {}", way.code);
        }
        assert!(ErrorKind::ALL.iter().all(|kind| find(Error::new(*kind, "").kind_code()).is_some()), "each kind has one");
    }
}
