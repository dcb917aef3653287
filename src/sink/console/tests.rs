use std::io::Write;
use std::sync::{Arc, Mutex};

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use expect_test::{Expect, expect};

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn check(format: ConsoleFormat, rows: &RecordBatch, expected: Expect) {
    let captured = Captured::default();
    let mut console = Console::new("q", format, "UTC", Box::new(captured.clone()));
    let id = CommitId {
        query_id: "0".into(),
        sink: "console".into(),
        number: 0,
        batch_id: 7,
        batch_time_us: 0,
        crc32c: 0,
        is_accepted: false,
    };
    futures::executor::block_on(async {
        console.open(&rows.schema()).await.unwrap();
        let staged = console.stage(std::slice::from_ref(rows)).unwrap();
        console.commit(&id, &staged).await.unwrap();
    });
    expected.assert_eq(&String::from_utf8(captured.0.lock().unwrap().clone()).unwrap());
}

fn table(num_rows: usize, truncate: Truncate) -> ConsoleFormat {
    ConsoleFormat::Table { num_rows, truncate }
}

fn fraud() -> RecordBatch {
    batch(vec![
        ("userID", Arc::new(StringArray::from(vec![Some("JohnJones"), None])) as ArrayRef),
        ("n", Arc::new(Int64Array::from(vec![2, 10]))),
    ])
}

#[test]
fn a_table_is_left_aligned_when_nothing_is_truncated() {
    check(
        table(20, Truncate::Never),
        &fraud(),
        expect![[r#"
            -------------------------------------------
            Batch: 7
            -------------------------------------------
            +---------+---+
            |userID   |n  |
            +---------+---+
            |JohnJones|2  |
            |NULL     |10 |
            +---------+---+

        "#]],
    );
}

#[test]
fn a_truncated_table_is_right_aligned_and_cells_end_in_dots() {
    let rows = batch(vec![(
        "a long column name",
        Arc::new(StringArray::from(vec!["0123456789012345678901234", "tab\tbed"])) as ArrayRef,
    )]);
    check(
        table(20, Truncate::At(20)),
        &rows,
        expect![[r#"
            -------------------------------------------
            Batch: 7
            -------------------------------------------
            +--------------------+
            |  a long column name|
            +--------------------+
            |01234567890123456...|
            |            tab\tbed|
            +--------------------+

        "#]],
    );
}

#[test]
fn a_cut_table_says_so_and_has_no_blank_line() {
    check(
        table(1, Truncate::Never),
        &fraud(),
        expect![[r#"
            -------------------------------------------
            Batch: 7
            -------------------------------------------
            +---------+---+
            |userID   |n  |
            +---------+---+
            |JohnJones|2  |
            +---------+---+
            only showing top 1 row
        "#]],
    );
}

#[test]
fn an_empty_batch_prints_its_header() {
    check(
        table(20, Truncate::At(20)),
        &fraud().slice(0, 0),
        expect![[r#"
            -------------------------------------------
            Batch: 7
            -------------------------------------------
            +------+---+
            |userID|  n|
            +------+---+
            +------+---+

        "#]],
    );
}

#[test]
fn values_look_as_in_spark() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None])]);
    let fields = vec![Field::new("x", DataType::Int32, true), Field::new("y", DataType::Utf8, true)];
    let pair = StructArray::new(
        fields.into(),
        vec![Arc::new(Int32Array::from(vec![1])), Arc::new(StringArray::from(vec![None::<&str>]))],
        None,
    );
    let rows = batch(vec![
        ("d", Arc::new(Float64Array::from(vec![1e7])) as ArrayRef),
        ("t", Arc::new(TimestampMicrosecondArray::from(vec![1_769_903_998_120_000]).with_timezone("UTC"))),
        ("l", Arc::new(list)),
        ("s", Arc::new(pair)),
        ("w", Arc::new(StringArray::from(vec!["日本"]))),
    ]);
    check(
        table(20, Truncate::Never),
        &rows,
        expect![[r#"
            -------------------------------------------
            Batch: 7
            -------------------------------------------
            +-----+----------------------+---------+---------+----+
            |d    |t                     |l        |s        |w   |
            +-----+----------------------+---------+---------+----+
            |1.0E7|2026-01-31 23:59:58.12|[1, NULL]|{1, NULL}|日本|
            +-----+----------------------+---------+---------+----+

        "#]],
    );
}

#[test]
fn json_is_one_line_per_batch_with_all_its_rows() {
    check(
        ConsoleFormat::Json,
        &fraud(),
        expect![[r#"
            {"query":"q","batch_id":7,"rows":[{"userID":"JohnJones","n":2},{"n":10}]}
        "#]],
    );
    check(
        ConsoleFormat::Json,
        &fraud().slice(0, 0),
        expect![[r#"
            {"query":"q","batch_id":7,"rows":[]}
        "#]],
    );
}
