//! What was asked of a query and holds until something else is asked: it outlives the process.
//!
//! A file without contents in the query's folder, whose name says it.

use std::path::PathBuf;

use super::CheckpointRoot;
use super::root::query_dir;
use super::storage::{exists, publish};
use crate::error::Result;

/// What a query was asked to do, and has not been asked to end doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To start no batch.
    Paused,
    /// Not to run.
    Stopped,
}

impl Asked {
    const ALL: [Self; 2] = [Self::Stopped, Self::Paused];

    fn file(self, root: &CheckpointRoot, query: &str) -> PathBuf {
        query_dir(root.path(), query).join(match self {
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

impl CheckpointRoot {
    /// What was asked of `query` last, if it still holds.
    pub fn asked(&self, query: &str) -> Result<Option<Asked>> {
        for asked in Asked::ALL {
            if exists(self.vfs().as_ref(), &asked.file(self, query))? {
                return Ok(Some(asked));
            }
        }
        Ok(None)
    }

    /// Notes, durably, what holds from now on.
    pub fn note_asked(&self, query: &str, now: Option<Asked>) -> Result<()> {
        let (vfs, dir) = (self.vfs(), query_dir(self.path(), query));
        if let Some(now) = now {
            vfs.create_dir(&dir)?;
            publish(vfs.as_ref(), &now.file(self, query), b"")?;
        }
        for other in Asked::ALL.into_iter().filter(|other| Some(*other) != now) {
            vfs.remove(&other.file(self, query))?;
        }
        vfs.sync_dir(&dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::storage::fault::{Fault, FaultVfs, Left};

    #[test]
    fn what_was_asked_last_holds_through_power_cuts() {
        let first = FaultVfs::default();
        CheckpointRoot::open(first.shared(), "/ckpt").unwrap().note_asked("q", Some(Asked::Paused)).unwrap();
        for (now, operations_min) in [(Some(Asked::Stopped), 4), (Some(Asked::Paused), 2), (None, 2)] {
            for operation in 0.. {
                let vfs = first.after(Left::Synced);
                let root = CheckpointRoot::open(vfs.shared(), "/ckpt").unwrap();
                vfs.fail_at(vfs.operations() + operation, Fault::PowerCut);
                let done = root.note_asked("q", now).is_ok();
                for seed in 0..4 {
                    let root = CheckpointRoot::open(vfs.after(Left::Any(seed)).shared(), "/ckpt").unwrap();
                    let found = root.asked("q").unwrap();
                    assert!(found == now || (!done && found == Some(Asked::Paused)), "{now:?}, operation {operation}: {found:?}");
                    assert_eq!(root.asked("other").unwrap(), None);
                }
                if done {
                    assert!(operation >= operations_min, "{now:?}: {operation} operations");
                    break;
                }
            }
        }
    }
}
