//! What stands in the files, and what the sink refuses to write.

use arrow::array::{Date32Array, ListArray};
use arrow::datatypes::Int32Type;

use super::*;

/// The files of one commit, with their paths.
fn files(format: FileFormat, partition_by: &[&str], rows: RecordBatch) -> String {
    let vfs = FaultVfs::default();
    let mut sink = sink(&vfs, format, partition_by);
    block_on(sink.open(&rows.schema())).expect("opens");
    let staged = sink.stage(&[rows]).expect("stages");
    block_on(sink.commit(&id(0), &staged)).expect("commits");
    visible(&vfs).into_iter().map(|(path, text)| format!("{}\n{text}", path.replace("-7ec3b274-000000", ""))).collect()
}

#[test]
fn csv_quotes_what_needs_it() {
    let check = |csv: CsvSpec, expected: Expect| {
        let values = [Some("plain"), Some("a,b"), Some("say \"hi\" \\o/"), Some("two\nlines"), Some(""), None, Some(" spaces ")];
        let numbers = Int64Array::from(vec![Some(1), None, Some(-3), Some(4), Some(5), Some(6), Some(7)]);
        let rows = rows(vec![("a text", text(&values)), ("n", Arc::new(numbers)), ("same", text(&values))]);
        expected.assert_eq(&files(FileFormat::Csv(csv), &[], rows));
    };
    check(
        CsvSpec::default(),
        expect![[r#"
            part-00000.csv
            plain,1,plain
            "a,b",,"a,b"
            "say \"hi\" \\o/",-3,"say \"hi\" \\o/"
            "two
            lines",4,"two
            lines"
            "",5,""
            ,6,
             spaces ,7, spaces 
        "#]],
    );
    check(
        CsvSpec { header: true, separator: b';', quote: Some(b'\''), escape: None, null_value: "NULL".to_owned() },
        expect![[r#"
            part-00000.csv
            a text;n;same
            plain;1;plain
            a,b;NULL;a,b
            say "hi" \o/;-3;say "hi" \o/
            'two
            lines';4;'two
            lines'
            '';5;''
            NULL;6;NULL
             spaces ;7; spaces 
        "#]],
    );
}

#[test]
fn csv_writes_values_as_json_does() {
    let rows = rows(vec![
        ("double", Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::NAN), None]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("date", Arc::new(Date32Array::from(vec![Some(19_844), None, Some(0)]))),
        (
            "price",
            Arc::new(Decimal128Array::from(vec![Some(1050), None, Some(-5)]).with_precision_and_scale(9, 2).expect("fits")),
        ),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_714_564_800_250_000), None, Some(0)]).with_timezone("UTC"))),
    ]);
    expect![[r#"
        part-00000.csv
        1.0,true,2024-05-01,10.50,2024-05-01T12:00:00.250Z
        NaN,,,,
        ,false,1970-01-01,-0.05,1970-01-01T00:00:00.000Z
    "#]]
    .assert_eq(&files(FileFormat::Csv(CsvSpec::default()), &[], rows));
}

#[test]
fn partitions_are_folders_whose_names_read_back() {
    let rows = rows(vec![
        ("v", Arc::new(Int64Array::from_iter_values(0..6))),
        ("Who", text(&[Some("a/b=c"), Some(".."), Some("ø %"), Some(""), None, Some("a/b=c")])),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1_714_564_800_250_000; 6]).with_timezone("UTC"))),
        ("x", Arc::new(Float64Array::from(vec![1e10; 6]))),
    ]);
    let found = files(FileFormat::Json, &["who", "at", "x"], rows);
    expect![[r#"
        Who=../at=2024-05-01 12%3A00%3A00.25/x=1.0E10/part-00000.json
        {"v":1}
        Who=__HIVE_DEFAULT_PARTITION__/at=2024-05-01 12%3A00%3A00.25/x=1.0E10/part-00001.json
        {"v":3}
        {"v":4}
        Who=a%2Fb%3Dc/at=2024-05-01 12%3A00%3A00.25/x=1.0E10/part-00002.json
        {"v":0}
        {"v":5}
        Who=ø %25/at=2024-05-01 12%3A00%3A00.25/x=1.0E10/part-00003.json
        {"v":2}
    "#]]
    .assert_eq(&found);
}

#[test]
fn what_cannot_be_written_is_refused_when_the_sink_is_opened() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]);
    let rows = rows(vec![("n", Arc::new(Int64Array::from(vec![1]))), ("items", Arc::new(list))]);
    let check = |format: FileFormat, partition_by: &[&str], condition: &str, expected: Expect| {
        let vfs = FaultVfs::default();
        let error = block_on(sink(&vfs, format, partition_by).open(&rows.schema())).expect_err("is refused");
        assert_eq!((error.kind(), error.condition()), (ErrorKind::Config, Some(condition)));
        assert_eq!(vfs.files(), Vec::<PathBuf>::new());
        expected.assert_eq(error.message());
    };
    check(
        FileFormat::Json,
        &["who"],
        "PARTITION_COLUMN_NOT_FOUND_IN_SCHEMA",
        expect!["Partition column `who` not found in schema n, items. Please provide the existing column for partitioning."],
    );
    check(
        FileFormat::Json,
        &["n", "N"],
        "COLUMN_ALREADY_EXISTS",
        expect!["The column `N` already exists. Choose another name or rename the existing column."],
    );
    check(
        FileFormat::Json,
        &["items"],
        "INVALID_PARTITION_COLUMN_DATA_TYPE",
        expect!["Cannot use List(Int32) for partition column `items`."],
    );
    check(
        FileFormat::Csv(CsvSpec::default()),
        &[],
        "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE",
        expect!["The CSV datasource doesn't support the column `items` of the type List(Int32)."],
    );
    let alone = rows.project(&[0]).expect("a column");
    let error = block_on(sink(&FaultVfs::default(), FileFormat::Json, &["n"]).open(&alone.schema())).expect_err("is refused");
    assert_eq!(error.condition(), Some("ALL_PARTITION_COLUMNS_NOT_ALLOWED"));
}

#[test]
fn a_partition_value_too_long_for_a_folder_is_an_error_of_the_data() {
    let vfs = FaultVfs::default();
    let mut sink = opened(&vfs);
    let long = "x".repeat(251);
    let rows = rows(vec![("name", text(&[Some(&long)])), ("amount", Arc::new(Int64Array::from(vec![1])))]);
    let error = sink.stage(&[rows]).expect_err("is refused");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Data, "a value of partition column name is too long for the name of a folder")
    );
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_files_hold_the_rows() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    let vfs = FaultVfs::default();
    let mut sink = sink(&vfs, FileFormat::Parquet, &["name"]);
    block_on(sink.open(&sample(0).schema())).expect("opens");
    commit(&mut sink, 4).expect("commits");
    let path = vfs.files().into_iter().find(|path| path.starts_with("/out/name=ada")).expect("a file");
    assert_eq!(path.extension().and_then(|kind| kind.to_str()), Some("parquet"));
    let bytes = vfs.shared().read(&path).expect("reads").expect("is there");
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("reads");
    let found = reader.next().expect("rows").expect("reads");
    assert_eq!(found.columns()[0].as_ref(), &Int64Array::from(vec![4, 24]));
    assert_eq!((found.num_columns(), found.schema().field(0).name().as_str()), (1, "amount"));
}
