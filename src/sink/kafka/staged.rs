//! The messages of one commit as one piece of staged bytes. A topic is told once, and each message by its place in that list.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::kafka::is_topic_name;
use crate::sink::packed;
use tidemill_librdkafka::Record;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    topics: Vec<String>,
    messages: usize,
}

/// Puts messages together.
#[derive(Debug, Default)]
pub(super) struct Packer {
    out: packed::Packer,
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
        self.out.number(record.topic)?;
        self.out.raw(&record.partition.to_le_bytes());
        self.out.bytes(record.key)?;
        self.out.bytes(record.value)?;
        self.out.number(record.headers.len())?;
        for (name, value) in &record.headers {
            self.out.bytes(Some(name.as_bytes()))?;
            self.out.bytes(*value)?;
        }
        self.messages += 1;
        Ok(())
    }

    /// The staged bytes.
    pub(super) fn finish(self) -> Bytes {
        self.out.finish(&Head { version: VERSION, topics: self.topics, messages: self.messages })
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
        let (body, head): (Bytes, Head) = packed::open(bytes).ok_or_else(damaged)?;
        if head.version != VERSION {
            return Err(damaged());
        }
        Ok(Self { body, topics: head.topics, messages: head.messages })
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
    let topic = usize::try_from(packed::number(rest)?).ok().filter(|topic| *topic < topics)?;
    let (partition, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    let (key, value) = (packed::bytes(rest)?, packed::bytes(rest)?);
    let headers =
        (0..packed::number(rest)?).map(|_| Some((std::str::from_utf8(packed::bytes(rest)??).ok()?, packed::bytes(rest)?)));
    let headers = headers.collect::<Option<Vec<_>>>()?;
    Some(Record { topic, partition: i32::from_le_bytes(*partition), key, value, headers, timestamp_ms: None })
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
