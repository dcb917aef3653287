//! How many files and connections the process may have open.
//!
//! Systems start programs with a small limit, for the sake of old ones that could not take more, and let them raise it up to a large
//! one. Each connection is an open file, so `limits.connections` would be out of reach without.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Raises the limit as far as the system lets us, and warns if `connections_max` of one listener stay out of reach.
pub(super) fn allow_many(connections_max: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: maximum, maximum };
    let allowed = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    // None is no limit.
    if let Some(allowed) = allowed.filter(|allowed| *allowed <= connections_max as u64) {
        warn!(
            open_files_max = allowed,
            connections_max,
            "the system allows fewer open files than limits.connections: raise it, with `ulimit -Hn` or LimitNOFILE"
        );
    }
}
