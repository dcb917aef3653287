//! Which transactional ids the sinks of this process have: two with the same one would take it from each other for ever.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// By cluster.
static TAKEN: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// An id that is ours, as long as this lives.
#[derive(Debug)]
pub(super) struct Claim((String, String));

impl Claim {
    /// Claims `id` at the cluster that `servers` names.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] if a sink of this process has it.
    pub(super) fn new(servers: &str, id: &str) -> Result<Self> {
        let key = (servers.to_owned(), id.to_owned());
        if taken().insert(key.clone()) {
            return Ok(Self(key));
        }
        let message = format!("another sink of this process has the transactional id {id:?}: give each its own transactional_id");
        Err(Error::config(message))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        taken().remove(&self.0);
    }
}

fn taken() -> MutexGuard<'static, BTreeSet<(String, String)>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_sinks_at_a_time() {
        let first = Claim::new("claimed:1", "a").unwrap();
        let refused = Claim::new("claimed:1", "a").unwrap_err();
        assert!(refused.message().contains("transactional id \"a\""), "{refused:?}");
        let _elsewhere = Claim::new("claimed:2", "a").unwrap();
        drop(first);
        Claim::new("claimed:1", "a").unwrap();
    }
}
