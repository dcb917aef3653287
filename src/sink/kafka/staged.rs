//! The messages of one commit as one piece of staged bytes: the messages, then their topics and number as JSON, then the length of
//! that. A topic is told once, and each message by its place in that list.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::kafka::is_topic_name;
use tidemill_librdkafka::Record;

const VERSION: u32 = 1;
/// Stands for the length of what is null.
const NULL: u32 = u32::MAX;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    topics: Vec<String>,
    messages: usize,
}

/// Puts messages together.
#[derive(Debug, Default)]
pub(super) struct Packer {
    out: Vec<u8>,
    topics: Vec<String>,
    places: HashMap<String, usize>,
    messages: usize,
}

impl Packer {
    /// The place of a topic in the list.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for what no topic can be called. Once the batch was decided it would be too late.
    pub(super) fn topic(&mut self, name: &str) -> Result<usize> {
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        if !is_topic_name(name) {
            let message = "a row's topic is no topic's name: 1 to 249 letters, digits, dots, underscores and hyphens";
            return Err(Error::new(ErrorKind::Data, message));
        }
        self.places.insert(name.to_owned(), self.topics.len());
        self.topics.push(name.to_owned());
        Ok(self.topics.len() - 1)
    }

    /// Adds a message.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for what is longer than 4 GiB.
    pub(super) fn add(&mut self, record: &Record<'_>) -> Result<()> {
        self.number(record.topic)?;
        self.out.extend_from_slice(&record.partition.to_le_bytes());
        self.bytes(record.key)?;
        self.bytes(record.value)?;
        self.number(record.headers.len())?;
        for (name, value) in &record.headers {
            self.bytes(Some(name.as_bytes()))?;
            self.bytes(*value)?;
        }
        self.messages += 1;
        Ok(())
    }

    fn number(&mut self, number: usize) -> Result<()> {
        let small = u32::try_from(number).ok().filter(|number| *number != NULL);
        let small = small.ok_or_else(|| Error::new(ErrorKind::Data, "a Kafka message of more than 4 GiB"))?;
        self.out.extend_from_slice(&small.to_le_bytes());
        Ok(())
    }

    fn bytes(&mut self, bytes: Option<&[u8]>) -> Result<()> {
        match bytes {
            None => self.out.extend_from_slice(&NULL.to_le_bytes()),
            Some(bytes) => {
                self.number(bytes.len())?;
                self.out.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// The staged bytes.
    pub(super) fn finish(mut self) -> Bytes {
        let head = Head { version: VERSION, topics: self.topics, messages: self.messages };
        let head = serde_json::to_vec(&head).expect("a head is plain data");
        self.out.extend_from_slice(&head);
        self.out.extend_from_slice(&u32::try_from(head.len()).unwrap_or(NULL).to_le_bytes());
        self.out.into()
    }
}

/// The messages to commit.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    body: Bytes,
    pub(super) topics: Vec<String>,
    pub(super) messages: usize,
}

impl Staged {
    /// Looks at the head.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if these are not messages that a sink of this version staged.
    pub(super) fn open(bytes: &Bytes) -> Result<Self> {
        let (before, length) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| damaged())?;
        let end = before.len().checked_sub(length).ok_or_else(damaged)?;
        let head: Head = serde_json::from_slice(&before[end..]).map_err(|cause| damaged().because(cause))?;
        if head.version != VERSION {
            return Err(damaged());
        }
        Ok(Self { body: bytes.slice(..end), topics: head.topics, messages: head.messages })
    }

    /// The messages, in order.
    pub(super) fn records(&self) -> impl Iterator<Item = Result<Record<'_>>> {
        let mut rest = &self.body[..];
        (0..self.messages).map(move |at| {
            let record = read(&mut rest, self.topics.len()).ok_or_else(damaged)?;
            if at + 1 == self.messages && !rest.is_empty() {
                return Err(damaged());
            }
            Ok(record)
        })
    }
}

fn read<'a>(rest: &mut &'a [u8], topics: usize) -> Option<Record<'a>> {
    let topic = usize::try_from(number(rest)?).ok().filter(|topic| *topic < topics)?;
    let (partition, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    let (key, value) = (read_bytes(rest)?, read_bytes(rest)?);
    let headers = (0..number(rest)?).map(|_| Some((std::str::from_utf8(read_bytes(rest)??).ok()?, read_bytes(rest)?)));
    let headers = headers.collect::<Option<Vec<_>>>()?;
    Some(Record { topic, partition: i32::from_le_bytes(*partition), key, value, headers, timestamp_ms: None })
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_le_bytes(*number))
}

fn read_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match number(rest)? {
        NULL => Some(None),
        length => {
            let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            *rest = after;
            Some(Some(bytes))
        }
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "the staged messages are damaged, or were staged by a sink of another kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Bytes {
        let mut packer = Packer::default();
        let (one, two) = (packer.topic("one").unwrap(), packer.topic("two").unwrap());
        assert_eq!(packer.topic("one").unwrap(), one);
        assert_eq!(packer.topic("no/topic").unwrap_err().kind(), ErrorKind::Data);
        let tombstone = Record { topic: two, partition: 3, key: Some(b"k"), ..Record::default() };
        let headers = vec![("h", Some(&b"v"[..])), ("none", None)];
        packer.add(&tombstone).unwrap();
        packer.add(&Record { topic: one, partition: -1, key: None, value: Some(b""), headers, ..Record::default() }).unwrap();
        packer.finish()
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let staged = Staged::open(&sample()).unwrap();
        assert_eq!(staged.topics, ["one", "two"]);
        let records: Vec<_> = staged.records().collect::<Result<_>>().unwrap();
        assert_eq!(records[0], Record { topic: 1, partition: 3, key: Some(b"k"), ..Record::default() });
        assert_eq!(records[1].value, Some(&b""[..]), "nothing in it is not nothing");
        assert_eq!(records[1].headers, [("h", Some(&b"v"[..])), ("none", None)]);
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            let read = Staged::open(&whole.slice(..length)).and_then(|staged| staged.records().try_for_each(|one| one.map(drop)));
            assert!(read.is_err(), "{length}");
        }
    }
}
