//! The progress topic: marks by transactional id, for as long as the topic is there.
//!
//! What is read must not be old. The partition is read as committed, and up to its high watermark: while another sink's transaction is
//! open there, what is stable ends before it, and our own mark may lie behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_librdkafka::{At, Client, Code, Failure, Flow, PartitionQueue};
use tokio::sync::Notify;

/// The partition that marks are in.
pub(super) const PARTITION: i32 = 0;
/// How far before the end the first look begins; further back it is looked only where a mark was not found.
const SPAN: i64 = 1000;
/// How much further each time.
const WIDER: i64 = 16;
/// Longest single wait for records.
const POLL: Duration = Duration::from_millis(50);

/// The last value that was committed for `key`. The client has read nothing before: what it remembers of the partition would be old.
pub(super) fn last(client: Client, topic: &str, key: &str, timeout: Duration) -> Result<Option<String>, Failure> {
    let client = Arc::new(client);
    let at = |offset| At { topic: topic.into(), partition: PARTITION, offset };
    let offset_of = |special| {
        let mut found = client.offsets(&[at(special)], timeout)?;
        let found = found.pop().ok_or_else(|| Failure::of(Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION))?;
        found.map(|at| at.offset)
    };
    let (low, end) = (offset_of(-2)?, offset_of(-1)?);
    let mut looking = Looking { client: client.clone(), key, deadline: Instant::now() + timeout, end: None };
    let (mut from, mut span) = (low.max(end - SPAN), SPAN);
    loop {
        let found = looking.look(&at(from))?;
        if found.is_some() || from <= low {
            return Ok(found.flatten());
        }
        looking.end = Some(from);
        span *= WIDER;
        from = low.max(from - span);
    }
}

struct Looking<'a> {
    client: Arc<Client>,
    key: &'a str,
    deadline: Instant,
    /// Where to end; `None` as long as the high watermark is not known.
    end: Option<i64>,
}

impl Looking<'_> {
    /// What was last put for the key from there on: `Some(None)` where it was taken back.
    fn look(&mut self, from: &At) -> Result<Option<Option<String>>, Failure> {
        let mut queue = PartitionQueue::new(self.client.clone(), &from.topic, from.partition, Arc::new(Notify::new()))?;
        self.client.assign(std::slice::from_ref(from))?;
        let (mut position, mut found, mut failed) = (from.offset, None, None);
        while self.end.is_none_or(|end| position < end) {
            queue.consume(POLL, |message| match message.error() {
                Some(failure) if failure.code == Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                    position = position.max(message.offset());
                    Flow::Next
                }
                Some(failure) => {
                    failed = Some(failure);
                    Flow::Enough
                }
                None => {
                    position = message.offset() + 1;
                    if message.key() == Some(self.key.as_bytes()) && self.end.is_none_or(|end| message.offset() < end) {
                        found = Some(message.value().map(|value| String::from_utf8_lossy(value).into_owned()));
                    }
                    Flow::Next
                }
            });
            if let Some(failure) = failed {
                return Err(failure);
            }
            self.end = self.end.or(self.client.high_watermark(&from.topic, from.partition));
            if Instant::now() >= self.deadline {
                let reason = format!("topic {:?} could not be read up to its end: a transaction may be open there", from.topic);
                return Err(Failure { code: Code::RD_KAFKA_RESP_ERR__TIMED_OUT, reason });
            }
        }
        self.client.unassign(std::slice::from_ref(from))?;
        Ok(found)
    }
}
