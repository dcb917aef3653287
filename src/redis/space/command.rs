//! Operations as commands: each is done as a whole, by one command or one script, and what comes back is read.

use std::collections::BTreeMap;

use ::redis::{Cmd, Pipeline, Value, cmd};

use super::Condition;
use super::attribute::{Attribute, AttributeKind, Declared, Refused};
use crate::function::{CallError, CallErrorKind};

/// A field that objects have which were made without a text or number, as there are no empty hashes. No attribute has this name.
const IS_THERE: &str = "";

/// Puts fields and sets if a condition holds. Whatever can fail does so before the first write.
const PUT: &str = "local at = 0 \
    local function take() at = at + 1 return ARGV[at] end \
    local when = take() \
    local is_there = redis.call('EXISTS', KEYS[1]) == 1 \
    redis.call('HEXISTS', KEYS[1], '') \
    if (when == 'absent' and is_there) or (when == 'equal' and not is_there) then return 0 end \
    for _ = 1, tonumber(take()) do \
      local field, wanted, otherwise = take(), take(), take() \
      if (redis.call('HGET', KEYS[1], field) or otherwise) ~= wanted then return 0 end \
    end \
    for _ = 1, tonumber(take()) do redis.call('HSET', KEYS[1], take(), take()) end \
    for nth = 2, #KEYS do \
      redis.call('DEL', KEYS[nth]) \
      for _ = 1, tonumber(take()) do redis.call('SADD', KEYS[nth], take()) end \
    end \
    return 1";

/// Adds a member to a set of an object, which is there from then on. Whatever can fail does so before the first write.
const SET_ADD: &str = "redis.call('HEXISTS', KEYS[1], '') \
    redis.call('SADD', KEYS[2], ARGV[1]) \
    if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], '', '') end \
    return 1";

pub(super) fn put(declared: &Declared, key: &str, attributes: &[(&str, Attribute)]) -> Result<Cmd, Refused> {
    declared.check_all(attributes)?;
    let is_plain = |value: &Attribute| value.kind() != AttributeKind::Set;
    if attributes.is_empty() || !attributes.iter().all(|(_, value)| is_plain(value)) {
        return Ok(put_if(declared, key, "always", &[], attributes));
    }
    let mut command = Cmd::with_capacity(2 + 2 * attributes.len(), 64);
    command.arg("HSET").arg(declared.key(key));
    for (name, value) in attributes {
        field(&mut command, name, value);
    }
    Ok(command)
}

pub(super) fn cond_put(
    declared: &Declared,
    key: &str,
    condition: Condition<'_>,
    attributes: &[(&str, Attribute)],
) -> Result<Cmd, Refused> {
    declared.check_all(attributes)?;
    match condition {
        Condition::Absent => Ok(put_if(declared, key, "absent", &[], attributes)),
        Condition::Equal(conditions) => {
            declared.check_all(conditions)?;
            match conditions.iter().find(|(_, value)| value.kind() == AttributeKind::Set) {
                Some((attribute, _)) => Err(Refused::ConditionOnSet { attribute: (*attribute).to_owned() }),
                None => Ok(put_if(declared, key, "equal", conditions, attributes)),
            }
        }
    }
}

fn put_if(declared: &Declared, key: &str, when: &str, conditions: &[(&str, Attribute)], attributes: &[(&str, Attribute)]) -> Cmd {
    let (mut fields, mut sets) = (Vec::new(), Vec::new());
    for (name, value) in attributes {
        match value {
            Attribute::Set(members) => sets.push((declared.set_key(name, key), members)),
            value => fields.push((*name, value)),
        }
    }
    let mut command = cmd("EVAL");
    command.arg(PUT).arg(1 + sets.len()).arg(declared.key(key));
    for (key, _) in &sets {
        command.arg(key);
    }
    command.arg(when).arg(conditions.len());
    for (name, value) in conditions {
        field(&mut command, name, value);
        command.arg(if value.kind() == AttributeKind::Int { "0" } else { "" });
    }
    match fields.as_slice() {
        // Otherwise the object would not be there.
        [] => {
            command.arg(1).arg(IS_THERE).arg("");
        }
        fields => {
            command.arg(fields.len());
            for (name, value) in fields {
                field(&mut command, name, value);
            }
        }
    }
    for (_, members) in sets {
        command.arg(members.len());
        for member in members {
            command.arg(member);
        }
    }
    command
}

fn field(command: &mut Cmd, name: &str, value: &Attribute) {
    command.arg(name);
    match value {
        Attribute::Int(number) => command.arg(number),
        Attribute::Text(text) => command.arg(text),
        Attribute::Set(_) => unreachable!("a set is no field"),
    };
}

pub(super) fn set_add(declared: &Declared, key: &str, attribute: &str, member: &str) -> Result<Cmd, Refused> {
    declared.check(attribute, AttributeKind::Set)?;
    let mut command = cmd("EVAL");
    command.arg(SET_ADD).arg(2).arg(declared.key(key)).arg(declared.set_key(attribute, key)).arg(member);
    Ok(command)
}

pub(super) fn atomic_add(declared: &Declared, key: &str, attribute: &str, amount: i64) -> Result<Cmd, Refused> {
    declared.check(attribute, AttributeKind::Int)?;
    let mut command = cmd("HINCRBY");
    command.arg(declared.key(key)).arg(attribute).arg(amount);
    Ok(command)
}

pub(super) fn delete(declared: &Declared, key: &str) -> Cmd {
    let mut command = cmd("DEL");
    command.arg(declared.key(key));
    for attribute in declared.sets() {
        command.arg(declared.set_key(attribute, key));
    }
    command
}

/// An object and its sets as of one moment: what the last command is answered.
pub(super) fn get(declared: &Declared, key: &str) -> Pipeline {
    let mut commands = Pipeline::new();
    commands.cmd("MULTI");
    commands.cmd("HGETALL").arg(declared.key(key));
    for attribute in declared.sets() {
        commands.cmd("SMEMBERS").arg(declared.set_key(attribute, key));
    }
    commands.cmd("EXEC");
    commands
}

/// The object that [`get`] found.
pub(super) fn read(
    declared: &Declared,
    answer: Option<Value>,
    shown: &str,
) -> Result<Option<BTreeMap<String, Attribute>>, CallError> {
    let bad =
        |why: &str| CallError::new(CallErrorKind::BadAnswer, format!("Redis at {shown} holds no object of the space: {why}"));
    let Some(Value::Array(answers)) = answer else { return Err(bad("EXEC was answered with something else")) };
    let mut lists = Vec::with_capacity(answers.len());
    for answer in answers {
        match answer {
            Value::Array(values) | Value::Set(values) => lists.push(texts(values).ok_or_else(|| bad("a value is no text"))?),
            Value::ServerError(error) => return Err(super::refusal(&error, shown)),
            _ => return Err(bad("a key was answered with something else")),
        }
    }
    let mut lists = lists.into_iter();
    let mut fields = lists.next().unwrap_or_default().into_iter();
    let mut found = BTreeMap::new();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        found.insert(name, value);
    }
    if found.is_empty() {
        return Ok(None);
    }
    let mut object = BTreeMap::new();
    for (name, kind) in &declared.attributes {
        let value = match kind {
            AttributeKind::Text => Attribute::Text(found.remove(name).unwrap_or_default()),
            AttributeKind::Int => {
                let number = found.remove(name).map_or(Ok(0), |text| text.parse());
                Attribute::Int(number.map_err(|_| bad(&format!("{name} is no number")))?)
            }
            AttributeKind::Set => Attribute::Set(lists.next().unwrap_or_default().into_iter().collect()),
        };
        object.insert(name.clone(), value);
    }
    Ok(Some(object))
}

fn texts(values: Vec<Value>) -> Option<Vec<String>> {
    let text = |value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    };
    values.into_iter().map(text).collect()
}
