//! `${env:NAME}`, `${env:NAME:-default}`, `${file:/path}` and `$${` inside values.
//!
//! They are replaced after the file has become a tree, so that what they stand for can never change the structure, and what came
//! from one is a secret from then on.

use std::path::Path;

use super::text::Text;
use crate::function::http::Template;

/// Where references are looked up.
#[derive(Clone, Copy)]
pub(super) struct Lookup<'a> {
    /// The value of an environment variable.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// The folder that relative paths are seen from.
    pub(super) folder: &'a Path,
}

/// One piece of a value.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Literal(&'a str),
    Env { name: &'a str, default: Option<&'a str> },
    File(&'a str),
}

/// `raw` with its references replaced, or what is wrong with one of them.
pub(super) fn resolve(raw: &str, lookup: Lookup<'_>) -> Result<Text, String> {
    let mut value = String::with_capacity(raw.len());
    let mut secret = false;
    let pieces = pieces(raw)?;
    // A file alone can be read again when its secret has changed.
    let mut others = pieces.iter().filter(|piece| **piece != Piece::Literal(""));
    if let (Some(Piece::File(path)), None) = (others.next(), others.next()) {
        return from_file(path, lookup);
    }
    for piece in pieces {
        match piece {
            Piece::Literal(text) => value.push_str(text),
            Piece::Env { name, default } => {
                secret = true;
                value.push_str(&from_env(name, default, lookup)?);
            }
            Piece::File(path) => {
                secret = true;
                value.push_str(from_file(path, lookup)?.expose());
            }
        }
    }
    Ok(if secret { Text::secret(value, raw) } else { Text::plain(value) })
}

/// `raw` with `$${` replaced, for values that are shown everywhere and so take no reference.
pub(super) fn resolve_literal(raw: &str) -> Result<String, String> {
    pieces(raw)?
        .into_iter()
        .map(|piece| match piece {
            Piece::Literal(text) => Ok(text),
            Piece::Env { .. } | Piece::File(_) => {
                Err("a reference cannot stand here: what it stands for is a secret, and this is shown".to_owned())
            }
        })
        .collect()
}

/// `raw` as a template: what references stand for is text, braces and all.
pub(super) fn resolve_template(raw: &str, lookup: Lookup<'_>) -> Result<Template, String> {
    let mut template = Template::default();
    let mut shown = raw;
    for piece in pieces(raw)? {
        match piece {
            Piece::Literal("${") => template.push_text(Text::plain("${")),
            Piece::Literal(text) => template.push(text)?,
            Piece::Env { name, default } => {
                template.push_text(Text::secret(from_env(name, default, lookup)?, reference_in(&mut shown)))
            }
            Piece::File(path) => {
                reference_in(&mut shown);
                template.push_text(from_file(path, lookup)?);
            }
        }
    }
    Ok(template)
}

/// The next reference of `rest` as it is written, which `rest` then begins after.
fn reference_in<'a>(rest: &mut &'a str) -> &'a str {
    let mut at = 0;
    while let Some(found) = rest[at..].find("${") {
        let start = at + found;
        if !rest[..start].ends_with('$') {
            let end = start + rest[start..].find('}').map_or(rest.len() - start, |end| end + 1);
            let written = &rest[start..end];
            *rest = &rest[end..];
            return written;
        }
        at = start + 2;
    }
    rest
}

fn pieces(raw: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = raw;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            // `$${` is a literal `${`: the first dollar goes.
            pieces.push(Piece::Literal(&rest[..start - 1]));
            pieces.push(Piece::Literal("${"));
            rest = &rest[start + 2..];
            continue;
        }
        pieces.push(Piece::Literal(&rest[..start]));
        let inner = &rest[start + 2..];
        let end = inner.find('}').ok_or("expected a closing } after ${ (write $${ for a literal ${)")?;
        pieces.push(reference(&inner[..end])?);
        rest = &inner[end + 1..];
    }
    pieces.push(Piece::Literal(rest));
    Ok(pieces)
}

fn reference(inner: &str) -> Result<Piece<'_>, String> {
    if let Some(rest) = inner.strip_prefix("env:") {
        let (name, default) = match rest.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (rest, None),
        };
        if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Ok(Piece::Env { name, default });
        }
    }
    if let Some(path) = inner.strip_prefix("file:").filter(|path| !path.is_empty() && !path.contains('\0')) {
        return Ok(Piece::File(path));
    }
    Err("expected ${env:NAME}, ${env:NAME:-default} or ${file:/path} (write $${ for a literal ${)".to_owned())
}

/// With a default an empty variable counts as unset, as in a shell.
fn from_env(name: &str, default: Option<&str>, lookup: Lookup<'_>) -> Result<String, String> {
    match ((lookup.env)(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("environment variable {name} is not set (write ${{env:{name}:-…}} to give a default)")),
    }
}

fn from_file(path: &str, lookup: Lookup<'_>) -> Result<Text, String> {
    Text::of_file(&lookup.folder.join(path), format!("${{file:{path}}}")).map_err(|why| format!("could not read {path}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Result<&str, &str>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("token"), "s3cret\n").expect("written");
        std::fs::write(folder.path().join("large"), "x".repeat(70_000)).expect("written");
        let env = |name: &str| match name {
            "HOST" => Some("example.org".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${env:HOST}".to_owned()),
            _ => None,
        };
        let text = resolve(raw, Lookup { env: &env, folder: folder.path() });
        assert_eq!(text.as_ref().map(Text::expose), expected.map_err(str::to_owned).as_deref(), "{raw}");
        if let Ok(text) = text {
            assert_eq!(text.is_secret(), text.expose() != raw.replace("$${", "${"), "{raw}");
        }
    }

    #[test]
    fn references_are_replaced() {
        check("plain $5 {x} $", Ok("plain $5 {x} $"));
        check("${env:HOST}:5555", Ok("example.org:5555"));
        check("${env:NONE:-localhost}:5555", Ok("localhost:5555"));
        check("${env:EMPTY:-localhost}", Ok("localhost"));
        check("${env:NONE:-}", Ok(""));
        check("a$${env:HOST}b${env:HOST}", Ok("a${env:HOST}bexample.org"));
        check("${file:token}", Ok("s3cret"));
    }

    #[test]
    fn what_a_reference_stands_for_is_not_read_again() {
        check("${env:NESTED}", Ok("${env:HOST}"));
    }

    #[test]
    fn wrong_references_say_what_was_expected() {
        check("${env:NONE}", Err("environment variable NONE is not set (write ${env:NONE:-…} to give a default)"));
        check("${env:HOST", Err("expected a closing } after ${ (write $${ for a literal ${)"));
        check("${HOST}", Err("expected ${env:NAME}, ${env:NAME:-default} or ${file:/path} (write $${ for a literal ${)"));
        check("${file:missing}", Err("could not read missing: No such file or directory (os error 2)"));
        check("${file:large}", Err("could not read large: larger than 64 KiB"));
        check("${file:.}", Err("could not read .: not a file"));
    }

    #[test]
    fn a_secret_shows_as_its_reference() {
        let env = |_: &str| Some("hunter2".to_owned());
        let text = resolve("${env:P}@x", Lookup { env: &env, folder: Path::new(".") }).expect("resolved");
        assert_eq!(format!("{text} {text:?}"), "${env:P}@x \"${env:P}@x\"");
    }
}
