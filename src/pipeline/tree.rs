//! YAML (JSON is YAML) → a tree in which everything knows where it stands.
//!
//! The tree is bounded before anything is copied: nesting, size and what aliases expand to. A key that appears twice, a tag, a
//! merge key and a second document are refused, because each would let a setting be read otherwise than it looks.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use super::problem::{Place, Problems};
use super::spec::Position;

pub(super) const FILE_BYTES_MAX: usize = 1 << 20;
const WEIGHT_MAX: usize = 10_000;
const DEPTH_MAX: usize = 32;

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
    /// Whether it is a scalar in quotes, which is text whatever it looks like.
    pub(super) quoted: bool,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Nothing: `~`, `null` or an empty value.
    Nothing,
    /// Text as written: what it means is for the setting to say. Numbers and booleans are text too.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in file order.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) text: String,
}

impl Node {
    /// An empty map, which takes every default.
    pub(super) fn empty_map(place: Place) -> Self {
        Self::new(place, Content::Map(Vec::new()))
    }

    /// What is not in quotes.
    pub(super) fn new(place: Place, content: Content) -> Self {
        Self { place, content, quoted: false }
    }

    /// How many values it holds; long text weighs one more per KiB, so that a copy of it is bounded too.
    fn weight(&self) -> usize {
        match &self.content {
            Content::Nothing => 1,
            Content::Scalar(text) => text_weight(text),
            Content::List(items) => 1 + items.iter().map(Self::weight).sum::<usize>(),
            Content::Map(entries) => {
                1 + entries.iter().map(|(key, value)| text_weight(&key.text) + value.weight()).sum::<usize>()
            }
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.content {
            Content::Nothing | Content::Scalar(_) => 0,
            Content::List(items) => items.iter().map(Self::depth).max().unwrap_or(0),
            Content::Map(entries) => entries.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
        }
    }

    fn put_at(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.content {
            Content::Nothing | Content::Scalar(_) => {}
            Content::List(items) => items.iter_mut().for_each(|item| item.put_at(place)),
            Content::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
                key.place = place.clone();
                value.put_at(place);
            }),
        }
    }
}

/// The tree of `text`; what is wrong goes to `problems`, and there is no tree then.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > FILE_BYTES_MAX {
        problems.add(&Place::File, "expected a pipeline file of at most 1 MiB");
        return None;
    }
    let mut builder = Builder::default();
    let read = builder.run(&without_surrogates(text.strip_prefix('\u{feff}').unwrap_or(text)));
    let fatal = read.is_err();
    for (place, message) in builder.refusals.into_iter().chain(read.err()) {
        problems.add(&place, message);
    }
    (!fatal).then(|| builder.root.unwrap_or_else(|| Node::empty_map(Place::File)))
}

/// The tree of a value given on the command line; every part of it stands at `place`.
pub(super) fn parse_override(value: &str, place: &Place) -> Result<Node, String> {
    let mut builder = Builder::default();
    builder.run(value).map_err(|(_, message)| message)?;
    if let Some((_, message)) = builder.refusals.pop() {
        return Err(message);
    }
    let mut node = builder.root.unwrap_or(Node::new(place.clone(), Content::Nothing));
    node.put_at(place);
    Ok(node)
}

type Refusal = (Place, String);

/// Builds the tree from the parser's events without recursion, so that nesting costs no stack.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    weight: usize,
    root: Option<Node>,
    documents: usize,
    /// What is wrong but leaves the structure clear, so that the rest can be checked too.
    refusals: Vec<Refusal>,
}

/// A list or map whose end has not come yet.
struct Open {
    anchor: usize,
    place: Place,
    content: Content,
    key: Option<Key>,
}

impl Builder {
    fn run(&mut self, text: &str) -> Result<(), Refusal> {
        let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str(text);
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| (at(*error.marker()), format!("not valid YAML: {}", error.info())))?;
            self.take(event, span)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Refusal> {
        let place = at(span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 { Err((place, "expected one YAML document, found a second".to_owned())) } else { Ok(()) }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.untagged(&place, tag.is_some());
                let nothing = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                self.room(&place, text_weight(&text), 0)?;
                let content = if nothing { Content::Nothing } else { Content::Scalar(text.into_owned()) };
                self.close(anchor, Node { place, content, quoted: style != ScalarStyle::Plain })
            }
            Event::SequenceStart(anchor, tag) => {
                self.untagged(&place, tag.is_some());
                self.open(anchor, place, Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.untagged(&place, tag.is_some());
                self.open(anchor, place, Content::Map(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop().expect("the parser closes what it opened");
                self.close(open.anchor, Node::new(open.place, open.content))
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err((place, "expected an anchor that stands above, outside of this value".to_owned()));
                };
                let (weight, depth) = (node.weight(), node.depth());
                let node = node.clone();
                self.room(&place, weight, depth)?;
                self.close(0, node)
            }
        }
    }

    fn untagged(&mut self, place: &Place, tagged: bool) {
        if tagged {
            self.refusals.push((place.clone(), "YAML tags are not supported".to_owned()));
        }
    }

    /// Counts what is about to be added; refuses what would make the tree too large.
    fn room(&mut self, place: &Place, weight: usize, depth: usize) -> Result<(), Refusal> {
        self.weight += weight;
        if self.weight > WEIGHT_MAX {
            return Err((place.clone(), format!("expected at most {WEIGHT_MAX} values, aliases written out")));
        }
        if self.open.len() + depth > DEPTH_MAX {
            return Err((place.clone(), format!("expected at most {DEPTH_MAX} levels of nesting")));
        }
        Ok(())
    }

    fn open(&mut self, anchor: usize, place: Place, content: Content) -> Result<(), Refusal> {
        self.room(&place, 1, 1)?;
        if let Some(Open { content: Content::Map(_), key: None, .. }) = self.open.last() {
            return Err((place, "expected a key, found a list or map".to_owned()));
        }
        self.open.push(Open { anchor, place, content, key: None });
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn close(&mut self, anchor: usize, node: Node) -> Result<(), Refusal> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut parent.content, parent.key.take()) {
            (Content::List(items), _) => items.push(node),
            (Content::Map(entries), Some(key)) => entries.push((key, node)),
            (Content::Map(entries), None) => parent.key = Some(key(entries, node, &mut self.refusals)?),
            (Content::Nothing | Content::Scalar(_), _) => unreachable!("only lists and maps are opened"),
        }
        Ok(())
    }
}

fn key(entries: &[(Key, Node)], node: Node, refusals: &mut Vec<Refusal>) -> Result<Key, Refusal> {
    let Content::Scalar(text) = node.content else {
        return Err((node.place, "expected a key".to_owned()));
    };
    if let Some((first, _)) = entries.iter().find(|(key, _)| key.text == text) {
        let line = first.place.position().map_or(0, |position| position.line);
        refusals.push((node.place.clone(), format!("\"{}\" is given twice, first on line {line}", text.escape_debug())));
    }
    Ok(Key { place: node.place, text })
}

/// JSON writes characters beyond the first 65,536 as two escapes (`\ud83d\ude00`), the one thing in it that is not YAML: in a file
/// that is JSON they are put as YAML has them (`\U0001f600`).
fn without_surrogates(text: &str) -> Cow<'_, str> {
    let is_json = text.contains("\\u") && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if !is_json {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('\\') {
        let (before, escape) = rest.split_at(start);
        out.push_str(before);
        let unit = |at: usize| escape.get(at..at + 4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let pair = match (escape.get(..2), unit(2), escape.get(6..8), unit(8)) {
            (Some("\\u"), Some(high), Some("\\u"), Some(low)) => char::decode_utf16([high, low]).next().and_then(Result::ok),
            _ => None,
        };
        match pair.filter(|c| *c > '\u{ffff}') {
            Some(c) => {
                out.push_str(&format!("\\U{:08x}", u32::from(c)));
                rest = &escape[12..];
            }
            None => {
                // The escape and what it escapes, so that an escaped backslash escapes nothing.
                let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&escape[..length]);
                rest = &escape[length..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn text_weight(text: &str) -> usize {
    1 + text.len() / 1024
}

fn at(marker: Marker) -> Place {
    Place::At(Position { line: marker.line(), column: marker.col() + 1 })
}
