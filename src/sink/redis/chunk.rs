//! A chunk of operations: what must be known before they are done, and the commands that do them.
//!
//! A transaction of Redis is not undone when a command in it fails. So whatever could fail is looked at first, while the keys are watched:
//! what kind of value they hold, and whether sums stay in range. The transaction is then done as a whole, or not at all, as a key has
//! changed meanwhile.

use std::collections::{HashMap, HashSet};

use ::redis::{Cmd, Pipeline, Value, cmd};

use super::staged::{Kind, Operation, Position, Staged};
use crate::error::{Error, ErrorKind, Result};

/// Most bytes of a chunk, but for its last operation.
const BYTES_MAX: usize = 8 << 20;

/// Operations that are done together.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    kind: Kind,
    ttl_ms: Option<u64>,
    operations: Vec<Operation<'a>>,
    /// Behind the last of them.
    pub(super) end: Position,
}

/// What is asked before.
#[derive(Debug, Default)]
pub(super) struct Questions<'a> {
    pub(super) commands: Vec<Cmd>,
    /// Which command asks about a key, or a field of it.
    places: HashMap<(&'a [u8], Option<&'a [u8]>), usize>,
}

impl<'a> Questions<'a> {
    /// The keys that are asked about.
    pub(super) fn keys(&self) -> Vec<&'a [u8]> {
        let keys: HashSet<&[u8]> = self.places.keys().map(|(key, _)| *key).collect();
        keys.into_iter().collect()
    }
}

impl<'a> Chunk<'a> {
    /// As many operations from there on as one transaction takes.
    pub(super) fn take(staged: &'a Staged, from: Position, operations_max: usize) -> Result<Self> {
        let head = &staged.head;
        let (mut operations, mut end, mut bytes) = (Vec::new(), from, 0);
        let mut keys = HashSet::new();
        while end.done < head.operations && operations.len() < operations_max && bytes < BYTES_MAX {
            let (operation, after) = staged.next(end)?;
            // Of two with the same key, the second one's condition depends on what the first one does.
            if head.kind.has_condition() && !keys.insert(operation.key) {
                break;
            }
            bytes += operation.key.len() + operation.arguments.iter().flatten().map(|bytes| bytes.len()).sum::<usize>();
            operations.push(operation);
            end = after;
        }
        Ok(Self { kind: head.kind, ttl_ms: head.ttl_ms, operations, end })
    }

    /// What is asked before, while the keys that it is about are watched.
    pub(super) fn questions(&self) -> Questions<'a> {
        let mut questions = Questions::default();
        for operation in &self.operations {
            let key = operation.key;
            let (field, command) = match (self.kind, operation.arguments.first().copied().flatten()) {
                (Kind::PutText | Kind::Delete, _) => continue,
                (Kind::AddInteger | Kind::AddDecimal, Some(field)) => (Some(field), cmd("HGET").arg(key).arg(field).take()),
                (Kind::AddInteger | Kind::AddDecimal, None) => (None, cmd("GET").arg(key).take()),
                (Kind::PutFieldsIfEqual, _) => {
                    let mut command = cmd("HMGET").arg(key).take();
                    for (field, _) in operation.compared() {
                        command.arg(field);
                    }
                    (None, command)
                }
                _ => (None, cmd("TYPE").arg(key).take()),
            };
            let Questions { commands, places } = &mut questions;
            places.entry((key, field)).or_insert_with(|| {
                commands.push(command);
                commands.len() - 1
            });
        }
        questions
    }

    /// Adds the commands of those operations whose condition holds.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] where one would fail.
    pub(super) fn transaction(&self, questions: &Questions<'_>, answers: &[Value], out: &mut Pipeline) -> Result<()> {
        let mut sums: HashMap<usize, Sum> = HashMap::new();
        for operation in &self.operations {
            let field = match self.kind {
                Kind::AddInteger | Kind::AddDecimal => operation.arguments.first().copied().flatten(),
                _ => None,
            };
            let place = questions.places.get(&(operation.key, field)).copied();
            let found = place.and_then(|place| answers.get(place)).unwrap_or(&Value::Nil);
            let refuse = |why: &str| Err(self.refused(operation, why));
            let holds = match self.kind {
                Kind::PutText | Kind::Delete => true,
                Kind::PutFields | Kind::SetAdd => {
                    let fits = if self.kind == Kind::SetAdd { "set" } else { "hash" };
                    match word(found) {
                        "none" => true,
                        kind if kind == fits => true,
                        other => return refuse(&format!("it holds a {other}, not a {fits}")),
                    }
                }
                Kind::PutFieldsIfAbsent | Kind::PutTextIfAbsent => word(found) == "none",
                Kind::PutFieldsIfEqual => match found {
                    Value::Array(values) => operation.compared().zip(values).all(|((_, wanted), found)| wanted == bytes(found)),
                    _ => return refuse("it holds something else than a hash"),
                },
                Kind::AddInteger | Kind::AddDecimal => {
                    let Some(amount) = operation.arguments.get(1).copied().flatten() else { return refuse("there is no amount") };
                    let sum = match sums.entry(place.unwrap_or_default()) {
                        std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                        std::collections::hash_map::Entry::Vacant(new) => match Sum::of(self.kind, found) {
                            Ok(sum) => new.insert(sum),
                            Err(why) => return refuse(why),
                        },
                    };
                    match sum.add(amount) {
                        Ok(()) => true,
                        Err(why) => return refuse(why),
                    }
                }
            };
            if holds {
                self.commands(operation, out);
            }
        }
        Ok(())
    }

    fn refused(&self, operation: &Operation<'_>, why: &str) -> Error {
        let key = String::from_utf8_lossy(operation.key);
        Error::new(ErrorKind::Data, format!("{} cannot write the key {key:?}: {why}", self.kind.name()))
    }

    fn commands(&self, operation: &Operation<'_>, out: &mut Pipeline) {
        let key = operation.key;
        let first = operation.arguments.first().copied().flatten();
        match self.kind {
            Kind::PutText | Kind::PutTextIfAbsent => {
                let mut set = cmd("SET").arg(key).arg(first.unwrap_or_default()).take();
                if let Some(ttl_ms) = self.ttl_ms {
                    set.arg("PX").arg(ttl_ms);
                }
                out.add_command(set);
                return;
            }
            Kind::PutFields | Kind::PutFieldsIfAbsent | Kind::PutFieldsIfEqual => {
                put_fields(key, operation.fields(self.kind), out)
            }
            Kind::SetAdd => {
                out.cmd("SADD").arg(key).arg(first.unwrap_or_default());
            }
            Kind::AddInteger | Kind::AddDecimal => {
                let amount = operation.arguments.get(1).copied().flatten().unwrap_or_default();
                let whole = self.kind == Kind::AddInteger;
                match first {
                    Some(field) => out.cmd(if whole { "HINCRBY" } else { "HINCRBYFLOAT" }).arg(key).arg(field).arg(amount),
                    None => out.cmd(if whole { "INCRBY" } else { "INCRBYFLOAT" }).arg(key).arg(amount),
                };
            }
            Kind::Delete => {
                out.cmd("DEL").arg(key);
                return;
            }
        }
        if let Some(ttl_ms) = self.ttl_ms {
            out.cmd("PEXPIRE").arg(key).arg(ttl_ms);
        }
    }
}

impl<'a> Operation<'a> {
    /// The fields that are compared, of [`Kind::PutFieldsIfEqual`].
    fn compared(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        pairs(self.arguments.get(1..1 + 2 * self.compared_count()).unwrap_or_default())
    }

    /// How many fields are compared.
    fn compared_count(&self) -> usize {
        let count = self.arguments.first().copied().flatten().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        count.filter(|count| *count <= self.arguments.len() / 2).unwrap_or(0)
    }

    /// The fields that are put.
    fn fields(&self, kind: Kind) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let start = if kind == Kind::PutFieldsIfEqual { 1 + 2 * self.compared_count() } else { 0 };
        pairs(self.arguments.get(start..).unwrap_or_default())
    }
}

fn pairs<'a>(arguments: &[Option<&'a [u8]>]) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
    arguments.chunks_exact(2).map(|pair| (pair[0].unwrap_or_default(), pair[1]))
}

fn put_fields<'a>(key: &[u8], fields: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>, out: &mut Pipeline) {
    let (mut set, mut delete) = (cmd("HSET").arg(key).take(), cmd("HDEL").arg(key).take());
    let (mut sets, mut deletes) = (false, false);
    for (field, value) in fields {
        match value {
            Some(value) => {
                set.arg(field).arg(value);
                sets = true;
            }
            None => {
                delete.arg(field);
                deletes = true;
            }
        }
    }
    if sets {
        out.add_command(set);
    }
    if deletes {
        out.add_command(delete);
    }
}

/// What a number comes to, operation by operation.
#[derive(Debug)]
enum Sum {
    Integer(i64),
    Decimal(f64),
}

impl Sum {
    /// What is there, which Redis must be able to add to.
    fn of(kind: Kind, found: &Value) -> Result<Self, &'static str> {
        let text = match found {
            Value::Nil => "0",
            found => {
                bytes(found).and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or("it holds something else than numbers")?
            }
        };
        if kind == Kind::AddInteger {
            // As Redis itself reads them: without a sign or zeros in front.
            let whole = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
            return whole.map(Self::Integer).ok_or("what it holds is no whole number");
        }
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'));
        let number = text.parse::<f64>().ok().filter(|number| is_plain && number.is_finite());
        number.map(Self::Decimal).ok_or("what it holds is no number")
    }

    fn add(&mut self, amount: &[u8]) -> Result<(), &'static str> {
        let text = std::str::from_utf8(amount).unwrap_or_default();
        match self {
            Self::Integer(sum) => {
                let amount = text.parse().map_err(|_| "the amount is no whole number")?;
                *sum = sum.checked_add(amount).ok_or("the sum would be out of range")?;
            }
            Self::Decimal(sum) => {
                *sum += text.parse::<f64>().map_err(|_| "the amount is no number")?;
                if !sum.is_finite() {
                    return Err("the sum would be out of range");
                }
            }
        }
        Ok(())
    }
}

fn word(value: &Value) -> &str {
    match value {
        Value::SimpleString(text) => text,
        Value::BulkString(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
        _ => "value of an unknown kind",
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}
