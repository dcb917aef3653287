//! What a checkpoint does when nothing fails.

use expect_test::{Expect, expect};

use super::*;
use crate::checkpoint::storage::{exists, remove_tree};

#[test]
fn a_batch_costs_one_sync() {
    let vfs = FaultVfs::default();
    let root = CheckpointRoot::open(vfs.shared(), ROOT).expect("a root");
    let (mut checkpoint, _) = Checkpoint::open(&root, QUERY, &identity()).expect("a new checkpoint");
    let before = vfs.syncs();
    for n in 0..20 {
        run_to_commit(&mut checkpoint, n);
        checkpoint.retain(10).expect("retention");
    }
    assert_eq!(vfs.syncs() - before, 20);
    checkpoint.sync().expect("a sync");
    checkpoint.sync().expect("nothing to sync");
    assert_eq!(vfs.syncs() - before, 21);
    assert_eq!(checkpoint.committed_durable(), Some(BatchId(19)));
}

fn run_to_commit(checkpoint: &mut Checkpoint, n: u64) {
    checkpoint.planned(&plan(n)).expect("a plan");
    checkpoint.prepared(&prepared(n)).expect("a batch");
    checkpoint.committed(BatchId(n), json!(null)).expect("a commit");
}

#[test]
fn a_long_run_keeps_little() {
    let vfs = run(200);
    let log: Vec<_> = vfs.files().into_iter().filter(|file| file.starts_with("/ckpt/queries/suspicious/log")).collect();
    assert!(log.len() < 8, "{log:?}");
    let others = vfs.files().len() - log.len();
    assert!(others < 16, "{:?}", vfs.files());
    let (_, found) = open(&vfs).expect("reopens");
    assert_eq!(check(&found, Progress { tried: 200, decided: 200, committed: 0 }), 200);
}

#[test]
fn a_sink_that_was_idle_for_long_keeps_its_number() {
    let vfs = FaultVfs::default();
    let (mut checkpoint, _) = open(&vfs).expect("a new checkpoint");
    for n in 0..60 {
        checkpoint.planned(&plan(n)).expect("a plan");
        let outputs = if n == 0 { prepared(0).outputs } else { Vec::new() };
        checkpoint.prepared(&PreparedBatch { outputs, state: Vec::new(), ..prepared(n) }).expect("a batch");
        checkpoint.committed(BatchId(n), json!(null)).expect("a commit");
        checkpoint.retain(3).expect("retention");
        // Nothing became durable in between: a power cut may lose what says that segments may go, so that they must not.
        checkpoint.retain(3).expect("retention");
        let (_, left) = open(&vfs.after(Left::Any(n))).unwrap_or_else(|error| panic!("cut after {n}: {}", error.chain()));
        assert_eq!(left.sink_numbers, [("console".to_owned(), 1)].into(), "cut after {n}");
    }
    drop(checkpoint);
    let found = inspect(&vfs.shared(), Path::new(ROOT), QUERY).expect("inspects");
    assert!(found.frames[0].batch.is_none_or(|batch| batch.0 > 10), "{:?}", found.frames[0]);
    assert_eq!(found.recovered.sink_numbers, [("console".to_owned(), 1)].into());
}

#[test]
fn what_a_person_said_of_a_sink_holds_until_it_commits() {
    let vfs = FaultVfs::default();
    let (mut checkpoint, _) = open(&vfs).expect("a new checkpoint");
    checkpoint.planned(&plan(0)).expect("a plan");
    checkpoint.prepared(&PreparedBatch { state: Vec::new(), ..prepared(0) }).expect("a batch");
    checkpoint.committed(BatchId(0), json!(null)).expect("a commit");
    checkpoint.accept("console", 7).expect("notes it");
    let refused = checkpoint.accept("console", 6).expect_err("it cannot go back");
    assert!(refused.message().contains("said to stand before commit 7"), "{refused:?}");
    for n in 1..60 {
        checkpoint.planned(&plan(n)).expect("a plan");
        checkpoint.prepared(&PreparedBatch { outputs: Vec::new(), state: Vec::new(), ..prepared(n) }).expect("a batch");
        checkpoint.committed(BatchId(n), json!(null)).expect("a commit");
        checkpoint.retain(3).expect("retention");
    }
    drop(checkpoint);
    let found = inspect(&vfs.shared(), Path::new(ROOT), QUERY).expect("inspects");
    assert!(found.frames.iter().all(|frame| frame.kind != "accepted"), "its segment is gone");
    assert_eq!((found.recovered.sink_numbers["console"], found.recovered.accepted["console"]), (7, 7));

    let (mut checkpoint, _) = open(&vfs).expect("reopens");
    checkpoint.planned(&plan(60)).expect("a plan");
    let wrong = PreparedBatch { state: Vec::new(), ..prepared(60) };
    assert!(checkpoint.prepared(&wrong).is_err(), "the numbers of before are over");
    let output = StagedOutput { sink: "console".to_owned(), number: 7, bytes: "x".into() };
    checkpoint.prepared(&PreparedBatch { outputs: vec![output], state: Vec::new(), ..prepared(60) }).expect("a batch");
    drop(checkpoint);
    let (mut checkpoint, found) = open(&vfs).expect("reopens");
    assert_eq!(found.accepted["console"], 7, "it is not in yet");
    checkpoint.committed(BatchId(60), json!(null)).expect("a commit");
    drop(checkpoint);
    let (_, found) = open(&vfs).expect("reopens");
    assert_eq!((found.sink_numbers["console"], found.accepted.len()), (8, 0));
}

#[test]
fn many_restarts_keep_little() {
    let vfs = FaultVfs::default();
    let mut progress = Progress::default();
    for until in 1..60 {
        resume(&vfs, &mut progress, until).expect("resumes");
    }
    let log = vfs.files().iter().filter(|file| file.extension().is_some_and(|kind| kind == "wal")).count();
    assert!(log < 12, "{:?}", vfs.files());
}

#[test]
fn each_restart_is_a_new_epoch_of_the_same_checkpoint() {
    let vfs = FaultVfs::default();
    let (first, found) = open(&vfs).expect("a new checkpoint");
    let id = first.query_id().to_owned();
    assert_eq!((first.epoch(), found.fresh, found.last, id.len()), (0, true, None, 32));
    drop(first);
    let (second, _) = open(&vfs).expect("reopens");
    assert_eq!((second.epoch(), second.query_id()), (1, id.as_str()));
}

#[test]
fn steps_out_of_order_are_refused() {
    let check = |steps: &dyn Fn(&mut Checkpoint) -> Result<()>, expected: Expect| {
        let (mut checkpoint, _) = open(&run(2)).expect("reopens");
        let error = steps(&mut checkpoint).expect_err("out of order");
        assert_eq!(error.kind(), ErrorKind::Internal);
        expected.assert_eq(error.message());
    };
    check(&|checkpoint| checkpoint.planned(&plan(3)), expect!["batch 3 is planned after batch 1"]);
    check(&|checkpoint| checkpoint.planned(&plan(1)), expect!["batch 1 is planned after batch 1"]);
    check(&|checkpoint| checkpoint.prepared(&prepared(2)), expect!["batch 2 is prepared without a plan"]);
    check(&|checkpoint| checkpoint.committed(BatchId(2), json!(null)), expect!["batch 2 is committed without being prepared"]);
    check(&|checkpoint| checkpoint.committed(BatchId(1), json!(null)), expect!["batch 1 is committed without being prepared"]);
    check(
        &|checkpoint| {
            let mut written = checkpoint.begin_snapshot(OPERATORS[0])?.write(&Bytes::new())?;
            written.head.root += 1;
            checkpoint.snapshot(written)
        },
        expect![[r#"the snapshot of aggregate-0 after batch 1 is of a state that never was"#]],
    );
    check(
        &|checkpoint| {
            checkpoint.planned(&plan(2))?;
            checkpoint.prepared(&PreparedBatch { outputs: prepared(4).outputs, ..prepared(2) })
        },
        expect!["sink console was given number 4 instead of 2"],
    );
}

#[test]
fn a_plan_may_be_replaced_until_it_is_decided() {
    let vfs = run(1);
    let (mut checkpoint, _) = open(&vfs).expect("reopens");
    checkpoint.planned(&plan(1)).expect("a plan");
    let shorter = PlannedBatch { seed: 77, ..plan(1) };
    checkpoint.planned(&shorter).expect("a plan cut to what is there");
    drop(checkpoint);
    assert_eq!(open(&vfs).expect("reopens").1.first_step, FirstStep::Run(shorter));
}

#[test]
fn what_an_abandoned_attempt_left_is_swept() {
    let vfs = run(3);
    let orphan = Path::new("/ckpt/queries/suspicious/state/join-1/0/9-0.1.delta");
    vfs.shared().write_new(orphan, b"never named").expect("writes");
    let kept = vfs.files().len();
    drop(open(&vfs).expect("reopens"));
    assert!(!exists(&vfs, orphan).expect("lists"));
    assert!(vfs.files().len() <= kept + 1, "only the orphan goes: {:?}", vfs.files());
}

#[test]
fn a_snapshot_counts_only_once_it_is_named() {
    let vfs = run(3);
    let (mut checkpoint, _) = open(&vfs).expect("reopens");
    // The file is written and synced, then its name, then the frame: cut before the frame.
    vfs.fail_at(vfs.operations() + 3, Fault::PowerCut);
    snapshot(&mut checkpoint, OPERATORS[0], &Bytes::from(vec![b'?'; 2000])).expect_err("the power went");
    drop(checkpoint);
    let vfs = vfs.after(Left::Everything);
    let is_snapshot = |file: &PathBuf| file.extension().is_some_and(|kind| kind == "snap");
    assert_eq!(vfs.files().iter().filter(|file| is_snapshot(file)).count(), 1);
    let (_, found) = open(&vfs).expect("reopens");
    assert_eq!(check(&found, Progress { tried: 3, decided: 3, committed: 0 }), 3);
    assert_eq!(vfs.files().iter().filter(|file| is_snapshot(file)).count(), 0);
}

#[test]
fn a_snapshot_is_wanted_when_much_has_changed() {
    let vfs = FaultVfs::default();
    let (mut checkpoint, _) = open(&vfs).expect("a new checkpoint");
    checkpoint.planned(&plan(0)).expect("a plan");
    let large = StateChange { operator: OPERATORS[0].to_owned(), bytes: vec![7; 1 << 20].into() };
    checkpoint.prepared(&PreparedBatch { state: vec![large], ..prepared(0) }).expect("a batch");
    assert_eq!(checkpoint.bytes_since_snapshot(OPERATORS[0]), 1 << 20);
    assert!(checkpoint.wants_snapshot(OPERATORS[0]) && !checkpoint.wants_snapshot(OPERATORS[1]));
    snapshot(&mut checkpoint, OPERATORS[0], &Bytes::from_static(b"small")).expect("a snapshot");
    assert!(!checkpoint.wants_snapshot(OPERATORS[0]));
    assert_eq!(checkpoint.bytes_since_snapshot(OPERATORS[0]), 0);
}

#[test]
fn a_changed_query_is_refused_by_part() {
    let vfs = run(1);
    let check = |change: &dyn Fn(&mut Identity), condition: &str, expected: Expect| {
        let mut now = identity();
        change(&mut now);
        let root = CheckpointRoot::open(vfs.shared(), ROOT).expect("a root");
        let before = vfs.files();
        let error = Checkpoint::open(&root, QUERY, &now).expect_err("does not fit");
        assert_eq!((error.kind(), error.condition()), (ErrorKind::Config, Some(condition)));
        assert_eq!(vfs.files(), before);
        expected.assert_eq(&compare(&vfs.shared(), Path::new(ROOT), QUERY, &now).expect("compares").join("; "));
        assert!(error.message().contains("query suspicious does not fit its checkpoint: "));
    };
    check(&|now| now.time_zone = "Europe/Oslo".to_owned(), "CKPT_INCOMPATIBLE", expect!["time_zone was UTC, is now Europe/Oslo"]);
    check(
        &|now| now.sources = ["payments".to_owned()].into(),
        "CKPT_INCOMPATIBLE",
        expect!["source transactions is gone; source payments is new"],
    );
    check(
        &|now| now.operators.get_mut("aggregate-0").expect("is there")["keys"][0]["type"] = json!("INT"),
        "STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE",
        expect![[r#"aggregate-0.keys[0].type was "STRING", is now "INT""#]],
    );
    check(
        &|now| drop(now.operators.remove("join-1")),
        "STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA",
        expect!["stateful operator join-1 is gone"],
    );
    assert_eq!(compare(&vfs.shared(), Path::new(ROOT), QUERY, &identity()).expect("compares"), Vec::<String>::new());
    assert_eq!(compare(&vfs.shared(), Path::new(ROOT), "other", &identity()).expect("compares"), Vec::<String>::new());
}

#[test]
fn an_inspection_changes_nothing_and_needs_no_lock() {
    let vfs = run(3);
    let (mut checkpoint, _) = open(&vfs).expect("reopens");
    checkpoint.planned(&plan(3)).expect("a plan");
    let operations = vfs.operations();
    assert_eq!(list_queries(&vfs.shared(), Path::new(ROOT)).expect("lists"), [QUERY]);
    let found = inspect(&vfs.shared(), Path::new(ROOT), QUERY).expect("inspects");
    assert_eq!(vfs.operations(), operations);
    assert_eq!((found.query_id.as_str(), &found.identity), (checkpoint.query_id(), &identity()));
    assert_eq!(found.recovered.first_step, FirstStep::Run(plan(3)));
    let frames: Vec<_> =
        found.frames.iter().map(|frame| format!("{} {:?}", frame.kind, frame.batch.map(|batch| batch.0))).collect();
    expect![[r#"epoch None, planned Some(0), prepared Some(0), committed Some(0), planned Some(1), prepared Some(1), committed Some(1), planned Some(2), prepared Some(2), snapshot Some(1), committed Some(2), epoch None, planned Some(3)"#]].assert_eq(&frames.join(", "));
    let prepared = found.frames.iter().find(|frame| frame.kind == "prepared").expect("a decided batch");
    assert_eq!(prepared.detail["outputs"][0]["sink"], json!("console"));
    assert_eq!(prepared.detail["outputs"][0]["blob"]["bytes"], json!(page("console", 0).len()));
    let missing = inspect(&vfs.shared(), Path::new(ROOT), "nothing").expect_err("no such query");
    assert_eq!(missing.message(), "there is no checkpoint of query nothing in /ckpt/queries/nothing");
}

#[test]
fn a_second_owner_is_refused_with_the_first_ones_name() {
    let folder = tempfile::tempdir().expect("a folder");
    for vfs in [FaultVfs::default().shared(), LocalVfs::shared()] {
        let path = folder.path().join("ckpt");
        let first = CheckpointRoot::open(vfs.clone(), &path).expect("a root");
        let (_checkpoint, _) = Checkpoint::open(&first, QUERY, &identity()).expect("a new checkpoint");
        let error = CheckpointRoot::open(vfs.clone(), &path).expect_err("in use");
        assert_eq!((error.kind(), error.condition()), (ErrorKind::Fenced, Some("FENCED")));
        let named = format!("checkpoint {} is in use by process {} on ", path.display(), std::process::id());
        assert!(error.message().starts_with(&named) && error.message().contains(" since 20"), "{error}");
        assert_eq!(CheckpointRoot::archive(&vfs, &path).expect_err("in use").kind(), ErrorKind::Fenced);
        let twice = Checkpoint::open(&first, QUERY, &identity()).expect_err("open in this process");
        assert_eq!(twice.kind(), ErrorKind::Fenced);
    }
}

#[test]
fn an_owner_whose_lock_file_was_removed_decides_nothing_more() {
    let folder = tempfile::tempdir().expect("a folder");
    for vfs in [FaultVfs::default().shared(), LocalVfs::shared()] {
        let path = folder.path().join("ckpt");
        let root = CheckpointRoot::open(vfs.clone(), &path).expect("a root");
        let (mut first, _) = Checkpoint::open(&root, QUERY, &identity()).expect("a new checkpoint");
        run_to_commit(&mut first, 0);
        first.planned(&plan(1)).expect("a plan");
        vfs.remove(&path.join("lock")).expect("removes");
        assert_eq!(first.prepared(&prepared(1)).expect_err("the lock is gone").kind(), ErrorKind::Fenced);
        let second = CheckpointRoot::open(vfs.clone(), &path).expect("a root");
        let error = first.prepared(&prepared(1)).expect_err("the lock is another's");
        assert!(error.message().contains(" by process "), "{error}");
        let (mut second, found) = Checkpoint::open(&second, QUERY, &identity()).expect("opens");
        assert_eq!(found.first_step, FirstStep::Run(plan(1)));
        second.prepared(&prepared(1)).expect("a batch");
    }
}

#[test]
fn an_owner_whose_log_was_continued_decides_nothing_more() {
    let vfs = run(1);
    let (mut first, _) = open(&vfs).expect("reopens");
    first.planned(&plan(1)).expect("a plan");
    let later = Path::new("/ckpt/queries/suspicious/log/000009-00000009.wal");
    vfs.shared().write_new(later, b"of a later opening").expect("writes");
    let error = first.prepared(&prepared(1)).expect_err("continued");
    assert!(error.kind() == ErrorKind::Fenced && error.message().ends_with("is continued by 000009-00000009.wal"), "{error}");
}

#[test]
fn a_root_on_the_local_disk_works_and_is_moved_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/er/ckpt");
    let vfs = LocalVfs::shared();
    assert_eq!(CheckpointRoot::archive(&vfs, &path).expect("nothing there"), None);
    let mut progress = Progress::default();
    for until in [3, 30, 60] {
        let root = CheckpointRoot::open(vfs.clone(), &path).expect("a root");
        let (mut checkpoint, found) = Checkpoint::open_sized(&root, QUERY, &identity(), SIZES).expect("opens");
        let decided = check(&found, progress);
        for n in decided..until {
            run_batch(&mut checkpoint, n, &mut progress).expect("a batch");
        }
        if let FirstStep::CommitSinks(plan, _) = found.first_step {
            panic!("batch {} was committed", plan.batch);
        }
        assert_eq!(root.queries().expect("lists"), [QUERY]);
    }
    let aside = CheckpointRoot::archive(&vfs, &path).expect("moves").expect("was there");
    assert!(!path.exists() && aside.join("queries").join(QUERY).join("meta").exists());
    let root = CheckpointRoot::open(vfs, &path).expect("a fresh root");
    assert!(Checkpoint::open(&root, QUERY, &identity()).expect("opens").1.fresh);
}

#[test]
fn a_temporary_root_goes_with_a_clean_end() {
    let root = CheckpointRoot::temporary().expect("a root");
    let path = root.path().to_owned();
    assert!(root.source_dir("in/put").expect("a folder").ends_with("sources/in%2Fput"));
    drop(root.clone());
    assert!(path.exists());
    root.finish().expect("removes");
    assert!(!path.exists());
    let kept = CheckpointRoot::temporary().expect("a root");
    let path = kept.path().to_owned();
    drop(kept);
    assert!(path.exists());
    remove_tree(&LocalVfs::default(), &path).expect("removes");
}
