//! A producer of librdkafka: records out, each with its delivery report, and transactions around them.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{At, Client, Code, Event, Failure, List, check, ms, sys, take_error, text};
use rdkafka_sys::rd_kafka_vtype_t::{
    RD_KAFKA_VTYPE_END, RD_KAFKA_VTYPE_HEADERS, RD_KAFKA_VTYPE_KEY, RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_VTYPE_OPAQUE,
    RD_KAFKA_VTYPE_PARTITION, RD_KAFKA_VTYPE_RKT, RD_KAFKA_VTYPE_TIMESTAMP, RD_KAFKA_VTYPE_VALUE,
};

/// A header's name and value.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// A record to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// Which of the topics that the producer was given.
    pub topic: usize,
    /// -1 leaves it to the producer.
    pub partition: i32,
    /// Where the producer sends equal keys to one partition.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// In this order.
    pub headers: Vec<Header<'a>>,
    /// Milliseconds since 1970; `None`, and 0 too, is when it is sent.
    pub timestamp_ms: Option<i64>,
}

/// A producer's handle.
#[derive(Debug)]
pub struct Producer(Client);

/// Topics to send to, open as long as this lives.
#[derive(Debug)]
pub struct Topics<'a> {
    handles: Vec<*mut sys::rd_kafka_topic_t>,
    producer: &'a Producer,
}

impl Producer {
    /// A producer with these properties; what is wrong with them otherwise. Connects in the background.
    pub fn new(properties: &[(String, String)]) -> Result<Self, String> {
        let events = sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_DR;
        Client::new(properties, sys::rd_kafka_type_t::RD_KAFKA_PRODUCER, events).map(Self)
    }

    /// Takes the transactional id over from whoever had it, and aborts what they left open.
    pub fn init_transactions(&self, timeout: Duration) -> Result<(), Failure> {
        // SAFETY: the handle lives; the error is ours.
        unsafe { take_error(sys::rd_kafka_init_transactions(self.0.handle, ms(timeout))) }
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Result<(), Failure> {
        // SAFETY: as above.
        unsafe { take_error(sys::rd_kafka_begin_transaction(self.0.handle)) }
    }

    /// Commits it. All records must have been delivered.
    pub fn commit(&self, timeout: Duration) -> Result<(), Failure> {
        // SAFETY: as above.
        unsafe { take_error(sys::rd_kafka_commit_transaction(self.0.handle, ms(timeout))) }
    }

    /// Aborts it; what was not delivered is forgotten.
    pub fn abort(&self, timeout: Duration) -> Result<(), Failure> {
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // The call waits until somebody has taken the reports of what it forgets.
            let taking = || {
                while !is_done.load(Ordering::Relaxed) {
                    self.delivered(Duration::from_millis(10), &mut |_, _| {});
                }
            };
            let _ = std::thread::Builder::new().spawn_scoped(scope, taking);
            // SAFETY: as above.
            let aborted = unsafe { take_error(sys::rd_kafka_abort_transaction(self.0.handle, ms(timeout))) };
            is_done.store(true, Ordering::Relaxed);
            aborted
        })
    }

    /// Puts an offset of a group, and a text beside it, into the transaction. May take longer than `timeout`.
    pub fn send_offset(&self, group: &str, at: &At, beside: &str, timeout: Duration) -> Result<(), Failure> {
        let group = CString::new(group).map_err(|_| Failure::of(Code::RD_KAFKA_RESP_ERR__INVALID_ARG))?;
        let list = List::new(std::slice::from_ref(at));
        // SAFETY: the list is valid, and its element's metadata is memory of librdkafka's, which it frees with the list; the group's
        // metadata is destroyed once, after the call.
        unsafe {
            if (*list.0).cnt != 1 {
                return Err(Failure::of(Code::RD_KAFKA_RESP_ERR__INVALID_ARG));
            }
            let room = sys::rd_kafka_mem_malloc(self.0.handle, beside.len());
            if room.is_null() {
                return Err(Failure::of(Code::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE));
            }
            ptr::copy_nonoverlapping(beside.as_ptr(), room.cast::<u8>(), beside.len());
            (*(*list.0).elems).metadata = room;
            (*(*list.0).elems).metadata_size = beside.len();
            let members = sys::rd_kafka_consumer_group_metadata_new(group.as_ptr());
            let error = sys::rd_kafka_send_offsets_to_transaction(self.0.handle, list.0, members, ms(timeout));
            sys::rd_kafka_consumer_group_metadata_destroy(members);
            take_error(error)
        }
    }

    /// Opens topics to send to.
    pub fn topics(&self, names: &[&str]) -> Result<Topics<'_>, Failure> {
        let mut topics = Topics { handles: Vec::with_capacity(names.len()), producer: self };
        for name in names {
            let name = CString::new(*name).map_err(|_| Failure::of(Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION))?;
            // SAFETY: the name is copied; the handle is destroyed once, with `topics`.
            let handle = unsafe { sys::rd_kafka_topic_new(self.0.handle, name.as_ptr(), ptr::null_mut()) };
            if handle.is_null() {
                // SAFETY: tells why the call before failed on this thread.
                return Err(Failure::of(unsafe { sys::rd_kafka_last_error() }));
            }
            topics.handles.push(handle);
        }
        Ok(topics)
    }

    /// Waits at most `timeout` for delivery reports, and shows each: the number that the record was sent with, and why it was not
    /// delivered. The answer is what a connection met meanwhile.
    pub fn delivered(&self, timeout: Duration, see: &mut dyn FnMut(usize, Option<Failure>)) -> Option<Failure> {
        // SAFETY: an event is ours to read until it is destroyed, and so are the messages in it; a null one is none.
        unsafe {
            let event = Event(sys::rd_kafka_queue_poll(self.0.events, ms(timeout)));
            if event.0.is_null() {
                return None;
            }
            if sys::rd_kafka_event_type(event.0) != sys::RD_KAFKA_EVENT_DR {
                return Some(event.failure());
            }
            loop {
                let message = sys::rd_kafka_event_message_next(event.0);
                if message.is_null() {
                    return None;
                }
                // The text that an error of a consumer carries is the record's value here: only the code says why.
                see((*message)._private as usize, check((*message).err).err());
            }
        }
    }

    /// What ended this producer for good, if something did: it was fenced, or librdkafka gave up.
    pub fn fatal(&self) -> Option<Failure> {
        let mut message = [0 as c_char; 512];
        // SAFETY: `message` is as long as we say and ends with a zero after a fatal error.
        unsafe {
            let code = sys::rd_kafka_fatal_error(self.0.handle, message.as_mut_ptr(), message.len());
            (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| Failure { code, reason: text(message.as_ptr()) })
        }
    }
}

impl Topics<'_> {
    /// Puts a record into the producer's queue, which copies it; `number` comes back with its delivery report. A full queue is
    /// `_QUEUE_FULL`: try again once reports were taken.
    pub fn send(&self, number: usize, record: &Record<'_>) -> Result<(), Failure> {
        let Some(topic) = self.handles.get(record.topic) else {
            return Err(Failure::of(Code::RD_KAFKA_RESP_ERR__INVALID_ARG));
        };
        let headers = headers(&record.headers)?;
        let (key, key_len) = parts(record.key);
        let (value, value_len) = parts(record.value);
        // SAFETY: every tag is followed by what librdkafka expects behind it, and the last one ends the list. Key and value are copied
        // (`MSG_F_COPY`); the headers are librdkafka's once it has taken the record, and ours to destroy if it has not.
        unsafe {
            let code = sys::rd_kafka_producev(
                self.producer.0.handle,
                RD_KAFKA_VTYPE_RKT,
                *topic,
                RD_KAFKA_VTYPE_PARTITION,
                record.partition,
                RD_KAFKA_VTYPE_MSGFLAGS,
                sys::RD_KAFKA_MSG_F_COPY,
                RD_KAFKA_VTYPE_VALUE,
                value,
                value_len,
                RD_KAFKA_VTYPE_KEY,
                key,
                key_len,
                RD_KAFKA_VTYPE_OPAQUE,
                number as *mut c_void,
                RD_KAFKA_VTYPE_HEADERS,
                headers,
                RD_KAFKA_VTYPE_TIMESTAMP,
                record.timestamp_ms.unwrap_or(0),
                RD_KAFKA_VTYPE_END,
            );
            if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR && !headers.is_null() {
                sys::rd_kafka_headers_destroy(headers);
            }
            check(code)
        }
    }
}

impl Drop for Topics<'_> {
    fn drop(&mut self) {
        for handle in &self.handles {
            // SAFETY: ours, destroyed once, before the producer.
            unsafe { sys::rd_kafka_topic_destroy(*handle) };
        }
    }
}

/// Headers for one record, null if it has none.
fn headers(from: &[Header<'_>]) -> Result<*mut sys::rd_kafka_headers_t, Failure> {
    if from.is_empty() {
        return Ok(ptr::null_mut());
    }
    // SAFETY: names and values are copied; the headers are the caller's, or destroyed here.
    unsafe {
        let headers = sys::rd_kafka_headers_new(from.len());
        for (name, value) in from {
            let (value, len) = parts(*value);
            let size = |len: usize| isize::try_from(len).unwrap_or(isize::MAX);
            let code = sys::rd_kafka_header_add(headers, name.as_ptr().cast(), size(name.len()), value, size(len));
            if let Err(failure) = check(code) {
                sys::rd_kafka_headers_destroy(headers);
                return Err(failure);
            }
        }
        Ok(headers)
    }
}

/// Null stands for nothing; no bytes at all are something.
fn parts(bytes: Option<&[u8]>) -> (*const c_void, usize) {
    bytes.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr().cast(), bytes.len()))
}
