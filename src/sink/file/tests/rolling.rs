//! Commits that are gathered, on a disk that fails on command.

use super::*;
use crate::sink::PutOut;
use crate::sink::mark::this_process;

/// Commits of a run: two that are put out by their rows, one at the end.
const TOTAL: u64 = 3;

fn at_rows(rows: u64) -> Option<Roll> {
    Some(Roll { rows: Some(rows), ..Roll::default() })
}

fn try_open(vfs: &FaultVfs, roll: Option<Roll>) -> Result<FileSink> {
    let mut sink = sink(vfs, FileFormat::Json, &["name"]).rolling(roll);
    block_on(sink.open(&sample(0).schema())).map(|()| sink)
}

fn with_roll(vfs: &FaultVfs, roll: Option<Roll>) -> FileSink {
    try_open(vfs, roll).expect("opens")
}

fn rolling(vfs: &FaultVfs) -> FileSink {
    // Two rows of a commit are in one partition.
    with_roll(vfs, at_rows(4))
}

fn put_out(sink: &mut FileSink, number: u64, what: PutOut) -> Result<Option<i64>> {
    block_on(sink.put_out(&id(number), what))
}

fn contains(vfs: &FaultVfs, id: &CommitId) -> Contains {
    block_on(rolling(vfs).contains(id)).expect("tells")
}

/// Folder and line of every row that a reader sees, in order.
fn lines(vfs: &FaultVfs) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for (path, text) in visible(vfs) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        assert!(text.ends_with('\n'), "{path} is not whole: {text:?}");
        lines.extend(text.lines().map(|line| (folder.clone(), line.to_owned())));
    }
    lines.sort();
    lines
}

/// What readers see once the commits before `number` are put out.
fn expected_lines(number: u64) -> Vec<(String, String)> {
    let vfs = FaultVfs::default();
    let mut sink = opened(&vfs);
    for number in 0..number {
        commit(&mut sink, number).expect("commits");
    }
    lines(&vfs)
}

/// The files in a hidden folder.
fn hidden(vfs: &FaultVfs, folder: &str) -> Vec<String> {
    let within = |path: &PathBuf| path.strip_prefix(Path::new(DIR).join(folder)).ok().and_then(Path::to_str).map(str::to_owned);
    vfs.files().iter().filter_map(within).collect()
}

/// What is left hidden with rows in it; a lock whose removal failed is in nobody's way.
fn remains(vfs: &FaultVfs) -> Vec<String> {
    let all = hidden(vfs, ".staging").into_iter().chain(hidden(vfs, ".open"));
    all.filter(|name| !name.ends_with(".lock")).collect()
}

/// Commits what is left and puts all of it out, as the engine does; how far it came is in `done`.
fn go_on(sink: &mut FileSink, done: &mut u64) -> Result<()> {
    while *done < TOTAL {
        commit(sink, *done)?;
        *done += 1;
        put_out(sink, *done, PutOut::Due)?;
    }
    put_out(sink, *done, PutOut::All).map(drop)
}

/// A start after a crash: asks for the batch that was decided last, or for the one that comes next.
fn recover(vfs: &FaultVfs, roll: Option<Roll>, done: &mut u64) -> Result<()> {
    let mut sink = try_open(vfs, roll)?;
    let decided = (*done).min(TOTAL - 1);
    let answer = block_on(sink.contains(&id(if *done == TOTAL { TOTAL } else { decided })))?;
    match answer {
        Contains::Yes => *done += 1,
        Contains::No => {}
        other => panic!("{other:?} for {decided} after {done}: {:?}", vfs.files()),
    }
    go_on(&mut sink, done)
}

#[test]
fn commits_are_gathered_and_put_out_as_one_file_for_each_partition() {
    let vfs = FaultVfs::default();
    let mut sink = rolling(&vfs);
    commit(&mut sink, 0).expect("commits");
    assert_eq!(visible(&vfs), BTreeMap::new());
    assert_eq!(hidden(&vfs, ".open"), ["7ec3b274-000000.log", "7ec3b274.lock"]);
    commit(&mut sink, 1).expect("commits");
    let found: Vec<_> = visible(&vfs).into_iter().map(|(path, text)| format!("{path}: {text}")).collect();
    expect![[r#"
        name=__HIVE_DEFAULT_PARTITION__/part-00000-7ec3b274-000000-000001.json: {"amount":10}
        {"amount":11}
        name=ada/part-00001-7ec3b274-000000-000001.json: {"amount":0}
        {"amount":20}
        {"amount":1}
        {"amount":21}
    "#]]
    .assert_eq(&found.concat());
    let manifest = vfs.shared().read(Path::new("/out/_manifest/7ec3b274-000001.json")).expect("reads").expect("is there");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!((&manifest["first_number"], &manifest["number"]), (&0.into(), &1.into()));
    assert_eq!((&manifest["first_batch_id"], &manifest["batch_id"]), (&3.into(), &4.into()));
    assert_eq!(manifest["files"][1]["path"], "name=ada/part-00001-7ec3b274-000000-000001.json");
    commit(&mut sink, 2).expect("commits");
    put_out(&mut sink, 3, PutOut::All).expect("puts out");
    assert!(visible(&vfs).contains_key("name=ada/part-00001-7ec3b274-000002.json"), "{:?}", visible(&vfs));
    assert_eq!((hidden(&vfs, ".open"), hidden(&vfs, ".staging")), (vec![], vec![]));
    assert_eq!(lines(&vfs), expected_lines(3));
    assert_eq!(hidden(&vfs, "_manifest").len(), 2);
}

#[test]
fn a_power_cut_at_any_operation_and_at_any_of_the_recovery_loses_and_repeats_nothing() {
    let expected = expected_lines(TOTAL);
    let mut cuts = 0;
    for operation in 0.. {
        let (vfs, mut done) = (FaultVfs::default(), 0);
        let mut sink = rolling(&vfs);
        let start = vfs.operations();
        vfs.fail_at(start + operation, Fault::PowerCut);
        let is_done = go_on(&mut sink, &mut done).is_ok();
        for left in [Left::Everything, Left::Synced, Left::Any(operation)] {
            let once = vfs.after(left);
            let seen = lines(&once);
            assert!(seen.iter().all(|line| expected.contains(line)), "cut at {operation}, {left:?}: {seen:?}");
            assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "cut at {operation}, {left:?}: {seen:?}");
            for again in 0.. {
                let (vfs, mut done) = (once.after(Left::Everything), done);
                vfs.fail_at(again, Fault::PowerCut);
                let is_recovered = recover(&vfs, at_rows(4), &mut done).is_ok();
                let left = if (operation + again) % 2 == 0 { Left::Synced } else { Left::Any(operation + again) };
                let vfs = vfs.after(left);
                // The last start may come with other settings.
                let roll = match again % 3 {
                    0 => None,
                    1 => at_rows(6),
                    _ => at_rows(4),
                };
                recover(&vfs, roll, &mut done).unwrap_or_else(|error| panic!("cut at {operation}, {again}: {}", error.chain()));
                assert_eq!(lines(&vfs), expected, "cut at {operation}, then at {again}, {left:?}");
                assert_eq!(remains(&vfs), Vec::<String>::new(), "cut at {operation}, then at {again}, {left:?}");
                cuts += 1;
                if is_recovered {
                    break;
                }
            }
        }
        if is_done {
            assert!(operation > 40 && cuts > 2000, "there were only {operation} operations, {cuts} cuts");
            return;
        }
    }
}

#[test]
fn a_disk_that_is_full_at_any_operation_delays_rows_and_loses_none() {
    let expected = expected_lines(TOTAL);
    let mut full = 0;
    for operation in 0.. {
        let vfs = FaultVfs::default();
        let (mut sink, mut done) = (rolling(&vfs), 0);
        let start = vfs.operations();
        vfs.fail_at(start + operation, Fault::NoSpace);
        if let Err(error) = go_on(&mut sink, &mut done) {
            full += 1;
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.chain());
            let mut seen = lines(&vfs);
            seen.dedup();
            assert_eq!(seen, lines(&vfs), "full at {operation}");
            // The same process asks, and goes on.
            if block_on(sink.contains(&id(done))).expect("tells") == Contains::Yes {
                done += 1;
            }
            go_on(&mut sink, &mut done).expect("goes on");
        }
        assert_eq!(lines(&vfs), expected, "full at {operation}");
        assert_eq!(remains(&vfs), Vec::<String>::new(), "full at {operation}");
        if vfs.operations() - start <= operation {
            break;
        }
    }
    assert!(full > 30, "only {full} runs found the disk full");
}

#[test]
fn a_sink_without_roll_commits_only_behind_what_was_gathered() {
    let gathered = FaultVfs::default();
    let mut sink = with_roll(&gathered, at_rows(1000));
    for number in 0..2 {
        commit(&mut sink, number).expect("commits");
    }
    drop(sink);
    let mut failed = 0;
    for operation in 0.. {
        let vfs = gathered.after(Left::Everything);
        let mut sink = with_roll(&vfs, None);
        let start = vfs.operations();
        vfs.fail_at(start + operation, Fault::NoSpace);
        if let Err(error) = commit(&mut sink, 2) {
            failed += 1;
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.chain());
            assert_eq!(block_on(sink.contains(&id(2))).expect("tells"), Contains::No);
            commit(&mut sink, 2).expect("commits");
        }
        assert_eq!(lines(&vfs), expected_lines(3), "full at {operation}");
        assert_eq!(remains(&vfs), Vec::<String>::new(), "full at {operation}");
        if vfs.operations() - start <= operation {
            break;
        }
    }
    assert!(failed > 20, "only {failed} commits failed");
    let held = gathered.shared().lock(Path::new("/out/.open/7ec3b274.lock"), &this_process()).expect("locks");
    let mut sink = with_roll(&gathered, None);
    assert_eq!(put_out(&mut sink, 2, PutOut::Due).expect("waits"), Some(2_700_000));
    commit(&mut sink, 2).expect_err("waits");
    drop(held);
    commit(&mut sink, 2).expect("commits");
    assert_eq!(lines(&gathered), expected_lines(3));
}

#[test]
fn a_full_disk_is_given_back_what_a_roll_has_taken() {
    let vfs = FaultVfs::default();
    let mut sink = rolling(&vfs);
    commit(&mut sink, 0).expect("commits");
    let staged = sink.stage(&[sample(1)]).expect("stages");
    // Two operations append; then come two joined files of three operations each.
    vfs.fail_at(vfs.operations() + 2 + 4, Fault::NoSpace);
    let error = block_on(sink.commit(&id(1), &staged)).expect_err("is full");
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(hidden(&vfs, ".staging"), Vec::<String>::new());
    assert_eq!(contains(&vfs, &id(1)), Contains::Yes);
    assert_eq!(visible(&vfs), BTreeMap::new());
}

#[test]
fn what_is_gathered_tells_what_is_in() {
    let vfs = FaultVfs::default();
    let mut sink = with_roll(&vfs, at_rows(1000));
    assert_eq!(contains(&vfs, &id(0)), Contains::No);
    for number in 0..3 {
        commit(&mut sink, number).expect("commits");
    }
    let answers = |vfs: &FaultVfs| [1, 2, 3, 4].map(|number| contains(vfs, &id(number)));
    let right = [Contains::Ahead(2), Contains::Yes, Contains::No, Contains::MarkerLost];
    assert_eq!(answers(&vfs), right);
    assert_eq!(contains(&vfs, &CommitId { query_id: "other".to_owned(), ..id(0) }), Contains::No);
    assert_eq!(contains(&vfs, &CommitId { crc32c: 1, ..id(2) }), Contains::Ahead(2), "other rows of the same number");
    let staged = sink.stage(&[sample(2)]).expect("stages");
    assert_eq!(contains(&vfs, &CommitId { crc32c: crc32c::crc32c(&staged), ..id(2) }), Contains::Yes);
    // Again what is in, then other rows under its number, then one that leaves a gap.
    block_on(sink.commit(&id(2), &staged)).expect("is in");
    let other = sink.stage(&[sample(9)]).expect("stages");
    assert_eq!(block_on(sink.commit(&id(2), &other)).expect_err("is refused").condition(), Some("SINK_AHEAD"));
    let gap = block_on(sink.commit(&id(5), &other)).expect_err("is refused");
    assert_eq!((gap.condition(), gap.fact("sink"), gap.fact("at")), (Some("MARKER_LOST"), Some("file"), Some("5")));
    put_out(&mut sink, 3, PutOut::All).expect("puts out");
    assert_eq!(answers(&vfs), right);
    assert_eq!(lines(&vfs), expected_lines(3));
}

#[test]
fn any_damage_to_what_is_gathered_is_noticed_before_the_next_commit() {
    let vfs = FaultVfs::default();
    let mut sink = with_roll(&vfs, at_rows(1000));
    for number in 0..2 {
        commit(&mut sink, number).expect("commits");
    }
    let path = Path::new("/out/.open/7ec3b274-000000.log");
    let length = vfs.shared().read(path).expect("reads").expect("is there").len();
    let expected = expected_lines(2);
    for at in 0..length {
        let vfs = vfs.after(Left::Everything);
        vfs.damage(path, |bytes| bytes[at] ^= 1).expect("is there");
        assert_eq!(contains(&vfs, &id(2)), Contains::MarkerLost, "bit flipped at {at}");
        let cut = vfs.after(Left::Everything);
        cut.damage(path, |bytes| bytes.truncate(at)).expect("is there");
        assert_eq!(contains(&cut, &id(2)), Contains::MarkerLost, "cut at {at}");
        // The process that wrote it reads it again when it is put out.
        let mut other = with_roll(&vfs, at_rows(1000));
        let outcome = put_out(&mut other, 2, PutOut::All);
        let seen = lines(&vfs);
        assert!(seen.iter().all(|line| expected.contains(line)), "bit flipped at {at}: {outcome:?} {seen:?}");
    }
}

#[test]
fn a_commit_that_a_person_has_accepted_follows_whatever_is_there() {
    let accepted = CommitId { is_accepted: true, ..id(7) };
    for before in [0, 2] {
        let vfs = FaultVfs::default();
        let mut sink = with_roll(&vfs, at_rows(1000));
        for number in 0..before {
            commit(&mut sink, number).expect("commits");
        }
        drop(sink);
        assert_eq!((contains(&vfs, &id(7)), contains(&vfs, &accepted)), (Contains::MarkerLost, Contains::No));
        let mut sink = with_roll(&vfs, at_rows(1000));
        let staged = sink.stage(&[sample(7)]).expect("stages");
        for _ in 0..2 {
            block_on(sink.commit(&accepted, &staged)).expect("commits");
        }
        assert_eq!(lines(&vfs), expected_lines(before), "what was there is no part of what follows");
        commit(&mut sink, 8).expect("commits");
        drop(sink);
        assert_eq!(contains(&vfs, &id(8)), Contains::Yes);
        put_out(&mut with_roll(&vfs, at_rows(1000)), 9, PutOut::All).expect("puts out");
        assert!(visible(&vfs).contains_key("name=ada/part-00001-7ec3b274-000007-000008.json"), "{:?}", visible(&vfs));
        assert_eq!(contains(&vfs, &id(8)), Contains::Yes);
    }
}

#[test]
fn a_folder_that_is_emptied_while_the_query_runs_stops_it() {
    let vfs = FaultVfs::default();
    let mut sink = with_roll(&vfs, at_rows(1000));
    for number in 0..2 {
        commit(&mut sink, number).expect("commits");
    }
    for path in vfs.files() {
        vfs.shared().remove(&path).expect("removes");
    }
    commit(&mut sink, 2).expect_err("has nowhere to append to");
    assert_eq!(block_on(sink.contains(&id(2))).expect("tells"), Contains::MarkerLost);
    assert_eq!(commit(&mut sink, 2).expect_err("is refused").condition(), Some("MARKER_LOST"));
}

#[test]
fn age_is_counted_from_the_first_batch_and_needs_no_further_one() {
    let vfs = FaultVfs::default();
    let roll = Roll { age: Some(std::time::Duration::from_secs(2)), ..Roll::default() };
    let mut sink = with_roll(&vfs, Some(roll));
    let at = |number: u64, batch_time_us: i64| CommitId { batch_time_us, ..id(number) };
    assert_eq!(block_on(sink.put_out(&at(0, 0), PutOut::Due)).expect("has nothing"), None);
    let staged = sink.stage(&[sample(0)]).expect("stages");
    for (number, time_us) in [(0, 1_000_000), (1, 2_999_999)] {
        block_on(sink.commit(&at(number, time_us), &staged)).expect("commits");
    }
    assert_eq!(block_on(sink.put_out(&at(2, 2_999_999), PutOut::Due)).expect("waits"), Some(3_000_000));
    assert_eq!(visible(&vfs), BTreeMap::new());
    // The next process knows it too.
    drop(sink);
    let mut sink = with_roll(&vfs, Some(Roll { age: Some(std::time::Duration::from_secs(2)), ..Roll::default() }));
    assert_eq!(block_on(sink.put_out(&at(2, 2_999_999), PutOut::Due)).expect("waits"), Some(3_000_000));
    assert_eq!(block_on(sink.put_out(&at(2, 3_000_000), PutOut::Due)).expect("puts out"), None);
    assert_eq!(lines(&vfs).len(), 6);
    // A batch whose own time is past the age of the first puts out itself.
    for (number, time_us) in [(2, 5_000_000), (3, 7_000_000)] {
        block_on(sink.commit(&at(number, time_us), &staged)).expect("commits");
    }
    assert_eq!(lines(&vfs).len(), 12);
}

#[test]
fn bytes_are_those_of_the_largest_file() {
    let vfs = FaultVfs::default();
    // A row takes at most 15 bytes; two a commit for ada.
    let mut sink = with_roll(&vfs, Some(Roll { bytes: Some(60), ..Roll::default() }));
    for number in 0..2 {
        commit(&mut sink, number).expect("commits");
    }
    assert_eq!(visible(&vfs), BTreeMap::new());
    commit(&mut sink, 2).expect("commits");
    assert_eq!(lines(&vfs), expected_lines(3));
}

#[test]
fn more_folders_than_are_worth_gathering_are_put_out_at_once() {
    let vfs = FaultVfs::default();
    let mut sink = with_roll(&vfs, at_rows(1000));
    let names: Vec<String> = (0..1000).map(|name| format!("n{name}")).collect();
    let names: Vec<_> = names.iter().map(|name| Some(name.as_str())).collect();
    let batch = |range: std::ops::Range<usize>| {
        let amounts = Int64Array::from_iter_values((0..range.len()).map(|amount| i64::try_from(amount).expect("small")));
        rows(vec![("name", text(&names[range])), ("amount", Arc::new(amounts))])
    };
    for (number, range) in [(0, 0..999), (1, 999..1000)] {
        assert_eq!(visible(&vfs).len(), 0);
        let staged = sink.stage(&[batch(range)]).expect("stages");
        block_on(sink.commit(&id(number), &staged)).expect("commits");
    }
    assert_eq!(visible(&vfs).len(), 1000);
}

#[test]
fn what_another_query_left_is_put_out_unless_it_is_held() {
    let vfs = FaultVfs::default();
    let other = |number: u64| CommitId { query_id: "other".to_owned(), ..id(number) };
    let mut theirs = rolling(&vfs);
    let staged = theirs.stage(&[sample(0)]).expect("stages");
    block_on(theirs.commit(&other(0), &staged)).expect("commits");
    // Another sink of the same process, and one without `roll`.
    for roll in [at_rows(4), None] {
        put_out(&mut with_roll(&vfs, roll), 0, PutOut::Due).expect("looks");
        assert_eq!(visible(&vfs), BTreeMap::new(), "it is held");
    }
    drop(theirs);
    put_out(&mut with_roll(&vfs, None), 0, PutOut::Due).expect("looks");
    assert_eq!(lines(&vfs), expected_lines(1));
    assert_eq!((hidden(&vfs, ".open"), hidden(&vfs, ".staging")), (vec![], vec![]));
    assert_eq!(contains(&vfs, &other(0)), Contains::Yes);
    assert_eq!(contains(&vfs, &other(1)), Contains::No);
}

#[test]
fn a_commit_waits_while_another_process_holds_the_open_file() {
    let vfs = FaultVfs::default();
    let mut sink = rolling(&vfs);
    commit(&mut sink, 0).expect("commits");
    drop(sink);
    let path = Path::new("/out/.open/7ec3b274.lock");
    let held = vfs.shared().lock(path, &this_process()).expect("locks");
    let mut sink = rolling(&vfs);
    assert_eq!(put_out(&mut sink, 1, PutOut::Due).expect("waits"), Some(2_700_000));
    for error in [commit(&mut sink, 1).expect_err("waits"), put_out(&mut sink, 1, PutOut::All).expect_err("waits")] {
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Unavailable, "the open file of sink \"file\" in /out is held by another process")
        );
    }
    drop(held);
    commit(&mut sink, 1).expect("commits");
    assert_eq!(lines(&vfs), expected_lines(2));
}

#[test]
fn a_header_stands_once_and_other_columns_begin_another_file() {
    let vfs = FaultVfs::default();
    let csv = || FileFormat::Csv(CsvSpec { header: true, ..CsvSpec::default() });
    let open = |columns: &[usize]| {
        let schema = sample(0).project(columns).expect("columns").schema();
        let mut sink = sink(&vfs, csv(), &[]).rolling(at_rows(1000));
        block_on(sink.open(&schema)).expect("opens");
        sink
    };
    let mut sink = open(&[0, 1]);
    for number in 0..2 {
        commit(&mut sink, number).expect("commits");
    }
    drop(sink);
    let mut sink = open(&[1]);
    let staged = sink.stage(&[sample(2).project(&[1]).expect("columns")]).expect("stages");
    block_on(sink.commit(&id(2), &staged)).expect("commits");
    assert_eq!(visible(&vfs).len(), 1);
    put_out(&mut sink, 3, PutOut::All).expect("puts out");
    let found: Vec<_> = visible(&vfs).into_iter().map(|(path, text)| format!("{path}\n{text}")).collect();
    expect![[r#"
        part-00000-7ec3b274-000000-000001.csv
        name,amount
        ada,0
        ,10
        ada,20
        ada,1
        ,11
        ada,21
        part-00000-7ec3b274-000002.csv
        amount
        2
        12
        22
    "#]]
    .assert_eq(&found.concat());
}

#[test]
fn files_larger_than_what_is_moved_at_a_time_are_joined_byte_by_byte() {
    let vfs = FaultVfs::default();
    let csv = FileFormat::Csv(CsvSpec { header: true, ..CsvSpec::default() });
    let mut sink = sink(&vfs, csv, &[]).rolling(Some(Roll { bytes: Some(6 << 20), ..Roll::default() }));
    let batch = |number: u64, bytes: usize| {
        let long = format!("{number}{}", "x".repeat(bytes));
        rows(vec![("a long value", text(&[Some(&long), Some("short")]))])
    };
    block_on(sink.open(&batch(0, 1).schema())).expect("opens");
    let mut expected = "a long value\n".to_owned();
    for (number, bytes) in [(0, 10), (1, 3 << 20), (2, (1 << 20) - 1), (3, 1 << 20), (4, 20)] {
        assert_eq!(visible(&vfs).len(), 0);
        let staged = sink.stage(&[batch(number, bytes)]).expect("stages");
        block_on(sink.commit(&id(number), &staged)).expect("commits");
        expected.push_str(&format!("{number}{}\nshort\n", "x".repeat(bytes)));
    }
    put_out(&mut sink, 5, PutOut::All).expect("puts out");
    assert!(visible(&vfs).into_values().eq([expected]));
}

#[test]
fn a_roll_that_never_ends_a_file_is_refused() {
    let error = with_roll_refused(Roll::default());
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "expected rows, bytes or age: when a file is done"));
}

fn with_roll_refused(roll: Roll) -> Error {
    let mut sink = sink(&FaultVfs::default(), FileFormat::Json, &[]).rolling(Some(roll));
    block_on(sink.open(&sample(0).schema())).expect_err("is refused")
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_files_are_joined_into_one_with_row_groups_of_its_own() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    let vfs = FaultVfs::default();
    let mut sink = sink(&vfs, FileFormat::Parquet, &["name"]).rolling(at_rows(40));
    block_on(sink.open(&sample(0).schema())).expect("opens");
    for number in 0..20 {
        assert_eq!(vfs.files().iter().filter(|path| path.starts_with("/out/name=ada")).count(), 0);
        commit(&mut sink, number).expect("commits");
    }
    let path = vfs.files().into_iter().find(|path| path.starts_with("/out/name=ada")).expect("a file");
    let bytes = vfs.shared().read(&path).expect("reads").expect("is there");
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
    assert_eq!(builder.metadata().num_row_groups(), 1);
    assert_eq!(builder.schema().as_ref(), sample(0).project(&[1]).expect("a column").schema().as_ref());
    let found: Vec<_> = builder.build().expect("reads").map(|rows| rows.expect("rows")).collect();
    assert_eq!(found.len(), 1);
    let amounts = Int64Array::from_iter_values((0..20).flat_map(|number| [number, number + 20]));
    assert_eq!(found[0].columns()[0].as_ref(), &amounts);
    put_out(&mut sink, 20, PutOut::All).expect("puts out");
    let one = vfs.files().iter().filter(|path| path.extension().is_some_and(|kind| kind == "parquet")).count();
    assert_eq!(one, 2);
}

#[cfg(feature = "parquet")]
#[test]
fn a_full_disk_while_parquet_files_are_joined_is_told_as_such() {
    let mut full = 0;
    for operation in 0.. {
        let vfs = FaultVfs::default();
        let mut sink = sink(&vfs, FileFormat::Parquet, &[]).rolling(at_rows(6));
        block_on(sink.open(&sample(0).schema())).expect("opens");
        commit(&mut sink, 0).expect("commits");
        let start = vfs.operations();
        vfs.fail_at(start + operation, Fault::NoSpace);
        match commit(&mut sink, 1) {
            Ok(()) if vfs.operations() - start <= operation => break,
            Ok(()) => {}
            Err(error) => {
                full += 1;
                assert_eq!(error.kind(), ErrorKind::NoSpace, "full at {operation}: {}", error.chain());
            }
        }
        put_out(&mut sink, 2, PutOut::All).expect("puts out");
        let found = vfs.files().iter().filter(|path| path.extension().is_some_and(|kind| kind == "parquet")).count();
        assert!(found == 1 || found == 2, "full at {operation}: {:?}", vfs.files());
    }
    assert!(full > 6, "only {full} runs found the disk full");
}

#[test]
fn the_local_disk_gathers_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("a/b");
    let open = || {
        let sink = FileSink::new(LocalVfs::shared(), &dir, FileFormat::Json, vec!["name".to_owned()], "UTC");
        let mut sink = sink.rolling(at_rows(1000));
        block_on(sink.open(&sample(0).schema())).expect("opens");
        sink
    };
    let mut sink = open();
    for number in [0, 0, 1] {
        commit(&mut sink, number).expect("commits");
    }
    drop(sink);
    let mut sink = open();
    assert_eq!(block_on(sink.contains(&id(1))).expect("tells"), Contains::Yes);
    commit(&mut sink, 2).expect("commits");
    put_out(&mut sink, 3, PutOut::All).expect("puts out");
    let names =
        |dir: &Path| LocalVfs::default().list(dir).expect("lists").into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    assert_eq!(names(&dir), [".open", ".staging", "_manifest", "name=__HIVE_DEFAULT_PARTITION__", "name=ada"]);
    for hidden in [".open", ".staging"] {
        assert_eq!(names(&dir.join(hidden)), Vec::<String>::new());
    }
    assert_eq!(names(&dir.join("name=ada")), ["part-00001-7ec3b274-000000-000002.json"]);
}
