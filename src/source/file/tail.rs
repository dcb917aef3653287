//! Growing files: how far their complete lines reach.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::listing::Found;
use super::reader::changed;
use super::taken::{Taken, TakenFiles};
use crate::error::{Attempt, ErrorKind, Result};

/// What is known about growing files beyond what was taken of them.
#[derive(Debug, Default)]
pub(super) struct Tails(HashMap<String, Tail>);

#[derive(Debug, Clone, Copy)]
struct Tail {
    inode: u64,
    /// Bytes that were searched for line ends, so that a line without end is not searched over and over.
    searched_to: u64,
    /// End of the last complete line.
    to: u64,
}

/// Bytes that are searched at a time.
const BLOCK: usize = 64 * 1024;

impl Tails {
    /// The complete lines that a file has beyond those that were taken.
    ///
    /// # Errors
    /// `FILE_CHANGED` when the file has become shorter than what was taken.
    pub(super) fn grown(&mut self, found: &Found, taken: &TakenFiles) -> Result<Option<Taken>> {
        let from = match taken.seen(&found.path) {
            None if taken.is_too_old(found.mtime_ns) => return Ok(None),
            None => 0,
            // Another file under the same name, as logs are rotated.
            Some(seen) if seen.inode != found.inode => 0,
            Some(seen) if found.size < seen.taken_to => {
                let how = format!("it was read up to byte {} and has {} now", seen.taken_to, found.size);
                return Err(changed(&found.path, &how));
            }
            Some(seen) => seen.taken_to,
        };
        let known = self.0.get(&found.path).filter(|tail| tail.inode == found.inode && tail.searched_to <= found.size).copied();
        let mut tail = known.unwrap_or(Tail { inode: found.inode, searched_to: from, to: from });
        if tail.searched_to < found.size {
            // The last byte again: a `\r` is judged by what follows it.
            let search_from = tail.searched_to.saturating_sub(1).max(from);
            let end = last_line_end(&found.path, search_from, found.size);
            let end = end.attempting(ErrorKind::Unavailable, || format!("read the file {}", found.path))?;
            tail = Tail { to: end.unwrap_or(tail.to), searched_to: found.size, ..tail };
            self.0.insert(found.path.clone(), tail);
        }
        let grown = Taken { from, to: Some(tail.to), ..Taken::whole(found) };
        Ok((tail.to > from).then_some(grown))
    }
}

/// One past the last line end in `[from, size)` of a file.
fn last_line_end(path: &str, from: u64, size: u64) -> io::Result<Option<u64>> {
    let file = File::open(path)?;
    let mut end = size;
    let mut block = vec![0; BLOCK];
    while end > from {
        let start = end.saturating_sub(BLOCK as u64).max(from);
        let bytes = &mut block[..usize::try_from(end - start).unwrap_or(BLOCK)];
        file.read_exact_at(bytes, start)?;
        // A `\r` that is the last byte of all may belong to a `\n` that is still to come.
        let undecided = end == size && bytes.last() == Some(&b'\r');
        let decided = &bytes[..bytes.len() - usize::from(undecided)];
        if let Some(at) = memchr::memrchr2(b'\n', b'\r', decided) {
            return Ok(Some(start + at as u64 + 1));
        }
        end = start;
    }
    Ok(None)
}
