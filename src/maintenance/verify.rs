//! Reads all of a root and says what is wrong with it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkpoint::{CheckpointRoot, Examined, examine};
use crate::error::{Error, ErrorKind, Result};
use crate::source::file::ListExamined;
use crate::source::ingest::LogExamined;
use crate::source::{Offset, file, ingest};

/// A part of a root that was read.
#[derive(Debug)]
pub struct Verified {
    /// `query total`, `ingest log of orders`, `list of files of total.orders`.
    pub part: String,
    /// How much was read: `12 frames, 3 blobs, 4711 bytes`; empty when nothing can be told.
    pub holds: String,
    /// What is no fault and yet worth knowing: what the next start will clean up.
    pub remarks: Vec<String>,
    /// What is wrong, a sentence with the file each; nothing when it is whole.
    pub faults: Vec<String>,
}

/// From where each source of a query is needed.
type Needed = BTreeMap<String, Offset>;

/// Reads every frame, output, state and snapshot of each query, every record of the ingest logs and the lists of files, checks them
/// against their checksums and each other, and changes nothing.
///
/// # Errors
/// What keeps the root from being read. Damage is in [`Verified::faults`].
pub fn verify(root: &CheckpointRoot) -> Result<Vec<Verified>> {
    let mut parts = Vec::new();
    let mut needed = Vec::new();
    for query in root.queries()? {
        let examined = examine(root.vfs(), root.path(), &query)?;
        parts.push(of_query(&query, &examined));
        needed.push((query, examined.needed_from));
    }
    for (name, dir) in root.source_dirs()? {
        let log = ingest::examine(root.vfs(), &dir).map(|log| log.map(|log| of_log(&name, &dir, &log, &needed)));
        parts.extend(unless_damaged(format!("ingest log of {name}"), log)?);
        let list = file::examine(root.vfs(), &dir).map(|list| list.map(|list| of_list(&name, &list)));
        parts.extend(unless_damaged(format!("list of files of {name}"), list)?);
    }
    Ok(parts)
}

fn of_query(query: &str, examined: &Examined) -> Verified {
    let mut remarks = Vec::new();
    if examined.is_unfinished {
        remarks.push("a crash cut its creation short: the next start creates it again".to_owned());
    }
    if examined.unfinished_bytes > 0 {
        remarks.push(format!("{} bytes at the end of the log were never finished: not used", examined.unfinished_bytes));
    }
    if examined.unnamed_files > 0 {
        remarks.push(format!("{} files belong to nothing: the next start removes them", examined.unnamed_files));
    }
    Verified {
        part: format!("query {query}"),
        holds: format!("{} frames, {} blobs, {} bytes", examined.frames, examined.blobs, examined.bytes),
        remarks,
        faults: examined.faults.iter().map(Error::chain).collect(),
    }
}

fn of_log(name: &str, dir: &Path, log: &LogExamined, needed: &[(String, Needed)]) -> Verified {
    let mut faults: Vec<String> = log.faults.iter().map(Error::chain).collect();
    for (query, offsets) in needed {
        if let Some(Err(error)) = offsets.get(name).map(|offset| log.check(dir, offset)) {
            faults.push(format!("query {query} cannot go on: {}", error.chain()));
        }
    }
    let torn = (log.torn_bytes > 0).then(|| format!("{} bytes at its end were never finished: not used", log.torn_bytes));
    Verified {
        part: format!("ingest log of {name}"),
        holds: format!("{} rows in {} segments, {} bytes", log.rows, log.segments, log.bytes),
        remarks: torn.into_iter().collect(),
        faults,
    }
}

fn of_list(name: &str, list: &ListExamined) -> Verified {
    Verified {
        part: format!("list of files of {name}"),
        holds: format!(
            "{} files known, {} of them kept for batches, {} bytes",
            list.seen,
            list.numbers.end - list.numbers.start,
            list.bytes
        ),
        remarks: Vec::new(),
        faults: Vec::new(),
    }
}

/// A part that cannot be read at all is one fault.
fn unless_damaged(part: String, examined: Result<Option<Verified>>) -> Result<Option<Verified>> {
    match examined {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            Ok(Some(Verified { part, holds: String::new(), remarks: Vec::new(), faults: vec![error.chain()] }))
        }
        examined => examined,
    }
}
