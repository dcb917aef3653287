//! Offsets of a list of taken files that nobody has open.

use std::path::Path;

use serde_json::Value;

use super::{Progress, taken};
use crate::checkpoint::storage::SharedVfs;
use crate::error::{Error, Result};
use crate::source::Offset;

/// The first file that the list in `dir` still has, and behind the last.
pub(crate) fn places(vfs: &SharedVfs, dir: &Path) -> Result<(Offset, Offset)> {
    let list = taken::examine(vfs, dir)?.map_or(0..0, |list| list.numbers);
    let place = |file| Offset::encode(&Progress { file, position: 0 });
    Ok((place(list.start), place(list.end)))
}

/// The start of a file of the list, which begins and ends there. Anything else is [`crate::ErrorKind::Config`].
pub(crate) fn place_between(first: &Offset, end: &Offset, wanted: &Value) -> Result<Offset> {
    let offset = Offset::encode(wanted);
    let place = offset.decode::<Progress>().ok().filter(|place| place.position == 0);
    let within = place.zip(first.decode::<Progress>().ok()).zip(end.decode::<Progress>().ok());
    match within {
        Some(((place, first), end)) if first <= place && place <= end => Ok(offset),
        _ => Err(Error::config(format!(
            "expected the start of a file from {} to {}, found {wanted}; files before have been read and are forgotten",
            first.as_json(),
            end.as_json()
        ))),
    }
}
