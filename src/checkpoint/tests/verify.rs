//! What `examine` finds, beside what a start would.

use super::*;

/// Files of blobs below the query's folder, after batches whose files have been replaced by snapshots in part.
fn blob_files(vfs: &FaultVfs) -> Vec<PathBuf> {
    let below = |folder: &str| Path::new("/ckpt/queries/suspicious").join(folder);
    vfs.files().into_iter().filter(|file| file.starts_with(below("state")) || file.starts_with(below("stage"))).collect()
}

fn faults(vfs: &FaultVfs) -> Vec<String> {
    let examined = examine(&vfs.shared(), Path::new(ROOT), QUERY).expect("it can be read");
    examined.faults.iter().map(|error| error.chain()).collect()
}

/// Batches up to one that is decided and not committed.
fn undecided() -> FaultVfs {
    let vfs = run(2);
    let (mut checkpoint, _) = open(&vfs).expect("reopens");
    checkpoint.planned(&plan(2)).expect("a plan");
    checkpoint.prepared(&prepared(2)).expect("a batch");
    drop(checkpoint);
    vfs.after(Left::Everything)
}

#[test]
fn whole_ones_have_no_fault_and_are_left_as_they_are() {
    for batches in 1..14 {
        let vfs = run(batches).after(Left::Everything);
        let contents =
            || vfs.files().into_iter().map(|file| (vfs.shared().read(&file).expect("reads"), file)).collect::<Vec<_>>();
        let before = contents();
        let found = examine(&vfs.shared(), Path::new(ROOT), QUERY).expect("it can be read");
        assert!(found.faults.is_empty(), "{batches} batches: {:?}", found.faults);
        assert_eq!(found.needed_from.get("transactions"), Some(&Offset::encode(&(batches * 10))));
        assert!(contents() == before, "{batches} batches: something was changed");
    }
}

#[test]
fn each_damaged_blob_is_named_also_where_an_older_one_would_do() {
    for vfs in [undecided(), run(5).after(Left::Everything)] {
        let files = blob_files(&vfs);
        assert!(files.len() > 1, "{files:?}");
        for file in &files {
            vfs.damage(file, |bytes| bytes[7] ^= 1).expect("is there");
        }
        let found = faults(&vfs);
        for file in &files {
            let named = found.iter().filter(|fault| fault.contains(&file.display().to_string())).count();
            assert_eq!(named, 1, "{} in {found:?}", file.display());
        }
    }
}

#[test]
fn a_missing_blob_that_a_start_needs_is_named() {
    let vfs = undecided();
    for file in blob_files(&vfs) {
        let damaged = vfs.after(Left::Everything);
        damaged.shared().remove(&file).expect("removes");
        let found = faults(&damaged);
        assert!(found.len() == 1 && found[0].contains(&format!("{} is damaged: it is missing", file.display())), "{found:?}");
    }
}

#[test]
fn files_of_nothing_and_a_creation_cut_short_are_no_fault() {
    let vfs = run(3).after(Left::Everything);
    vfs.shared().write_new(Path::new("/ckpt/queries/suspicious/state/left-over"), b"x").expect("writes");
    let found = examine(&vfs.shared(), Path::new(ROOT), QUERY).expect("it can be read");
    assert_eq!((found.unnamed_files, found.faults.len()), (1, 0));

    let vfs = FaultVfs::default();
    drop(open(&vfs).expect("a new checkpoint"));
    vfs.shared().remove(Path::new("/ckpt/queries/suspicious/meta")).expect("removes");
    let found = examine(&vfs.shared(), Path::new(ROOT), QUERY).expect("it can be read");
    assert!(found.is_unfinished && found.faults.is_empty(), "{found:?}");
}

#[test]
fn damage_to_meta_and_log_are_both_named() {
    let vfs = run(12).after(Left::Everything);
    let log = Path::new("/ckpt/queries/suspicious/log");
    vfs.damage(Path::new("/ckpt/queries/suspicious/meta"), |bytes| bytes[30] ^= 1).expect("is there");
    let segment = vfs.files().into_iter().find(|file| file.starts_with(log) && !file.ends_with("spare.wal")).expect("a segment");
    vfs.damage(&segment, |bytes| bytes[200] ^= 1).expect("is there");
    let found = faults(&vfs);
    assert!(found.len() == 2 && found[0].contains("meta") && found[1].contains(&segment.display().to_string()), "{found:?}");
}
