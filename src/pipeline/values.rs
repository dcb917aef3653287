//! The tree held against the declared settings: every setting with its value or default, every mistake noted.

use super::problem::{Place, Problems};
use super::reference::{self, Lookup};
use super::scalar::{Refused, Scalar, check_name, describe, quoted, read};
use super::settings::{Kind, Presence, Setting, Table};
use super::suggest;
use super::text::Text;
use super::tree::{Content, Key, Node};
use crate::function::Returns;
use crate::function::http::{BodyTree, Template};

/// A map of the file, read.
#[derive(Debug)]
pub(super) struct Values {
    /// Where the map stands.
    pub(super) place: Place,
    /// Dotted path in messages; empty for the file itself.
    pub(super) path: String,
    /// The connector or format that was chosen.
    pub(super) branch: Option<(&'static str, Box<Values>)>,
    /// Whether every setting that stands in the map is right.
    is_right: bool,
    entries: Vec<(&'static str, Entry)>,
}

/// A setting, read.
#[derive(Debug)]
struct Entry {
    /// Where it was given; `None` if the value is the default.
    given: Option<Place>,
    value: Value,
}

/// What a setting holds.
#[derive(Debug)]
enum Value {
    Scalar(Scalar),
    Scalars(Vec<Scalar>),
    Map(Values),
    Maps(Vec<(Key, Values)>),
    Properties(Vec<(Key, Text)>),
    Templates(Vec<(Key, Template)>),
    Body(BodyTree),
    Tree(serde_json::Value),
    List(Vec<Values>),
}

/// What reading needs throughout.
pub(super) struct Reading<'a> {
    pub(super) lookup: Lookup<'a>,
    pub(super) problems: &'a mut Problems,
}

impl Values {
    /// Reads `node` as a map of `table`. What the map lacks is said at `place`, and under `path`.
    pub(super) fn read(table: &'static Table, node: &Node, place: &Place, path: String, reading: &mut Reading<'_>) -> Self {
        let mut values = Self { place: place.clone(), path, branch: None, is_right: true, entries: Vec::new() };
        match &node.content {
            Content::Map(entries) => values.read_entries(table, entries, reading),
            Content::Nothing => values.read_entries(table, &[], reading),
            // A bare name stands for a connector or format with its defaults.
            Content::Scalar(name) if !table.branches.is_empty() => {
                let key = Key { place: node.place.clone(), text: name.trim().to_owned() };
                values.read_entries(table, &[(key, Node::empty_map(node.place.clone()))], reading);
            }
            Content::Scalar(_) | Content::List(_) => {
                let expected = describe(Kind::Table(table));
                reading.problems.add(&node.place, values.about("", &format!("expected {expected}, found {}", found(node))));
            }
        }
        values
    }

    fn read_entries(&mut self, table: &'static Table, entries: &[(Key, Node)], reading: &mut Reading<'_>) {
        for (key, node) in entries {
            if let Some(branch) = table.branch(&key.text) {
                let inner = Self::read(branch.table, node, &key.place, self.child(branch.key), reading);
                if let Some((first, _)) = &self.branch {
                    let message = format!("expected one {}, found {first} and {}", table.branch, branch.key);
                    reading.problems.add(&key.place, self.about("", &message));
                }
                self.branch = Some((branch.key, Box::new(inner)));
            } else if let Some(setting) = table.setting(&key.text) {
                if let Some(value) = self.read_setting(setting, key, node, reading) {
                    self.entries.push((setting.name, Entry { given: Some(key.place.clone()), value }));
                } else {
                    self.is_right = false;
                }
            } else {
                let message = self.unknown(table, &key.text);
                reading.problems.add(&key.place, message);
            }
        }
        let given = |name: &str| entries.iter().any(|(key, _)| key.text == name);
        let known_branch =
            !entries.iter().any(|(key, _)| table.setting(&key.text).is_none() && table.branch(&key.text).is_none());
        if !table.branches.is_empty() && self.branch.is_none() && known_branch {
            let message = format!("expected a {}: {}", table.branch, table.branch_names());
            reading.problems.add(&self.place, self.about("", &message));
        }
        for setting in table.settings.iter().filter(|setting| !given(setting.name)) {
            self.take_default(setting, reading);
        }
    }

    fn take_default(&mut self, setting: &'static Setting, reading: &mut Reading<'_>) {
        let value = match (setting.presence, setting.kind) {
            (Presence::Required, _) => {
                let message = format!("expected {}: {}", setting.name, describe(setting.kind));
                reading.problems.add(&self.place, self.about("", &message));
                return;
            }
            (Presence::Default(text), kind) => {
                Value::Scalar(read(kind, text, reading.lookup).expect("a declared default is right"))
            }
            // A map of limits that was not given has its own defaults; a sink or format that was not given is none.
            (Presence::Optional, Kind::Table(table)) if table.has_defaults() => Value::Map(Self::read(
                table,
                &Node::empty_map(self.place.clone()),
                &self.place,
                self.child(setting.name),
                reading,
            )),
            (Presence::Optional, _) => return,
        };
        self.entries.push((setting.name, Entry { given: None, value }));
    }

    fn read_setting(&self, setting: &'static Setting, key: &Key, node: &Node, reading: &mut Reading<'_>) -> Option<Value> {
        let path = self.child(setting.name);
        match (setting.kind, &node.content) {
            (Kind::Table(table), Content::Nothing) if !table.branches.is_empty() => {
                self.expected(setting, node, reading);
                None
            }
            (Kind::Table(table), _) => Some(Value::Map(Self::read(table, node, &key.place, path, reading))),
            (Kind::Named(table), Content::Map(entries)) => Some(Value::Maps(read_named(table, entries, &path, reading))),
            (Kind::Named(_), Content::Nothing) => Some(Value::Maps(Vec::new())),
            (Kind::OneOrMore(table), Content::List(items)) if !items.is_empty() => {
                let item = |(index, item)| Self::read(table, item, &item.place, format!("{path}[{index}]"), reading);
                Some(Value::List(items.iter().enumerate().map(item).collect()))
            }
            (Kind::OneOrMore(table), Content::Map(_) | Content::Scalar(_)) => {
                Some(Value::List(vec![Self::read(table, node, &key.place, path, reading)]))
            }
            (Kind::Properties, Content::Map(entries)) => {
                let properties =
                    entries.iter().map(|(key, node)| Some((key.clone(), self.read_property(setting, node, reading)?)));
                properties.collect::<Option<Vec<_>>>().map(Value::Properties)
            }
            (Kind::Templates, Content::Map(entries)) => {
                let templates =
                    entries.iter().map(|(key, node)| match self.read_scalar_as(setting, Kind::Template, node, reading) {
                        Some(Scalar::Template(template)) => Some((key.clone(), template)),
                        _ => None,
                    });
                // Every one is read, so that every mistake is found.
                let templates: Vec<Option<_>> = templates.collect();
                templates.into_iter().collect::<Option<_>>().map(Value::Templates)
            }
            (Kind::Json { places: true }, _) => self.read_body(setting, node, reading).map(Value::Body),
            (Kind::Json { places: false }, Content::Map(_)) => self.read_typed(setting, node, reading).map(Value::Tree),
            (Kind::Tree(_), _) => match json(node) {
                Some(tree) => Some(Value::Tree(tree)),
                None => {
                    self.expected(setting, node, reading);
                    None
                }
            },
            (
                Kind::Columns | Kind::Networks | Kind::Topics | Kind::Values | Kind::Statuses | Kind::Choices(_),
                Content::List(items),
            ) => {
                let scalars: Vec<Scalar> = items.iter().filter_map(|item| self.read_scalar(setting, item, reading)).collect();
                (scalars.len() == items.len()).then_some(Value::Scalars(scalars))
            }
            (Kind::Columns | Kind::Networks | Kind::Topics | Kind::Values | Kind::Statuses | Kind::Choices(_), _) => {
                Some(Value::Scalars(vec![self.read_scalar(setting, node, reading)?]))
            }
            _ => self.read_scalar(setting, node, reading).map(Value::Scalar),
        }
    }

    fn read_scalar(&self, setting: &'static Setting, node: &Node, reading: &mut Reading<'_>) -> Option<Scalar> {
        self.read_scalar_as(setting, setting.kind, node, reading)
    }

    /// JSON with places for arguments: what is not in quotes and looks like a number or a boolean is one.
    fn read_body(&self, setting: &'static Setting, node: &Node, reading: &mut Reading<'_>) -> Option<BodyTree> {
        match &node.content {
            Content::Nothing => Some(BodyTree::Plain(serde_json::Value::Null)),
            Content::Scalar(text) => match typed_scalar(text, node.quoted) {
                Some(value) => Some(BodyTree::Plain(value)),
                None => match self.read_scalar_as(setting, Kind::Template, node, reading)? {
                    Scalar::Template(template) => Some(BodyTree::Text(template)),
                    _ => None,
                },
            },
            Content::List(items) => {
                let items: Vec<Option<_>> = items.iter().map(|item| self.read_body(setting, item, reading)).collect();
                items.into_iter().collect::<Option<_>>().map(BodyTree::List)
            }
            Content::Map(entries) => {
                let entries: Vec<Option<_>> =
                    entries.iter().map(|(key, node)| Some((key.text.clone(), self.read_body(setting, node, reading)?))).collect();
                entries.into_iter().collect::<Option<_>>().map(BodyTree::Object)
            }
        }
    }

    /// JSON: what is not in quotes and looks like a number or a boolean is one.
    fn read_typed(&self, setting: &'static Setting, node: &Node, reading: &mut Reading<'_>) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        match &node.content {
            Content::Nothing => Some(Json::Null),
            Content::Scalar(text) => match typed_scalar(text, node.quoted) {
                Some(value) => Some(value),
                None => self.read_property(setting, node, reading).map(|text| Json::String(text.expose().to_owned())),
            },
            Content::List(items) => {
                let items: Vec<Option<_>> = items.iter().map(|item| self.read_typed(setting, item, reading)).collect();
                items.into_iter().collect::<Option<_>>().map(Json::Array)
            }
            Content::Map(entries) => {
                let entries: Vec<Option<_>> = entries
                    .iter()
                    .map(|(key, node)| Some((key.text.clone(), self.read_typed(setting, node, reading)?)))
                    .collect();
                entries.into_iter().collect::<Option<_>>().map(Json::Object)
            }
        }
    }

    fn read_scalar_as(&self, setting: &'static Setting, kind: Kind, node: &Node, reading: &mut Reading<'_>) -> Option<Scalar> {
        let Content::Scalar(raw) = &node.content else {
            self.expected(setting, node, reading);
            return None;
        };
        match read(kind, raw, reading.lookup) {
            Ok(scalar) => Some(scalar),
            Err(Refused { condition, message }) => {
                let message = self.about(setting.name, &message);
                match condition {
                    Some(condition) => reading.problems.add_spark(&node.place, condition, message),
                    None => reading.problems.add(&node.place, message),
                }
                None
            }
        }
    }

    fn read_property(&self, setting: &'static Setting, node: &Node, reading: &mut Reading<'_>) -> Option<Text> {
        let Content::Scalar(raw) = &node.content else {
            self.expected(setting, node, reading);
            return None;
        };
        match reference::resolve(raw, reading.lookup) {
            Ok(text) => Some(text),
            Err(message) => {
                reading.problems.add(&node.place, self.about(setting.name, &message));
                None
            }
        }
    }

    fn expected(&self, setting: &Setting, node: &Node, reading: &mut Reading<'_>) {
        let mut message = format!("expected {}, found {}", describe(setting.kind), found(node));
        if let Content::Map(entries) = &node.content
            && let Some((key, _)) = entries.first()
            && let Some(spark) = suggest::spark_hint(&key.text)
        {
            message.push_str(&spark);
        }
        reading.problems.add(&node.place, self.about(setting.name, &message));
    }

    fn unknown(&self, table: &Table, key: &str) -> String {
        let what = match (table.settings, table.branch) {
            ([], branch) if !branch.is_empty() => branch.to_owned(),
            (_, "") => "setting".to_owned(),
            (_, branch) => format!("{branch} or setting"),
        };
        let shown = quoted(&Text::plain(key));
        self.about("", &format!("unknown {what} {shown}{}", suggest::hint(key, table)))
    }

    fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// `message` with the path of the setting before it.
    pub(super) fn about(&self, setting: &str, message: &str) -> String {
        let path = if setting.is_empty() { self.path.clone() } else { self.child(setting) };
        if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|(known, _)| *known == name).map(|(_, entry)| entry)
    }

    fn scalar(&self, name: &str) -> Option<&Scalar> {
        match &self.entry(name)?.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Whether the setting stands in the file, rightly.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| entry.given.is_some())
    }

    /// Whether the setting was left out, as far as one can tell: in a map with a wrong setting it may be what was meant.
    pub(super) fn is_missing(&self, name: &str) -> bool {
        self.is_right && !self.is_given(name)
    }

    /// Where the setting stands; where the map does if it is not given.
    pub(super) fn place_of(&self, name: &str) -> &Place {
        self.entry(name).and_then(|entry| entry.given.as_ref()).unwrap_or(&self.place)
    }

    /// The map under `name`.
    pub(super) fn map(&self, name: &str) -> Option<&Values> {
        match &self.entry(name)?.value {
            Value::Map(values) => Some(values),
            _ => None,
        }
    }

    /// The named maps under `name`, in file order.
    pub(super) fn named(&self, name: &str) -> &[(Key, Values)] {
        match self.entry(name).map(|entry| &entry.value) {
            Some(Value::Maps(maps)) => maps,
            _ => &[],
        }
    }

    /// The maps under `name`, in file order.
    pub(super) fn list(&self, name: &str) -> &[Values] {
        match self.entry(name).map(|entry| &entry.value) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    /// The properties under `name`, in file order.
    pub(super) fn properties(&self, name: &str) -> &[(Key, Text)] {
        match self.entry(name).map(|entry| &entry.value) {
            Some(Value::Properties(properties)) => properties,
            _ => &[],
        }
    }

    /// The templates under `name`, in file order.
    pub(super) fn templates(&self, name: &str) -> &[(Key, Template)] {
        match self.entry(name).map(|entry| &entry.value) {
            Some(Value::Templates(templates)) => templates,
            _ => &[],
        }
    }

    /// The JSON under `name`.
    pub(super) fn body(&self, name: &str) -> Option<&BodyTree> {
        match &self.entry(name)?.value {
            Value::Body(body) => Some(body),
            _ => None,
        }
    }

    /// What stands under `name`.
    pub(super) fn tree(&self, name: &str) -> Option<&serde_json::Value> {
        match &self.entry(name)?.value {
            Value::Tree(tree) => Some(tree),
            _ => None,
        }
    }

    /// The texts under `name`.
    pub(super) fn words(&self, name: &str) -> Vec<String> {
        let words = self.scalars(name).iter();
        words.filter_map(|scalar| if let Scalar::Word(word) = scalar { Some(word.clone()) } else { None }).collect()
    }

    /// The scalars under `name`, if they are all right or there are none.
    pub(super) fn scalars(&self, name: &str) -> &[Scalar] {
        match self.entry(name).map(|entry| &entry.value) {
            Some(Value::Scalars(scalars)) => scalars,
            _ => &[],
        }
    }
}

/// Declares how each kind of scalar is taken out: `None` if it was not given or not right, which was noted then.
macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident: $variant:ident($type:ty);)*) => {
        impl Values {
            $($(#[$doc])*
            pub(super) fn $name(&self, name: &str) -> Option<$type> {
                match self.scalar(name)? {
                    Scalar::$variant(value) => Some(value.clone()),
                    _ => None,
                }
            }
            )*
        }
    };
}

getters! {
    /// A boolean.
    bool: Bool(bool);
    /// A count or a size.
    count: Count(u64);
    /// A duration.
    duration: Duration(std::time::Duration);
    /// One of the declared words.
    choice: Choice(&'static str);
    /// An output mode.
    output_mode: OutputMode(crate::plan::OutputMode);
    /// A trigger.
    trigger: Trigger(super::spec::Trigger);
    /// A width; `None` inside is unlimited.
    width: Width(Option<usize>);
    /// A character; `None` inside is none.
    character: Character(Option<u8>);
    /// A name, a time zone, SQL or other text.
    word: Word(String);
    /// Columns.
    schema: Schema(arrow::datatypes::SchemaRef);
    /// A path.
    path: Path(super::text::FilePath);
    /// A host and port.
    address: Address(super::text::Address);
    /// Text that may be a secret.
    text: Text(Text);
    /// Text with places for arguments.
    template: Template(Template);
    /// What a function returns.
    returns: Returns(Returns);
}

/// A tree without its places; text that is JSON stands for what it says.
fn json(node: &Node) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match &node.content {
        Content::Nothing => return None,
        Content::Scalar(text) if text.trim_start().starts_with('{') => serde_json::from_str(text).ok()?,
        Content::Scalar(text) => Json::String(text.trim().to_owned()),
        Content::List(items) => Json::Array(items.iter().map(json).collect::<Option<_>>()?),
        Content::Map(entries) => {
            Json::Object(entries.iter().map(|(key, node)| Some((key.text.clone(), json(node)?))).collect::<Option<_>>()?)
        }
    })
}

/// The number or boolean that a scalar without quotes is.
fn typed_scalar(text: &str, quoted: bool) -> Option<serde_json::Value> {
    let looks = !quoted && (matches!(text, "true" | "false") || text.starts_with(|c: char| c == '-' || c.is_ascii_digit()));
    looks.then(|| serde_json::from_str(text).ok()).flatten()
}

fn read_named(table: &'static Table, entries: &[(Key, Node)], path: &str, reading: &mut Reading<'_>) -> Vec<(Key, Values)> {
    let mut maps: Vec<(Key, Values)> = Vec::with_capacity(entries.len());
    for (key, node) in entries {
        if let Err(message) = check_name(&key.text) {
            reading.problems.add(&key.place, format!("{path}: {message}"));
        }
        let values = Values::read(table, node, &key.place, format!("{path}.{}", key.text.escape_debug()), reading);
        maps.push((key.clone(), values));
    }
    maps
}

fn found(node: &Node) -> String {
    match &node.content {
        Content::Nothing => "nothing".to_owned(),
        Content::Scalar(text) => quoted(&Text::plain(text.as_str())),
        Content::List(_) => "a list".to_owned(),
        Content::Map(_) => "a map".to_owned(),
    }
}
