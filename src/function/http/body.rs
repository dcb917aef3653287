//! The JSON body of a call. A text that is nothing but `{argument}` becomes the value as JSON, other texts hold it as text.

use arrow::datatypes::Fields;
use bytes::Bytes;

use crate::function::CallError;
use crate::function::arguments::{Arguments, Filling, Place};
use crate::function::template::Template;
use crate::pipeline::Text;

/// A JSON tree with places for arguments.
#[derive(Debug, Clone, PartialEq)]
pub enum BodyTree {
    /// A number, a boolean or null, as written.
    Plain(serde_json::Value),
    /// A text with places.
    Text(Template),
    /// An array.
    List(Vec<BodyTree>),
    /// An object, in the order of the file.
    Object(Vec<(String, BodyTree)>),
}

/// A body as what is to be written one after the other.
#[derive(Debug)]
pub(super) struct Body(Vec<Part>);

#[derive(Debug)]
enum Part {
    /// JSON as it stands.
    Json(Text),
    /// A value as JSON.
    Value(Place),
    /// A value in the midst of a text.
    Within(Place),
}

impl Body {
    pub(super) fn new(tree: &BodyTree, args: &Fields) -> Result<Self, String> {
        let mut parts = Vec::new();
        compile(tree, args, &mut parts)?;
        Ok(Self(parts))
    }

    /// The bytes of a call's body.
    pub(super) fn fill(&self, args: &Arguments) -> Result<Bytes, CallError> {
        let mut out = Vec::with_capacity(256);
        for part in &self.0 {
            match part {
                Part::Json(text) => out.extend_from_slice(text.expose().as_bytes()),
                Part::Value(place) => args.write_json(*place, &mut out)?,
                Part::Within(place) => {
                    let text = args.text(*place)?.ok_or_else(|| args.is_null(*place, "the body"))?;
                    out.extend_from_slice(escaped(&text).as_bytes());
                }
            }
        }
        Ok(Bytes::from(out))
    }
}

fn compile(tree: &BodyTree, args: &Fields, out: &mut Vec<Part>) -> Result<(), String> {
    match tree {
        BodyTree::Plain(value) => push(out, &value.to_string()),
        BodyTree::Text(template) => {
            let filling = Filling::new(template.clone(), args)?;
            if let (Some(_), Some(Err(place))) = (template.only_arg(), filling.parts().next()) {
                out.push(Part::Value(place));
                return Ok(());
            }
            push(out, "\"");
            for part in filling.parts() {
                match part {
                    Ok(text) if text.is_secret() => out.push(Part::Json(Text::secret(escaped(text.expose()), text.shown()))),
                    Ok(text) => push(out, &escaped(text.expose())),
                    Err(place) => out.push(Part::Within(place)),
                }
            }
            push(out, "\"");
        }
        BodyTree::List(items) => {
            for (nth, item) in items.iter().enumerate() {
                push(out, if nth == 0 { "[" } else { "," });
                compile(item, args, out)?;
            }
            push(out, if items.is_empty() { "[]" } else { "]" });
        }
        BodyTree::Object(entries) => {
            for (nth, (key, value)) in entries.iter().enumerate() {
                push(out, if nth == 0 { "{" } else { "," });
                push(out, &format!("\"{}\":", escaped(key)));
                compile(value, args, out)?;
            }
            push(out, if entries.is_empty() { "{}" } else { "}" });
        }
    }
    Ok(())
}

/// Adds JSON to what stands before, if that is no secret.
fn push(out: &mut Vec<Part>, json: &str) {
    match out.last_mut() {
        Some(Part::Json(text)) if !text.is_secret() => *text = Text::plain(format!("{}{json}", text.expose())),
        _ => out.push(Part::Json(Text::plain(json))),
    }
}

/// `text` as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
