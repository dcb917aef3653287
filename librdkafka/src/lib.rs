//! librdkafka, made safe: what an engine and a generator of Kafka messages need of it, and the only code that calls it.
//!
//! A [`Client`] owns a handle and gives out owned values; a [`PartitionQueue`] lends messages to a closure for as long as librdkafka
//! keeps them. Handles of librdkafka may be used from any thread, and each pointer here has one owner that frees it once.
#![allow(unsafe_code)]

mod client;
mod producer;
mod queue;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys as sys;

/// librdkafka's error codes.
pub use sys::rd_kafka_resp_err_t as Code;

pub use client::{Client, Description};
pub use producer::{Header, Producer, Record, Topics};
pub use queue::{Flow, Message, PartitionQueue};

/// Why librdkafka could not do something.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// What went wrong.
    pub code: Code,
    /// The same in words, often with more detail.
    pub reason: String,
}

impl Failure {
    /// With librdkafka's own words for `code`.
    pub fn of(code: Code) -> Self {
        // SAFETY: the answer is a string that lives as long as the program.
        let reason = unsafe { text(sys::rd_kafka_err2str(code)) };
        Self { code, reason }
    }

    /// Whether the cluster does not let this client in, so that trying again would end in the same way.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.code,
            Code::RD_KAFKA_RESP_ERR__AUTHENTICATION
                | Code::RD_KAFKA_RESP_ERR__SSL
                | Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
                | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM
                | Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
                | Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
        )
    }
}

/// A partition and an offset, or whatever else is asked for or said of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// From 0.
    pub partition: i32,
    /// Or a time, where times are asked for.
    pub offset: i64,
}

/// Every property that librdkafka knows, those of topics last.
pub fn property_names() -> Vec<String> {
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
pub fn is_property(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    let mut message = [0 as c_char; 512];
    // SAFETY: name, value and message live during the call, the message as long as we say; the configuration is destroyed once.
    unsafe {
        let conf = sys::rd_kafka_conf_new();
        // Setting tells unknown names from unwanted values. Asking would not: a property that has no value yet is not found.
        let set = sys::rd_kafka_conf_set(conf, name.as_ptr(), c"".as_ptr(), message.as_mut_ptr(), message.len());
        sys::rd_kafka_conf_destroy(conf);
        set != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN
    }
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

    /// # Safety
    /// The event is the answer to `rd_kafka_CreateTopics`.
    unsafe fn created(&self) -> Result<(), Failure> {
        // SAFETY: as above.
        unsafe {
            let mut count = 0;
            let topics = sys::rd_kafka_CreateTopics_result_topics(sys::rd_kafka_event_CreateTopics_result(self.0), &mut count);
            for topic in (0..count).map(|at| *topics.add(at)) {
                let code = sys::rd_kafka_topic_result_error(topic);
                check(code).map_err(|failure| match text(sys::rd_kafka_topic_result_error_string(topic)) {
                    none if none.is_empty() => failure,
                    reason => Failure { code, reason },
                })?;
            }
            Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_known_by_each_of_their_names_and_without_a_value_too() {
        let known =
            ["linger.ms", "queue.buffering.max.ms", "acks", "auto.offset.reset", "client.rack", "sasl.password", "ssl.key.pem"];
        assert_eq!(known.map(is_property), [true; 7]);
        assert_eq!(["linger.m", "", "kafka.acks", "a\0b"].map(is_property), [false; 4]);
    }
}
