//! Where a sink stands, said by a person: the way out when its mark and the checkpoint do not belong together.
//!
//! What is said goes to the log as a frame of its own, so that it holds whatever was under way, and until the sink has committed again.

use crate::checkpoint::{BatchId, Checkpoint, CheckpointRoot, FirstStep, Inspection, inspect};
use crate::error::{Error, Result};

/// What a person says of a sink, checked and not noted yet.
#[derive(Debug)]
pub struct Acceptance {
    inspection: Inspection,
    query: String,
    sink: String,
    /// Commits below this one will count as in, and it comes next.
    pub number: u64,
    /// The commit that would have come next.
    pub next: u64,
    /// The batch that is decided and not known to be in the sink, and whether its output counts as in.
    pub open: Option<(BatchId, bool)>,
    /// Whether the log holds a commit of the sink.
    pub is_known: bool,
}

/// Checks that commit `number` may be the next one of `sink` of `query`; changes nothing. One before a commit that is known to be in is
/// [`crate::ErrorKind::Config`].
pub fn plan_accept(root: &CheckpointRoot, query: &str, sink: &str, number: u64) -> Result<Acceptance> {
    let inspection = inspect(root.vfs(), root.path(), query)?;
    let recovered = &inspection.recovered;
    let (is_known, next) = (recovered.sink_numbers.contains_key(sink), recovered.sink_numbers.get(sink).copied().unwrap_or(0));
    let open = match &recovered.first_step {
        FirstStep::CommitSinks(plan, prepared) => {
            let output = prepared.outputs.iter().find(|output| output.sink == sink);
            output.map(|output| (plan.batch, output.number))
        }
        FirstStep::Plan(_) | FirstStep::Run(_) => None,
    };
    let next = open.map_or(next, |(_, number)| number);
    if number < next {
        let message = format!(
            "commits of sink {sink} below {next} are in it by the log, so that it cannot stand before: --at {next} or more"
        );
        return Err(Error::config(message));
    }
    let open = open.map(|(batch, output)| (batch, output < number));
    Ok(Acceptance { query: query.to_owned(), sink: sink.to_owned(), number, next, open, is_known, inspection })
}

impl Acceptance {
    /// Notes it, durably.
    pub fn apply(self, root: &CheckpointRoot) -> Result<()> {
        let (mut checkpoint, recovered) = Checkpoint::open(root, &self.query, &self.inspection.identity)?;
        if recovered.first_step != self.inspection.recovered.first_step {
            return Err(Error::internal(format!("the checkpoint of query {} changed while it was locked", self.query)));
        }
        checkpoint.accept(&self.sink, self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::checkpoint::storage::fault::{Fault, FaultVfs, Left};
    use crate::checkpoint::{Identity, Recovered};
    use crate::error::ErrorKind;
    use crate::maintenance::tests::run_three;

    const ROOT: &str = "/ckpt";

    fn identity() -> Identity {
        Identity { time_zone: "UTC".to_owned(), sources: ["a".to_owned()].into(), operators: Default::default() }
    }

    fn open(vfs: &FaultVfs) -> Result<CheckpointRoot> {
        CheckpointRoot::open(vfs.shared(), ROOT)
    }

    /// Three commits of `out`, the last of which is committed or not.
    fn made(is_open: bool) -> FaultVfs {
        let vfs = FaultVfs::default();
        let (checkpoint, _) = Checkpoint::open(&open(&vfs).unwrap(), "q", &identity()).unwrap();
        run_three(checkpoint, b"rows", !is_open);
        vfs.after(Left::Everything)
    }

    fn accept(vfs: &FaultVfs, sink: &str, number: u64) -> Result<()> {
        let root = open(vfs)?;
        plan_accept(&root, "q", sink, number)?.apply(&root)
    }

    fn found(vfs: &FaultVfs) -> Recovered {
        inspect(&vfs.shared(), Path::new(ROOT), "q").unwrap().recovered
    }

    #[test]
    fn only_where_the_sink_stands_is_changed() {
        for is_open in [false, true] {
            let vfs = made(is_open);
            let before = found(&vfs);
            accept(&vfs, "out", 9).unwrap();
            let after = found(&vfs);
            assert_eq!((after.sink_numbers["out"], after.accepted["out"]), (9, 9));
            assert_eq!((after.first_step, after.last, after.state), (before.first_step, before.last, before.state));
        }
        let vfs = made(true);
        accept(&vfs, "out", 2).unwrap();
        assert_eq!(
            (found(&vfs).sink_numbers["out"], found(&vfs).accepted["out"]),
            (3, 2),
            "what is decided is still to be written"
        );
    }

    #[test]
    fn what_it_would_do_is_told_and_what_cannot_be_is_refused() {
        let planned = |is_open: bool, sink: &str, number: u64| plan_accept(&open(&made(is_open)).unwrap(), "q", sink, number);
        let told = |planned: Acceptance| (planned.next, planned.open, planned.is_known);
        assert_eq!(told(planned(false, "out", 3).unwrap()), (3, None, true));
        assert_eq!(told(planned(true, "out", 2).unwrap()), (2, Some((BatchId(2), false)), true));
        assert_eq!(told(planned(true, "out", 3).unwrap()), (2, Some((BatchId(2), true)), true));
        assert_eq!(told(planned(false, "other", 5).unwrap()), (0, None, false));
        for (is_open, number, least) in [(false, 2, 3), (true, 1, 2)] {
            let refused = planned(is_open, "out", number).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Config);
            assert!(refused.message().contains(&format!("--at {least} or more")), "{refused}");
        }
    }

    #[test]
    fn a_power_cut_at_any_operation_leaves_it_said_or_not() {
        let whole = made(true);
        let (mut said, mut unsaid) = (0, 0);
        for operation in 0.. {
            let vfs = whole.after(Left::Everything);
            vfs.fail_at(vfs.operations() + operation, Fault::PowerCut);
            let done = accept(&vfs, "out", 9).is_ok();
            for seed in 0..4 {
                let after = vfs.after(Left::Any(seed));
                let (_, recovered) = Checkpoint::open(&open(&after).unwrap(), "q", &identity()).unwrap();
                assert!(matches!(recovered.first_step, FirstStep::CommitSinks(..)), "operation {operation}");
                match recovered.accepted.get("out") {
                    Some(9) => said += u64::from(!done),
                    None if !done => unsaid += 1,
                    other => panic!("operation {operation}: {other:?}"),
                }
            }
            if done {
                break;
            }
        }
        assert!(said > 0 && unsaid > 0, "{said} {unsaid}");
    }
}
