//! librdkafka, made safe: the only folder that calls it.
//!
//! A [`Client`] owns a handle and gives out owned values; a [`PartitionQueue`] lends messages to a closure for as long as librdkafka
//! keeps them. Handles of librdkafka may be used from any thread, and each pointer here has one owner that frees it once.
#![allow(unsafe_code)]

mod producer;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Code;
use tokio::sync::Notify;

pub(crate) use producer::{Header, Producer, Record};

/// Why librdkafka could not do something.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn of(code: Code) -> Self {
        // SAFETY: the answer is a string that lives as long as the program.
        let reason = unsafe { text(sys::rd_kafka_err2str(code)) };
        Self { code, reason }
    }
}

/// A partition and an offset, or whatever else is asked for or said of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// A topic as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) name: String,
    /// Differs when a topic was deleted and made again.
    pub(crate) id: String,
    pub(crate) partitions: Vec<i32>,
}

/// A consumer's handle.
pub(crate) struct Client {
    handle: *mut sys::rd_kafka_t,
    /// Where errors of connections arrive.
    events: *mut sys::rd_kafka_queue_t,
    /// Whether offsets were told to a group: they are on their way, and are waited for in the end.
    has_committed: AtomicBool,
}

// SAFETY: librdkafka locks what its handles and queues refer to; every function called here is documented as thread-safe.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Every property that librdkafka knows, those of topics last.
pub(crate) fn property_names() -> Vec<String> {
    // SAFETY: a dump is an array of `count` strings, name and value by turns, freed after it was copied, as the configurations are.
    unsafe {
        let (conf, topic_conf) = (sys::rd_kafka_conf_new(), sys::rd_kafka_topic_conf_new());
        let (mut count, mut topic_count) = (0, 0);
        let dumps = [
            (sys::rd_kafka_conf_dump(conf, &mut count), &mut count),
            (sys::rd_kafka_topic_conf_dump(topic_conf, &mut topic_count), &mut topic_count),
        ];
        let mut names = Vec::new();
        for (dump, count) in dumps {
            names.extend((0..*count).step_by(2).map(|at| text(*dump.add(at))));
            sys::rd_kafka_conf_dump_free(dump, *count);
        }
        sys::rd_kafka_topic_conf_destroy(topic_conf);
        sys::rd_kafka_conf_destroy(conf);
        names
    }
}

/// Whether librdkafka has a property of this name, which may be another name for one, as `linger.ms` is.
pub(crate) fn is_property(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the name lives during the calls, which may leave the value's place null; the configurations are destroyed once.
    unsafe {
        let (conf, topic_conf, mut length) = (sys::rd_kafka_conf_new(), sys::rd_kafka_topic_conf_new(), 0);
        let found = [
            sys::rd_kafka_conf_get(conf, name.as_ptr(), ptr::null_mut(), &mut length),
            sys::rd_kafka_topic_conf_get(topic_conf, name.as_ptr(), ptr::null_mut(), &mut length),
        ];
        sys::rd_kafka_topic_conf_destroy(topic_conf);
        sys::rd_kafka_conf_destroy(conf);
        // One that has no value is known too.
        found.iter().any(|found| *found != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN)
    }
}

impl Client {
    /// A consumer with these properties; what is wrong with them otherwise. Connects in the background.
    pub(crate) fn consumer(properties: &[(String, String)]) -> Result<Self, String> {
        Self::new(properties, sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, sys::RD_KAFKA_EVENT_ERROR)
    }

    fn new(properties: &[(String, String)], kind: sys::rd_kafka_type_t, events: c_int) -> Result<Self, String> {
        let mut message = [0 as c_char; 512];
        // SAFETY: the configuration is ours until `rd_kafka_new` takes it, which it does only when it succeeds; `message` is as
        // long as we say and ends with a zero after a failure.
        unsafe {
            let conf = sys::rd_kafka_conf_new();
            for (name, value) in properties {
                let (Ok(c_name), Ok(c_value)) = (CString::new(name.as_str()), CString::new(value.as_str())) else {
                    sys::rd_kafka_conf_destroy(conf);
                    return Err(format!("property {name} holds a zero byte"));
                };
                let set = sys::rd_kafka_conf_set(conf, c_name.as_ptr(), c_value.as_ptr(), message.as_mut_ptr(), message.len());
                if set != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    sys::rd_kafka_conf_destroy(conf);
                    return Err(text(message.as_ptr()));
                }
            }
            sys::rd_kafka_conf_set_events(conf, events);
            sys::rd_kafka_conf_set_log_cb(conf, Some(log));
            let handle = sys::rd_kafka_new(kind, conf, message.as_mut_ptr(), message.len());
            if handle.is_null() {
                sys::rd_kafka_conf_destroy(conf);
                return Err(text(message.as_ptr()));
            }
            Ok(Self { handle, events: sys::rd_kafka_queue_get_main(handle), has_committed: AtomicBool::new(false) })
        }
    }

    /// The next error of a connection, if there was one since the last call.
    pub(crate) fn next_error(&self) -> Option<Failure> {
        // SAFETY: an event is ours to read until it is destroyed; a null one is none.
        unsafe {
            let event = Event(sys::rd_kafka_queue_poll(self.events, 0));
            if event.0.is_null() { None } else { Some(event.failure()) }
        }
    }

    /// The names of all topics that this client may see. Gives up early as [`Client::describe`] does.
    pub(crate) fn topics(&self, timeout: Duration, is_hopeless: &dyn Fn(&Failure) -> bool) -> Result<Vec<String>, Failure> {
        let mut found: *const sys::rd_kafka_metadata = ptr::null();
        let deadline = Instant::now() + timeout;
        let mut heard = Heard { is_hopeless, last: None };
        // SAFETY: after a success `found` points to metadata with `topic_cnt` topics, which is ours to destroy.
        unsafe {
            while let Err(failure) = check(sys::rd_kafka_metadata(self.handle, 1, ptr::null_mut(), &mut found, 500)) {
                if heard.is_hopeless(self) || Instant::now() >= deadline {
                    return Err(heard.last.unwrap_or(failure));
                }
            }
            let count = usize::try_from((*found).topic_cnt).unwrap_or(0);
            let names = (0..count).map(|at| text((*(*found).topics.add(at)).topic)).collect();
            sys::rd_kafka_metadata_destroy(found);
            Ok(names)
        }
    }

    /// What the cluster knows of these topics, for each one that exists. Gives up early when `is_hopeless` says of an error of a
    /// connection that waiting is of no use.
    pub(crate) fn describe(
        &self,
        names: &[String],
        timeout: Duration,
        is_hopeless: &dyn Fn(&Failure) -> bool,
    ) -> Result<Vec<Description>, Failure> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<CString> = names.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect();
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let deadline = Instant::now() + timeout;
        // SAFETY: the collection copies the names; collection, options, queue and event are destroyed here, each once, and what the
        // event holds is copied before.
        unsafe {
            let collection = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            let options = sys::rd_kafka_AdminOptions_new(self.handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, ms(timeout), ptr::null_mut(), 0);
            let queue = sys::rd_kafka_queue_new(self.handle);
            sys::rd_kafka_DescribeTopics(self.handle, collection, options, queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_TopicCollection_destroy(collection);
            let mut heard = Heard { is_hopeless, last: None };
            let answer = loop {
                let event = Event(sys::rd_kafka_queue_poll(queue, 50));
                if !event.0.is_null() {
                    break event.descriptions();
                }
                if heard.is_hopeless(self) || Instant::now() >= deadline + Duration::from_secs(1) {
                    break Err(Failure::of(Code::RD_KAFKA_RESP_ERR__TIMED_OUT));
                }
            };
            sys::rd_kafka_queue_destroy(queue);
            // What a connection met says more than that an answer did not come.
            answer.map_err(|failure| heard.last.unwrap_or(failure))
        }
    }

    /// For each partition the offset of the first record at or after the time in `offset` (milliseconds; -1 the end as this client's
    /// isolation has it, -2 the beginning), -1 if there is none.
    pub(crate) fn offsets(&self, wanted: &[At], timeout: Duration) -> Result<Vec<Result<At, Failure>>, Failure> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let list = List::new(wanted);
        // SAFETY: the list is valid and its elements are updated in place.
        check(unsafe { sys::rd_kafka_offsets_for_times(self.handle, list.0, ms(timeout)) })?;
        Ok(list.read())
    }

    /// Begins to fetch partitions at their offsets, beside those that are fetched already.
    pub(crate) fn assign(&self, partitions: &[At]) -> Result<(), Failure> {
        let list = List::new(partitions);
        // SAFETY: the list is valid and copied by the call.
        unsafe { take_error(sys::rd_kafka_incremental_assign(self.handle, list.0)) }
    }

    /// Ends fetching partitions; what was fetched of them is forgotten.
    pub(crate) fn unassign(&self, partitions: &[At]) -> Result<(), Failure> {
        let list = List::new(partitions);
        // SAFETY: the list is valid and copied by the call.
        unsafe { take_error(sys::rd_kafka_incremental_unassign(self.handle, list.0)) }
    }

    /// What the group of this client holds for a partition: an offset (negative if there is none), and the text beside it. Waits while
    /// a transaction that would change it is open.
    pub(crate) fn committed(&self, topic: &str, timeout: Duration) -> Result<(i64, String), Failure> {
        let list = List::new(&[At { topic: topic.into(), partition: 0, offset: sys::RD_KAFKA_OFFSET_INVALID.into() }]);
        // SAFETY: the list is valid and has the one element, which is updated in place.
        unsafe {
            check(sys::rd_kafka_committed(self.handle, list.0, ms(timeout)))?;
            if (*list.0).cnt != 1 {
                return Err(Failure::of(Code::RD_KAFKA_RESP_ERR__INVALID_ARG));
            }
            let element = &*(*list.0).elems;
            check(element.err)?;
            let beside = bytes(element.metadata, element.metadata_size).unwrap_or_default();
            Ok((element.offset, String::from_utf8_lossy(beside).into_owned()))
        }
    }

    /// Tells the group of this client how far it has come, without waiting for the answer.
    pub(crate) fn commit(&self, offsets: &[At]) -> Result<(), Failure> {
        let list = List::new(offsets);
        self.has_committed.store(true, Ordering::Relaxed);
        // SAFETY: the list is valid and copied by the call.
        check(unsafe { sys::rd_kafka_commit(self.handle, list.0, 1) })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // There is no group to leave.
        let flags = if *self.has_committed.get_mut() { 0 } else { sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE };
        // SAFETY: queues of partitions hold the client, so none is left; the handle is destroyed once, after its queue.
        unsafe {
            sys::rd_kafka_queue_destroy(self.events);
            sys::rd_kafka_destroy_flags(self.handle, flags);
        }
    }
}

/// What the connections of a client met while something was waited for.
struct Heard<'a> {
    is_hopeless: &'a dyn Fn(&Failure) -> bool,
    /// The last error, or the first one that makes waiting useless.
    last: Option<Failure>,
}

impl Heard<'_> {
    fn is_hopeless(&mut self, client: &Client) -> bool {
        while !self.last.as_ref().is_some_and(self.is_hopeless) {
            let Some(failure) = client.next_error() else { return false };
            self.last = Some(failure);
        }
        true
    }
}

/// Whether to go on with the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Enough,
}

/// What the broker, or the client on its behalf, says of a partition.
pub(crate) struct Message<'a>(&'a sys::rd_kafka_message_t);

impl<'a> Message<'a> {
    /// The error that this stands for instead of a record.
    pub(crate) fn error(&self) -> Option<Failure> {
        let code = self.0.err;
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: the message of an error carries a text, or the code's own stands in for it.
        Some(Failure { code, reason: unsafe { text(sys::rd_kafka_message_errstr(self.0)) } })
    }

    /// Of the record; at the end of a partition, the end.
    pub(crate) fn offset(&self) -> i64 {
        self.0.offset
    }

    /// The value, `None` for a tombstone.
    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: librdkafka keeps `len` bytes there for as long as the message is lent.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    /// The key.
    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: as for the value.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    /// Milliseconds since 1970, and 0 if the producer set them or 1 if the broker did; -1 and 0 where there is none.
    pub(crate) fn timestamp(&self) -> (i64, i32) {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is lent to us; `kind` is written to.
        let ms = unsafe { sys::rd_kafka_message_timestamp(self.0, &mut kind) };
        let by_broker = kind == sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
        (ms, i32::from(by_broker))
    }

    /// Shows each header.
    pub(crate) fn headers(&self, mut show: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: the headers belong to the message; name and value live as long as they do, and the loop ends at the first index
        // that is not there.
        unsafe {
            if sys::rd_kafka_message_headers(self.0, &mut headers) != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            for at in 0.. {
                let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
                let found = sys::rd_kafka_header_get_all(headers, at, &mut name, &mut value, &mut len);
                if found != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return;
                }
                show(CStr::from_ptr(name).to_bytes(), bytes(value, len));
            }
        }
    }
}

/// What was fetched of one partition and not yet taken.
pub(crate) struct PartitionQueue {
    queue: *mut sys::rd_kafka_queue_t,
    /// Told when something arrives in the empty queue; librdkafka holds a pointer to it.
    _wake: Arc<Notify>,
    client: Arc<Client>,
}

// SAFETY: as for the client; librdkafka's queues are locked.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// Splits the partition's queue off, before the partition is assigned.
    pub(crate) fn new(client: Arc<Client>, topic: &str, partition: i32, wake: Arc<Notify>) -> Result<Self, Failure> {
        let name = CString::new(topic).map_err(|_| Failure::of(Code::RD_KAFKA_RESP_ERR__INVALID_ARG))?;
        // SAFETY: the queue is ours to destroy; `wake` is kept until it is, and the callback only reads it.
        unsafe {
            let queue = sys::rd_kafka_queue_get_partition(client.handle, name.as_ptr(), partition);
            if queue.is_null() {
                return Err(Failure::of(Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION));
            }
            sys::rd_kafka_queue_forward(queue, ptr::null_mut());
            sys::rd_kafka_queue_cb_event_enable(queue, Some(notify), Arc::as_ptr(&wake).cast_mut().cast());
            Ok(Self { queue, _wake: wake, client })
        }
    }

    /// Hands what has been fetched to `take`, one message after the other, until it has enough; waits for the first one at most
    /// `timeout`. What it does not take stays in the queue.
    pub(crate) fn consume<F: FnMut(Message<'_>) -> Flow>(&mut self, timeout: Duration, take: F) {
        struct Taking<F> {
            take: F,
            handle: *mut sys::rd_kafka_t,
        }
        /// Called on the thread that consumes, once per message.
        unsafe extern "C" fn taken<F: FnMut(Message<'_>) -> Flow>(message: *mut sys::rd_kafka_message_t, taking: *mut c_void) {
            // SAFETY: `taking` is the value below, which nobody else touches meanwhile; the message is valid until we return.
            let (taking, message) = unsafe { (&mut *taking.cast::<Taking<F>>(), &*message) };
            if (taking.take)(Message(message)) == Flow::Enough {
                // SAFETY: ends the loop on this very thread.
                unsafe { sys::rd_kafka_yield(taking.handle) };
            }
        }
        let mut taking = Taking { take, handle: self.client.handle };
        // SAFETY: the queue is ours; the callback gets a pointer to `taking`, which outlives the call.
        unsafe {
            sys::rd_kafka_consume_callback_queue(self.queue, ms(timeout), Some(taken::<F>), (&raw mut taking).cast());
        }
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the callback is called under the queue's lock, so that after it is taken away nobody holds `wake`.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// Called on a thread of librdkafka when a queue that was empty is not any more.
unsafe extern "C" fn notify(_: *mut sys::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: the queue that calls us keeps `wake`.
    unsafe { &*wake.cast::<Notify>() }.notify_one();
}

/// Called on a thread of librdkafka for each line of its log.
unsafe extern "C" fn log(_: *const sys::rd_kafka_t, level: c_int, facility: *const c_char, line: *const c_char) {
    // SAFETY: both are strings that live until we return.
    let (facility, line) = unsafe { (text(facility), text(line)) };
    match level {
        0..=3 => tracing::warn!(facility, "kafka: {line}"),
        4..=6 => tracing::info!(facility, "kafka: {line}"),
        _ => tracing::debug!(facility, "kafka: {line}"),
    }
}

/// An event of a queue, destroyed with it; null where there was none.
struct Event(*mut sys::rd_kafka_event_t);

impl Event {
    /// # Safety
    /// The event is not null.
    unsafe fn failure(&self) -> Failure {
        // SAFETY: the caller's; the text lives as long as the event.
        unsafe { Failure { code: sys::rd_kafka_event_error(self.0), reason: text(sys::rd_kafka_event_error_string(self.0)) } }
    }

    /// # Safety
    /// The event is the answer to `rd_kafka_DescribeTopics`.
    unsafe fn descriptions(&self) -> Result<Vec<Description>, Failure> {
        // SAFETY: the caller's; everything read lives as long as the event, and arrays are as long as librdkafka says.
        unsafe {
            check(sys::rd_kafka_event_error(self.0)).map_err(|_| self.failure())?;
            let mut count = 0;
            let result = sys::rd_kafka_event_DescribeTopics_result(self.0);
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            let mut descriptions = Vec::with_capacity(count);
            for topic in (0..count).map(|at| *topics.add(at)) {
                let code = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
                match code {
                    Code::RD_KAFKA_RESP_ERR_NO_ERROR => descriptions.push(description(topic)),
                    Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => {}
                    _ => return Err(Failure::of(code)),
                }
            }
            Ok(descriptions)
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once; null is allowed.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
}

/// # Safety
/// `topic` lives.
unsafe fn description(topic: *const sys::rd_kafka_TopicDescription_t) -> Description {
    // SAFETY: the caller's.
    unsafe {
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &mut count);
        Description {
            name: text(sys::rd_kafka_TopicDescription_name(topic)),
            id: text(sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(topic))),
            partitions: (0..count).map(|at| sys::rd_kafka_TopicPartitionInfo_partition(*partitions.add(at))).collect(),
        }
    }
}

/// A list of partitions, destroyed with it.
struct List(*mut sys::rd_kafka_topic_partition_list_t);

impl List {
    fn new(partitions: &[At]) -> Self {
        // SAFETY: a new list is ours; names are copied, and the element that is added is valid until the next one is.
        unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(c_int::try_from(partitions.len()).unwrap_or(0));
            for at in partitions {
                let Ok(topic) = CString::new(at.topic.as_ref()) else { continue };
                (*sys::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), at.partition)).offset = at.offset;
            }
            Self(list)
        }
    }

    fn read(&self) -> Vec<Result<At, Failure>> {
        // SAFETY: the list is ours and has `cnt` elements.
        unsafe {
            let count = usize::try_from((*self.0).cnt).unwrap_or(0);
            let elements = (0..count).map(|at| &*(*self.0).elems.add(at));
            elements
                .map(|element| {
                    check(element.err)?;
                    Ok(At { topic: text(element.topic).into(), partition: element.partition, offset: element.offset })
                })
                .collect()
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) }
    }
}

fn check(code: Code) -> Result<(), Failure> {
    if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(Failure::of(code)) }
}

/// # Safety
/// `error` is null or an error that is the caller's.
unsafe fn take_error(error: *mut sys::rd_kafka_error_t) -> Result<(), Failure> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's; it is destroyed once, after its text was copied.
    unsafe {
        let failure = Failure { code: sys::rd_kafka_error_code(error), reason: text(sys::rd_kafka_error_string(error)) };
        sys::rd_kafka_error_destroy(error);
        Err(failure)
    }
}

/// # Safety
/// `from` is null or points to a string that ends with a zero.
unsafe fn text(from: *const c_char) -> String {
    if from.is_null() {
        return String::new();
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned()
}

/// # Safety
/// `from` is null or points to `len` bytes that live for `'a`.
unsafe fn bytes<'a>(from: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's.
    (!from.is_null()).then(|| unsafe { std::slice::from_raw_parts(from.cast(), len) })
}

fn ms(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX)
}
