//! What was fetched of a partition, lent message by message.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::{Client, Code, Failure, bytes, ms, sys, text};

/// Whether to go on with the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    Next,
    /// No; what comes next stays in the queue.
    Enough,
}

/// What the broker, or the client on its behalf, says of a partition.
pub struct Message<'a>(pub(crate) &'a sys::rd_kafka_message_t);

impl<'a> Message<'a> {
    /// The error that this stands for instead of a record.
    pub fn error(&self) -> Option<Failure> {
        let code = self.0.err;
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: the message of an error carries a text, or the code's own stands in for it.
        Some(Failure { code, reason: unsafe { text(sys::rd_kafka_message_errstr(self.0)) } })
    }

    /// Of the record; at the end of a partition, the end.
    pub fn offset(&self) -> i64 {
        self.0.offset
    }

    /// The value, `None` for a tombstone.
    pub fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: librdkafka keeps `len` bytes there for as long as the message is lent.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    /// The key.
    pub fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: as for the value.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    /// Milliseconds since 1970, and 0 if the producer set them or 1 if the broker did; -1 and 0 where there is none.
    pub fn timestamp(&self) -> (i64, i32) {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is lent to us; `kind` is written to.
        let ms = unsafe { sys::rd_kafka_message_timestamp(self.0, &mut kind) };
        let by_broker = kind == sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
        (ms, i32::from(by_broker))
    }

    /// Shows each header.
    pub fn headers(&self, mut show: impl FnMut(&[u8], Option<&[u8]>)) {
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
pub struct PartitionQueue {
    queue: *mut sys::rd_kafka_queue_t,
    /// Told when something arrives in the empty queue; librdkafka holds a pointer to it.
    _wake: Arc<Notify>,
    client: Arc<Client>,
}

// SAFETY: as for the client; librdkafka's queues are locked.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// Splits the partition's queue off, before the partition is assigned.
    pub fn new(client: Arc<Client>, topic: &str, partition: i32, wake: Arc<Notify>) -> Result<Self, Failure> {
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
    pub fn consume<F: FnMut(Message<'_>) -> Flow>(&mut self, timeout: Duration, take: F) {
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
