//! Damage to files: named, or without effect.

use super::*;

/// Opens a damaged checkpoint: refused by name, or what is found may be there after a power cut that kept `decided` batches.
fn check_damaged(vfs: &FaultVfs, what: &str, progress: Progress) -> bool {
    match open(vfs) {
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Config), "{what}: {}", error.chain());
            assert!(
                error.condition().is_some_and(|name| ["CKPT_CORRUPT", "WRONG_QUERY"].contains(&name)),
                "{what}: {}",
                error.chain()
            );
            assert!(error.to_string().contains(ROOT), "{what}: {error}");
            true
        }
        Ok((_, found)) => {
            check(&found, progress);
            false
        }
    }
}

/// A checkpoint with every kind of frame, some of whose files have been replaced by snapshots since.
fn snapshotted() -> (FaultVfs, Vec<PathBuf>) {
    named_files(run(5))
}

/// Only the newest decided batch may seem undecided: no later frame vouches for it yet.
const TAIL_LOST: Progress = Progress { tried: 5, decided: 4, committed: 0 };

/// A checkpoint that needs every byte of every file, left between a decision and its commits.
fn undecided() -> (FaultVfs, Vec<PathBuf>) {
    let vfs = run(2);
    let (mut checkpoint, _) = open(&vfs).expect("reopens");
    checkpoint.planned(&plan(2)).expect("a plan");
    checkpoint.prepared(&prepared(2)).expect("a batch");
    named_files(vfs)
}

const DECISION_LOST: Progress = Progress { tried: 3, decided: 2, committed: 0 };

fn named_files(vfs: FaultVfs) -> (FaultVfs, Vec<PathBuf>) {
    let vfs = vfs.after(Left::Everything);
    let files = vfs.files().into_iter().filter(|file| !file.ends_with("lock") && !file.ends_with("spare.wal")).collect();
    (vfs, files)
}

#[test]
fn every_flipped_or_zeroed_byte_is_noticed_or_harmless() {
    flip_all(undecided(), DECISION_LOST);
    flip_all(snapshotted(), TAIL_LOST);
}

fn flip_all((vfs, files): (FaultVfs, Vec<PathBuf>), progress: Progress) {
    let mut noticed = 0;
    let mut examined = 0;
    for file in &files {
        let bytes = vfs.shared().read(file).expect("reads").expect("is there");
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let tail = (used..bytes.len()).step_by(97);
        for at in (0..used).chain(tail) {
            for change in [bytes[at] ^ (1 << (at % 8)), 0, !bytes[at]] {
                if change == bytes[at] {
                    continue;
                }
                examined += 1;
                let damaged = vfs.after(Left::Everything);
                damaged.damage(file, |bytes| bytes[at] = change).expect("is there");
                let what = format!("byte {at} of {} set to {change}", file.display());
                noticed += usize::from(check_damaged(&damaged, &what, progress));
            }
        }
    }
    assert!(noticed * 2 > examined, "{noticed} of {examined} noticed");
}

#[test]
fn every_cut_is_noticed() {
    let (vfs, files) = undecided();
    for file in &files {
        let len = vfs.shared().read(file).expect("reads").expect("is there").len();
        for keep in (0..len).filter(|keep| *keep < 600 || keep % 41 == 0) {
            let damaged = vfs.after(Left::Everything);
            damaged.damage(file, |bytes| bytes.truncate(keep)).expect("is there");
            let what = format!("{} cut to {keep}", file.display());
            assert!(check_damaged(&damaged, &what, DECISION_LOST), "{what} was not noticed");
        }
    }
}

#[test]
fn every_missing_or_swapped_file_is_noticed() {
    let (vfs, files) = undecided();
    for file in &files {
        let damaged = vfs.after(Left::Everything);
        damaged.shared().remove(file).expect("removes");
        assert!(
            check_damaged(&damaged, &format!("{} removed", file.display()), DECISION_LOST),
            "{} removed unnoticed",
            file.display()
        );
    }
    for file in &files {
        for other in &files {
            let bytes = vfs.shared().read(other).expect("reads").expect("is there");
            if file != other {
                let damaged = vfs.after(Left::Everything);
                damaged.damage(file, |mine| *mine = bytes.to_vec()).expect("is there");
                let what = format!("{} replaced by {}", file.display(), other.display());
                assert!(check_damaged(&damaged, &what, DECISION_LOST), "{what} unnoticed");
            }
        }
    }
}

#[test]
fn every_missing_segment_is_noticed() {
    let vfs = run(12);
    let log = Path::new("/ckpt/queries/suspicious/log");
    let segments: Vec<_> = vfs.files().into_iter().filter(|file| file.starts_with(log) && !file.ends_with("spare.wal")).collect();
    assert!(segments.len() > 1, "{segments:?}");
    for segment in segments {
        let damaged = vfs.after(Left::Everything);
        damaged.shared().remove(&segment).expect("removes");
        assert!(check_damaged(&damaged, &format!("{} removed", segment.display()), TAIL_LOST));
    }
}

/// A frame that is whole in itself but was written in another life of the log.
#[test]
fn a_frame_that_does_not_follow_the_one_before_is_noticed() {
    let ours = run(2);
    let [mine, other] = [5, 6].map(|seed| {
        let vfs = ours.after(Left::Everything);
        let (mut checkpoint, _) = open(&vfs).expect("reopens");
        checkpoint.planned(&PlannedBatch { seed, ..plan(2) }).expect("a plan");
        checkpoint.prepared(&prepared(2)).expect("a batch");
        checkpoint.committed(BatchId(2), json!(null)).expect("a commit");
        vfs
    });
    let found = inspect(&mine.shared(), Path::new(ROOT), QUERY).expect("inspects");
    let planned = found.frames.iter().rfind(|frame| frame.kind == "planned").expect("a plan");
    let path = Path::new("/ckpt/queries/suspicious/log").join(&planned.segment);
    let range = usize::try_from(planned.offset).expect("small")..usize::try_from(planned.offset + planned.bytes).expect("small");
    let theirs = other.shared().read(&path).expect("reads").expect("is there").slice(range.clone());
    let damaged = mine.after(Left::Everything);
    damaged.damage(&path, |bytes| bytes[range].copy_from_slice(&theirs)).expect("is there");
    assert!(check_damaged(&damaged, "a frame of another life", DECISION_LOST));
}

#[test]
fn a_file_of_another_query_is_named() {
    let (mine, files) = snapshotted();
    let (other, _) = snapshotted();
    for file in files {
        let bytes = other.shared().read(&file).expect("reads").expect("the same layout").to_vec();
        let damaged = mine.after(Left::Everything);
        damaged.damage(&file, |mine| *mine = bytes).expect("is there");
        match open(&damaged) {
            Err(error) => assert_eq!(error.condition(), Some("WRONG_QUERY"), "{}: {}", file.display(), error.chain()),
            // State and output are the same bytes in both.
            Ok((_, found)) => {
                assert!(!file.starts_with("/ckpt/queries/suspicious/log"), "{} was taken", file.display());
                check(&found, TAIL_LOST);
            }
        }
    }
}

#[test]
fn a_newer_format_is_refused_by_version() {
    let (vfs, _) = snapshotted();
    let meta = Path::new("/ckpt/queries/suspicious/meta");
    vfs.damage(meta, |bytes| {
        let text = String::from_utf8(bytes.clone()).expect("text").replacen("checkpoint 1", "checkpoint 9", 1);
        let body = &text[..text.len() - 9];
        *bytes = format!("{body}{:08x}\n", crc32c::crc32c(body.as_bytes())).into_bytes();
    });
    let error = open(&vfs).expect_err("another version");
    assert_eq!(error.message(), "/ckpt/queries/suspicious/meta has format version 9, and this tidemill reads version 1");
}

#[test]
fn a_damaged_snapshot_is_made_good_by_an_older_one() {
    let vfs = FaultVfs::default();
    let (mut checkpoint, _) = open(&vfs).expect("a new checkpoint");
    for n in 0..4 {
        checkpoint.planned(&plan(n)).expect("a plan");
        checkpoint.prepared(&prepared(n)).expect("a batch");
        checkpoint.committed(BatchId(n), json!(null)).expect("a commit");
        snapshot(&mut checkpoint, OPERATORS[0], &state(OPERATORS[0], n).into()).expect("a snapshot");
    }
    checkpoint.sync().expect("a sync");
    drop(checkpoint);
    let snapshot = vfs.files().into_iter().rfind(|file| file.extension().is_some_and(|kind| kind == "snap")).expect("a file");
    vfs.damage(&snapshot, |bytes| bytes[7] ^= 1);
    let (_, found) = open(&vfs).expect("an older snapshot serves");
    assert_eq!(check(&found, Progress { tried: 4, decided: 4, committed: 4 }), 4);
}
