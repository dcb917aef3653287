//! A client of a cluster: a consumer, and questions about topics, offsets and groups.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::{At, Code, Event, Failure, List, bytes, check, ms, sys, take_error, text};

/// A topic as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Differs when a topic was deleted and made again.
    pub id: String,
    /// Numbers of its partitions.
    pub partitions: Vec<i32>,
}

/// A consumer's handle.
pub struct Client {
    pub(crate) handle: *mut sys::rd_kafka_t,
    /// Where errors of connections arrive.
    pub(crate) events: *mut sys::rd_kafka_queue_t,
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

impl Client {
    /// A consumer with these properties; what is wrong with them otherwise. Connects in the background.
    pub fn consumer(properties: &[(String, String)]) -> Result<Self, String> {
        Self::new(properties, sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, sys::RD_KAFKA_EVENT_ERROR)
    }

    pub(crate) fn new(properties: &[(String, String)], kind: sys::rd_kafka_type_t, events: c_int) -> Result<Self, String> {
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
            sys::rd_kafka_conf_set_log_cb(conf, Some(crate::log));
            let handle = sys::rd_kafka_new(kind, conf, message.as_mut_ptr(), message.len());
            if handle.is_null() {
                sys::rd_kafka_conf_destroy(conf);
                return Err(text(message.as_ptr()));
            }
            Ok(Self { handle, events: sys::rd_kafka_queue_get_main(handle), has_committed: AtomicBool::new(false) })
        }
    }

    /// The next error of a connection, if there was one since the last call.
    pub fn next_error(&self) -> Option<Failure> {
        // SAFETY: an event is ours to read until it is destroyed; a null one is none.
        unsafe {
            let event = Event(sys::rd_kafka_queue_poll(self.events, 0));
            if event.0.is_null() { None } else { Some(event.failure()) }
        }
    }

    /// The names of all topics that this client may see. Gives up early as [`Client::describe`] does.
    pub fn topics(&self, timeout: Duration, is_hopeless: &dyn Fn(&Failure) -> bool) -> Result<Vec<String>, Failure> {
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
    pub fn describe(
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
        let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        // SAFETY: the collection copies the names and is destroyed once; the event is the answer to this question.
        unsafe {
            let collection = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            let answer = self.ask(kind, timeout, is_hopeless, |options, queue| {
                sys::rd_kafka_DescribeTopics(self.handle, collection, options, queue);
            });
            sys::rd_kafka_TopicCollection_destroy(collection);
            answer?.descriptions()
        }
    }

    /// Makes a topic with so many partitions, replicated as is the cluster's default. Gives up early as [`Client::describe`] does.
    pub fn create(
        &self,
        name: &str,
        partitions: i32,
        timeout: Duration,
        is_hopeless: &dyn Fn(&Failure) -> bool,
    ) -> Result<(), Failure> {
        let name = CString::new(name).map_err(|_| Failure::of(Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION))?;
        let mut message = [0 as c_char; 512];
        let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        // SAFETY: the name is copied; the new topic is ours, read by the call and destroyed once; `message` is as long as we say and ends
        // with a zero after a failure; the event is the answer to this question.
        unsafe {
            let mut topic = sys::rd_kafka_NewTopic_new(name.as_ptr(), partitions, -1, message.as_mut_ptr(), message.len());
            if topic.is_null() {
                return Err(Failure { code: Code::RD_KAFKA_RESP_ERR__INVALID_ARG, reason: text(message.as_ptr()) });
            }
            let answer = self.ask(kind, timeout, is_hopeless, |options, queue| {
                sys::rd_kafka_CreateTopics(self.handle, &mut topic, 1, options, queue);
            });
            sys::rd_kafka_NewTopic_destroy(topic);
            answer?.created()
        }
    }

    /// Asks the cluster something with options and a queue for the answer, and waits for that. Gives up early when `is_hopeless` says so.
    fn ask(
        &self,
        kind: sys::rd_kafka_admin_op_t,
        timeout: Duration,
        is_hopeless: &dyn Fn(&Failure) -> bool,
        ask: impl FnOnce(*const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> Result<Event, Failure> {
        let deadline = Instant::now() + timeout;
        let mut heard = Heard { is_hopeless, last: None };
        // SAFETY: options and queue are destroyed here, each once, after the question was asked; the event is ours.
        let answer = unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.handle, kind);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, ms(timeout), ptr::null_mut(), 0);
            let queue = sys::rd_kafka_queue_new(self.handle);
            ask(options, queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            let answer = loop {
                let event = Event(sys::rd_kafka_queue_poll(queue, 50));
                if !event.0.is_null() {
                    break check(sys::rd_kafka_event_error(event.0)).map_err(|_| event.failure()).map(|()| event);
                }
                if heard.is_hopeless(self) || Instant::now() >= deadline + Duration::from_secs(1) {
                    break Err(Failure::of(Code::RD_KAFKA_RESP_ERR__TIMED_OUT));
                }
            };
            sys::rd_kafka_queue_destroy(queue);
            answer
        };
        // What a connection met says more than that an answer did not come.
        answer.map_err(|failure| heard.last.unwrap_or(failure))
    }

    /// For each partition the offset of the first record at or after the time in `offset` (milliseconds; -1 the end as this client's
    /// isolation has it, -2 the beginning), -1 if there is none.
    pub fn offsets(&self, wanted: &[At], timeout: Duration) -> Result<Vec<Result<At, Failure>>, Failure> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let list = List::new(wanted);
        // SAFETY: the list is valid and its elements are updated in place.
        check(unsafe { sys::rd_kafka_offsets_for_times(self.handle, list.0, ms(timeout)) })?;
        Ok(list.read())
    }

    /// Where a partition ends, what is not committed yet included, as the last answer to this client's fetching said; `None` before the
    /// first one.
    pub fn high_watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = CString::new(topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the name lives during the call, which writes both numbers.
        let code = unsafe { sys::rd_kafka_get_watermark_offsets(self.handle, topic.as_ptr(), partition, &mut low, &mut high) };
        (code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }

    /// Begins to fetch partitions at their offsets, beside those that are fetched already.
    pub fn assign(&self, partitions: &[At]) -> Result<(), Failure> {
        let list = List::new(partitions);
        // SAFETY: the list is valid and copied by the call.
        unsafe { take_error(sys::rd_kafka_incremental_assign(self.handle, list.0)) }
    }

    /// Ends fetching partitions; what was fetched of them is forgotten.
    pub fn unassign(&self, partitions: &[At]) -> Result<(), Failure> {
        let list = List::new(partitions);
        // SAFETY: the list is valid and copied by the call.
        unsafe { take_error(sys::rd_kafka_incremental_unassign(self.handle, list.0)) }
    }

    /// What the group of this client holds for a partition: an offset (negative if there is none), and the text beside it. Waits while
    /// a transaction that would change it is open.
    pub fn committed(&self, topic: &str, timeout: Duration) -> Result<(i64, String), Failure> {
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
    pub fn commit(&self, offsets: &[At]) -> Result<(), Failure> {
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
    /// The last error with a cause, or the first one that makes waiting useless.
    last: Option<Failure>,
}

impl Heard<'_> {
    fn is_hopeless(&mut self, client: &Client) -> bool {
        while !self.last.as_ref().is_some_and(self.is_hopeless) {
            let Some(failure) = client.next_error() else { return false };
            // What follows once no broker is left says only that.
            if self.last.is_none() || failure.code != Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN {
                self.last = Some(failure);
            }
        }
        true
    }
}
