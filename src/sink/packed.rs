//! Staged bytes of sinks that send item after item: the items, then what is known of all of them as JSON, then the length of that.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

/// Stands for the length of what is null.
const NULL: u32 = u32::MAX;

/// Puts items together.
#[derive(Debug, Default)]
pub(super) struct Packer(Vec<u8>);

impl Packer {
    /// Adds bytes as they are, of a length that readers know.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// # Errors
    /// [`ErrorKind::Data`] from 4 Gi on.
    pub(super) fn number(&mut self, number: usize) -> Result<()> {
        let small = u32::try_from(number).ok().filter(|number| *number != NULL);
        let small = small.ok_or_else(|| Error::new(ErrorKind::Data, "a row has a value of more than 4 GiB"))?;
        self.0.extend_from_slice(&small.to_le_bytes());
        Ok(())
    }

    /// # Errors
    /// [`ErrorKind::Data`] for what is longer than 4 GiB.
    pub(super) fn bytes(&mut self, bytes: Option<&[u8]>) -> Result<()> {
        match bytes {
            None => self.0.extend_from_slice(&NULL.to_le_bytes()),
            Some(bytes) => {
                self.number(bytes.len())?;
                self.0.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// The staged bytes.
    pub(super) fn finish(mut self, head: &impl Serialize) -> Bytes {
        let head = serde_json::to_vec(head).expect("a head is plain data");
        self.0.extend_from_slice(&head);
        self.0.extend_from_slice(&u32::try_from(head.len()).unwrap_or(NULL).to_le_bytes());
        self.0.into()
    }
}

/// The items, and what is known of them; `None` if the bytes are damaged.
pub(super) fn open<H: DeserializeOwned>(bytes: &Bytes) -> Option<(Bytes, H)> {
    let (before, length) = bytes.split_last_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let end = before.len().checked_sub(length)?;
    let head = serde_json::from_slice(&before[end..]).ok()?;
    Some((bytes.slice(..end), head))
}

/// Takes a number off the front.
pub(super) fn number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_le_bytes(*number))
}

/// Takes bytes off the front; none inside are null.
pub(super) fn bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match number(rest)? {
        NULL => Some(None),
        length => {
            let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            *rest = after;
            Some(Some(bytes))
        }
    }
}
