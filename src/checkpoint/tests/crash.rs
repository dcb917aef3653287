//! Power cuts, kills and disk errors at every operation.

use super::*;
use crate::error::Error;

/// The states that a crash at an operation may leave, a few of the many.
fn lefts(seed: u64) -> [Left; 4] {
    [Left::Everything, Left::Synced, Left::Any(seed), Left::Any(seed + 1_000_000)]
}

/// Cuts the power at every operation of `work`, and gives what may be left to `then`.
fn cut_everywhere(
    start: &FaultVfs,
    work: impl Fn(&FaultVfs, &mut Progress) -> Result<()>,
    then: impl Fn(&FaultVfs, Progress, u64),
) {
    for operation in 0.. {
        let vfs = start.after(Left::Everything);
        vfs.fail_at(operation, Fault::PowerCut);
        let mut progress = Progress::default();
        let outcome = work(&vfs, &mut progress);
        if outcome.is_ok() {
            assert!(operation > 10, "there was nothing to cut");
            return;
        }
        for left in lefts(operation) {
            then(&vfs.after(left), progress, operation);
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_decided() {
    cut_everywhere(
        &FaultVfs::default(),
        |vfs, progress| resume(vfs, progress, 7),
        |left, mut progress, operation| {
            resume(left, &mut progress, 9).unwrap_or_else(|error| panic!("cut at {operation}: {}", error.chain()));
            assert_eq!(progress.decided, 9);
            let (_, found) = open(left).expect("a clean end");
            assert_eq!(check(&found, progress), 9);
        },
    );
}

#[test]
fn recovery_itself_may_be_cut_at_any_operation() {
    let start = run(6);
    let known = Progress { tried: 6, decided: 6, committed: 0 };
    cut_everywhere(
        &start,
        |vfs, progress| {
            *progress = known;
            resume(vfs, progress, 7)
        },
        |left, progress, operation| {
            // A second cut, in the recovery from the first.
            for second in [3, 6, 9, 14, 21] {
                let again = left.after(Left::Everything);
                again.fail_at(second, Fault::PowerCut);
                let mut progress = progress;
                if resume(&again, &mut progress, 8).is_err() {
                    let left = again.after(Left::Any(operation * 31 + second));
                    resume(&left, &mut progress, 9)
                        .unwrap_or_else(|error| panic!("cut at {operation}, then {second}: {}", error.chain()));
                }
            }
        },
    );
}

#[test]
fn a_power_cut_while_the_log_is_trimmed_loses_nothing() {
    cut_everywhere(
        &run(9),
        |vfs, progress| {
            *progress = Progress { tried: 9, decided: 9, committed: 0 };
            resume(vfs, progress, 17)
        },
        |left, mut progress, operation| {
            resume(left, &mut progress, 18).unwrap_or_else(|error| panic!("cut at {operation}: {}", error.chain()));
        },
    );
}

#[test]
fn a_power_cut_around_a_snapshot_that_is_logged_batches_later_loses_nothing() {
    cut_everywhere(
        &run(4),
        |vfs, progress| {
            *progress = Progress { tried: 4, decided: 4, committed: 0 };
            let (mut checkpoint, _) = open(vfs)?;
            let late = checkpoint.begin_snapshot(OPERATORS[1])?.write(&state(OPERATORS[1], 3).into())?;
            (4..7).try_for_each(|n| run_batch(&mut checkpoint, n, progress))?;
            checkpoint.snapshot(late)?;
            (7..12).try_for_each(|n| run_batch(&mut checkpoint, n, progress))
        },
        |left, mut progress, operation| {
            resume(left, &mut progress, 14).unwrap_or_else(|error| panic!("cut at {operation}: {}", error.chain()));
        },
    );
}

#[test]
fn a_kill_keeps_what_was_logged_before_it() {
    let vfs = FaultVfs::default();
    let (mut checkpoint, _) = open(&vfs).expect("a new checkpoint");
    run_batch(&mut checkpoint, 0, &mut Progress::default()).expect("a batch");
    checkpoint.planned(&plan(1)).expect("a plan");
    drop(checkpoint);
    let (_, found) = open(&vfs.after(Left::Everything)).expect("reopens");
    assert_eq!(found.first_step, FirstStep::Run(plan(1)));
    let (_, found) = open(&vfs.after(Left::Synced)).expect("reopens");
    assert!(matches!(found.first_step, FirstStep::CommitSinks(..)), "{:?}", found.first_step);
}

/// A call that finds the disk full may be repeated: with space again it succeeds, and nothing is there twice or half.
#[test]
fn a_full_disk_changes_nothing_at_any_operation() {
    let mut full = 0;
    for operation in 0.. {
        let vfs = FaultVfs::default();
        vfs.fail_at(operation, Fault::NoSpace);
        run_again_when_full(&vfs, &mut full).unwrap_or_else(|error| panic!("full at {operation}: {}", error.chain()));
        let (_, found) = open(&vfs.after(Left::Synced)).expect("reopens");
        assert_eq!(check(&found, Progress { tried: 7, decided: 7, committed: 7 }), 7);
        if vfs.operations() <= operation {
            break;
        }
    }
    assert!(full > 20, "only {full} calls found the disk full");
}

type Step<'a> = dyn Fn(&mut Checkpoint) -> Result<()> + 'a;

fn run_again_when_full(vfs: &FaultVfs, full: &mut usize) -> Result<()> {
    let mut is_full = |error: &Error| {
        *full += usize::from(error.kind() == ErrorKind::NoSpace);
        error.kind() == ErrorKind::NoSpace
    };
    let (mut checkpoint, _) = match open(vfs) {
        Err(error) if is_full(&error) => open(vfs)?,
        opened => opened?,
    };
    for n in 0..7 {
        let steps: [&Step<'_>; 6] = [
            &|checkpoint| checkpoint.planned(&plan(n)),
            &|checkpoint| checkpoint.prepared(&prepared(n)),
            &|checkpoint| checkpoint.committed(BatchId(n), json!(null)),
            &|checkpoint| snapshot(checkpoint, OPERATORS[0], &state(OPERATORS[0], n).into()),
            &|checkpoint| checkpoint.retain(2),
            &|checkpoint| checkpoint.sync(),
        ];
        for step in steps {
            match step(&mut checkpoint) {
                Err(error) if is_full(&error) => step(&mut checkpoint)?,
                done => done?,
            }
        }
    }
    Ok(())
}

#[test]
fn a_failed_sync_is_final_and_a_restart_finds_a_legal_state() {
    let mut failed = 0;
    for operation in 0.. {
        let vfs = FaultVfs::default();
        vfs.fail_at(operation, Fault::SyncFails);
        let mut progress = Progress::default();
        let (mut checkpoint, _) = match open(&vfs) {
            Ok(opened) => opened,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Storage, "{}", error.chain());
                assert!(error.to_string().contains(ROOT), "{error}");
                continue;
            }
        };
        let outcome = (0..7).try_for_each(|n| run_batch(&mut checkpoint, n, &mut progress));
        if vfs.operations() <= operation {
            break;
        }
        if let Err(error) = outcome {
            failed += 1;
            assert_eq!(error.kind(), ErrorKind::Storage, "{}", error.chain());
            drop(checkpoint);
        }
        resume(&vfs.after(Left::Synced), &mut progress, 8)
            .unwrap_or_else(|error| panic!("failed at {operation}: {}", error.chain()));
    }
    assert!(failed > 6, "only {failed} syncs failed");
}

#[test]
fn after_a_failed_log_sync_no_call_succeeds() {
    let vfs = FaultVfs::default();
    let (mut checkpoint, _) = open(&vfs).expect("a new checkpoint");
    checkpoint.planned(&plan(0)).expect("a plan");
    vfs.fail_at(vfs.operations() + 1, Fault::SyncFails);
    assert_eq!(checkpoint.prepared(&prepared(0)).expect_err("the sync fails").kind(), ErrorKind::Storage);
    for outcome in [
        checkpoint.sync(),
        checkpoint.committed(BatchId(0), json!(null)),
        checkpoint.prepared(&prepared(0)),
        snapshot(&mut checkpoint, OPERATORS[0], &Bytes::from_static(b"x")),
        checkpoint.retain(1),
    ] {
        assert_eq!(outcome.expect_err("it is final").kind(), ErrorKind::Storage);
    }
}
