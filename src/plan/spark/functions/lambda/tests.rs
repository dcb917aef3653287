//! What Spark answers stands in `tests/functions/lambdas.json`; here is what no single expression shows: many rows at once give
//! what each row gives by itself, whatever the chunks, and plans tell calls apart.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, ListArray, MapArray, RecordBatch, StringArray, StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};
use datafusion::common::Column;
use datafusion::logical_expr::Expr;
use proptest::prelude::*;
use sqlparser::ast;

use super::super::super::expression::resolve;
use super::super::super::types::{array_of, map_of};
use super::super::super::{Context, Scope, SubqueryUsage, Typed, dialect, is_fallible};
use super::super::tests::{evaluate, settings};
use crate::error::{Error, Result};
use crate::function::Function;

/// The columns of a batch.
struct Columns(Arc<Schema>);

impl Scope for Columns {
    fn functions(&self) -> &[Arc<Function>] {
        &[]
    }

    fn column(&self, parts: &[ast::Ident]) -> Result<Typed> {
        let field = self.0.field_with_name(&parts[0].value).map_err(|_| Error::config(format!("no column {parts:?}")))?;
        let expr = Expr::Column(Column::new_unqualified(field.name()));
        Ok(Typed { expr, data_type: field.data_type().clone(), nullable: true })
    }

    fn subquery(&self, _: &ast::Query, _: SubqueryUsage<'_>) -> Result<Typed> {
        Err(Error::config("no subqueries"))
    }
}

fn typed(text: &str, schema: &Arc<Schema>) -> Typed {
    let settings = settings();
    let ast = dialect::parse_expression(text).unwrap();
    resolve(&ast, &Context { scope: &Columns(schema.clone()), settings: &settings })
        .unwrap_or_else(|e| panic!("{text}: {}", e.chain()))
}

fn value(text: &str, batch: &RecordBatch) -> Result<ArrayRef> {
    let typed = typed(text, &batch.schema());
    let result = evaluate(&typed.expr, batch)?;
    assert_eq!(*result.data_type(), typed.data_type, "{text}");
    Ok(result)
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true))).unwrap()
}

/// A row's array (`None` for null), its number and its text.
type Row = (Option<Vec<Option<i32>>>, Option<i32>, Option<String>);

/// `a ARRAY<INT>`, `n INT`, `s STRING` of these rows. What lies behind null arrays are elements that must not show.
fn table(rows: &[Row]) -> RecordBatch {
    let (mut items, mut offsets, mut valid) = (Vec::new(), vec![0], Vec::new());
    for (array, _, _) in rows {
        items.extend(array.clone().unwrap_or(vec![Some(0), None]));
        offsets.push(items.len() as i32);
        valid.push(array.is_some());
    }
    let field = Arc::new(Field::new("item", DataType::Int32, true));
    let a = ListArray::new(
        field,
        OffsetBuffer::new(offsets.into()),
        Arc::new(Int32Array::from(items)),
        Some(NullBuffer::from(valid)),
    );
    let n: Int32Array = rows.iter().map(|row| row.1).collect();
    let s: StringArray = rows.iter().map(|row| row.2.clone()).collect();
    batch(vec![("a", Arc::new(a)), ("n", Arc::new(n)), ("s", Arc::new(s))])
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let item = proptest::option::weighted(0.85, -3..4_i32);
    let array = proptest::option::weighted(0.85, proptest::collection::vec(item, 0..6));
    let row = (array, proptest::option::weighted(0.9, -2..3_i32), proptest::option::weighted(0.9, "[aü]{0,3}"));
    proptest::collection::vec(row, 0..12)
}

/// The rows' elements below one another: `x`, its index `i`, and the columns of its row. Null arrays have none.
fn unnested(table: &RecordBatch) -> RecordBatch {
    unnested_with(table, &["a", "n", "s"])
}

/// The same with these columns of the row.
fn unnested_with(table: &RecordBatch, columns: &[&'static str]) -> RecordBatch {
    let a = table.column(0).as_list::<i32>();
    let (mut items, mut places, mut owners) = (Vec::new(), Vec::new(), Vec::new());
    for row in (0..a.len()).filter(|row| a.is_valid(*row)) {
        let from = a.value_offsets()[row];
        for item in from..a.value_offsets()[row + 1] {
            items.push(item as u32);
            places.push(item - from);
            owners.push(row as u32);
        }
    }
    let owners = UInt32Array::from(owners);
    let of_row = |column: &&'static str| (*column, take(table.column_by_name(column).unwrap(), &owners, None).unwrap());
    let x = take(a.values(), &UInt32Array::from(items), None).unwrap();
    let own: [(&str, ArrayRef); 2] = [("x", x), ("i", Arc::new(Int32Array::from(places)))];
    batch(own.into_iter().chain(columns.iter().map(of_row)).collect())
}

const BODIES: &[&str] = &[
    "x",
    "x + n",
    "n",
    "i * 2 - x",
    "concat(s, x, '-', i)",
    "coalesce(x, n, i)",
    "CASE WHEN x <> 0 THEN n div x ELSE i END",
    "x IS NULL OR x > n",
    "a[i]",
    "named_struct('x', x, 's', s)",
    "transform(a, y -> y + x + n)",
    "filter(a, (y, j) -> y > x AND j <> i)",
    "aggregate(a, coalesce(x, 0), (t, y) -> t + coalesce(y, n))",
    "exists(a, y -> y = x + 1)",
    "transform(a, x -> x + i)",
    "zip_with(a, array(x, n), (p, q) -> p + q + i)",
];

/// Tests, some of which fail for elements behind the one that decides.
const TESTS: &[&str] = &["x > n", "x IS NULL", "x = i", "n < 0", "exists(a, y -> y > x)", "6 div x > 1", "6 div (x - 1) < n"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_element_gets_what_its_body_gives_by_itself(rows in rows(), skipped in 0..3_usize) {
        let whole = table(&rows);
        let skipped = skipped.min(rows.len());
        for table in [whole.clone(), whole.slice(skipped, rows.len() - skipped)] {
            let elements = unnested(&table);
            let arrays = table.column(0).as_list::<i32>();
            for body in BODIES {
                let made = value(&format!("transform(a, (x, i) -> {body})"), &table).unwrap();
                let made = made.as_list::<i32>();
                let expected = value(body, &elements).unwrap();
                let items: Vec<ArrayRef> = (0..made.len()).filter(|row| made.is_valid(*row)).map(|row| made.value(row)).collect();
                let items: Vec<&dyn Array> = items.iter().map(AsRef::as_ref).collect();
                let items = if items.is_empty() { expected.slice(0, 0) } else { concat(&items).unwrap() };
                prop_assert_eq!(&items, &expected, "{}", body);
                let lengths = |list: &ListArray| (0..list.len()).map(|row| list.is_valid(row).then(|| list.value(row).len())).collect::<Vec<_>>();
                prop_assert_eq!(lengths(made), lengths(arrays), "{}", body);
            }
        }
    }

    #[test]
    fn tests_and_filters_are_those_of_each_row_by_itself(rows in rows()) {
        let table = table(&rows);
        for body in TESTS {
            for (function, decisive) in [("exists", true), ("forall", false)] {
                let found = value(&format!("{function}(a, x -> {})", body.replace("x = i", "x = n")), &table);
                let expected: Result<Vec<Option<bool>>> = (0..rows.len()).map(|row| {
                    let elements = unnested(&table.slice(row, 1));
                    if rows[row].0.is_none() { return Ok(None) }
                    let mut so_far = Some(!decisive);
                    for element in 0..elements.num_rows() {
                        let answer = value(&body.replace("x = i", "x = n"), &elements.slice(element, 1))?;
                        match answer.as_boolean().iter().next().flatten() {
                            None => so_far = None,
                            Some(answer) if answer == decisive => return Ok(Some(decisive)),
                            Some(_) => {}
                        }
                    }
                    Ok(so_far)
                }).collect();
                match (found, expected) {
                    (Ok(found), Ok(expected)) => prop_assert_eq!(found.as_boolean().iter().collect::<Vec<_>>(), expected, "{} {}", function, body),
                    (found, expected) => prop_assert_eq!(found.is_err(), expected.is_err(), "{} {}", function, body),
                }
            }
            let elements = unnested(&table);
            let (found, passes) = (value(&format!("filter(a, (x, i) -> {body})"), &table), value(body, &elements));
            prop_assert_eq!(found.is_err(), passes.is_err(), "{}", body);
            if let (Ok(found), Ok(passes)) = (found, passes) {
                let kept = arrow::compute::filter(elements.column(0), passes.as_boolean()).unwrap();
                let items: Vec<Option<i32>> = found.as_list::<i32>().iter().flatten().flat_map(|items| items.as_primitive::<Int32Type>().iter().collect::<Vec<_>>()).collect();
                prop_assert_eq!(items, kept.as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), "{}", body);
            }
        }
    }

    #[test]
    fn a_fold_takes_up_one_element_after_the_other(rows in rows()) {
        let table = table(&rows);
        for (start, merge) in [("n", "t * 2 + x"), ("0", "t + coalesce(x, n)"), ("s", "concat(t, '/', coalesce(cast(x AS STRING), 'null'))"), ("coalesce(n, 0)", "if(x < t, x, t)")] {
            let found = value(&format!("aggregate(a, {start}, (t, x) -> {merge}, t -> (t, n))"), &table).unwrap();
            let found = found.as_struct();
            for (row, (array, _, _)) in rows.iter().enumerate() {
                prop_assert_eq!(found.is_null(row), array.is_none());
                if array.is_none() { continue }
                let elements = unnested(&table.slice(row, 1));
                let mut state = value(start, &table.slice(row, 1)).unwrap();
                for element in 0..elements.num_rows() {
                    let mut columns = vec![("t", state)];
                    let schema = elements.schema();
                    columns.extend(schema.fields().iter().zip(elements.columns()).map(|(field, column)| (field.name().as_str(), column.slice(element, 1))));
                    state = value(merge, &batch(columns)).unwrap();
                }
                prop_assert_eq!(&found.column(0).slice(row, 1), &state, "{} {}", start, merge);
            }
        }
    }

    #[test]
    fn a_comparator_sorts_as_a_stable_sort(lengths in proptest::collection::vec(0..150_usize, 1..4), modulus in 1..40_i32) {
        let rows: Vec<Row> = lengths.iter().map(|length| (Some((0..*length as i32).map(|i| Some(i * 7919 % 1000)).collect()), Some(modulus), None)).collect();
        let sorted = value("array_sort(a, (x, y) -> y % n - x % n)", &table(&rows)).unwrap();
        for (row, (array, _, _)) in rows.iter().enumerate() {
            let mut expected = array.clone().unwrap();
            expected.sort_by_key(|item| std::cmp::Reverse(item.unwrap() % modulus));
            let found = sorted.as_list::<i32>().value(row);
            prop_assert_eq!(found.as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), expected);
        }
    }
}

/// Longer than what is evaluated at once, in few rows and in many.
#[test]
fn arrays_of_any_length_are_cut_and_put_together() {
    let long = |from: i32, length: i32| Some((from..from + length).map(Some).collect::<Vec<_>>());
    let mut rows: Vec<Row> = vec![(long(0, 100_000), Some(1), None), (None, Some(2), None), (long(5, 40_000), Some(3), None)];
    rows.extend((0..50_000).map(|row| (long(row, 2), Some(row), None)));
    let table = table(&rows);
    let elements = unnested_with(&table, &["n"]);
    for body in ["x + n", "i", "x"] {
        let made = value(&format!("transform(a, (x, i) -> {body})"), &table).unwrap();
        let expected = value(body, &elements).unwrap();
        assert_eq!(made.as_list::<i32>().values().as_ref(), expected.as_ref(), "{body}");
    }
    let kept = value("filter(a, x -> x % 2 = n % 2)", &table).unwrap();
    let expected = value("x % 2 = n % 2", &elements).unwrap();
    assert_eq!(kept.as_list::<i32>().values().len(), expected.as_boolean().true_count());
    let sums = value("aggregate(filter(a, x -> x < 3000), 0, (t, x) -> t + x)", &table.slice(0, 3)).unwrap();
    let expected = [Some((0..3000).sum()), None, Some((5..3000).sum())];
    assert_eq!(sums.as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), expected);
}

/// Repeated for every element it would take more than a column of text can hold.
#[test]
fn a_long_text_of_the_row_is_not_repeated_for_all_elements() {
    let text = "ä".repeat(3 << 20);
    let rows =
        vec![(Some((0..1000).map(Some).collect()), None, Some(text.clone())), (Some(vec![Some(1)]), None, Some("b".into()))];
    let lengths = value("transform(a, x -> length(s) + x)", &table(&rows)).unwrap();
    let expected: Int32Array = (0..1000).map(|x| (3 << 20) + x).chain([2]).collect();
    assert_eq!(lengths.as_list::<i32>().values().as_primitive::<Int32Type>(), &expected);
    let sorted = value("array_sort(slice(a, 1, 40), (x, y) -> (y - x) * (length(s) - length(s) + 1))", &table(&rows)).unwrap();
    assert_eq!(sorted.as_list::<i32>().value(0).as_primitive::<Int32Type>().value(0), 39);
}

/// Entries behind a null map and before a slice are no entries.
#[test]
fn maps_show_nothing_that_lies_behind_nulls() {
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "hidden", "c"]));
    let values: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(0), Some(3)]));
    let map = |null: bool| {
        let DataType::Map(entries, _) = map_of(DataType::Utf8, DataType::Int32) else { panic!("no map") };
        let DataType::Struct(fields) = entries.data_type() else { panic!("no entries") };
        let fields: Fields = fields.clone();
        let whole = StructArray::new(fields, vec![keys.clone(), values.clone()], None);
        let nulls = null.then(|| NullBuffer::from(vec![true, false, true]));
        MapArray::new(entries, OffsetBuffer::new(vec![0, 2, 3, 4].into()), whole, nulls, false)
    };
    let n: ArrayRef = Arc::new(Int32Array::from(vec![10, 20, 30]));
    let table = batch(vec![("m", Arc::new(map(true))), ("k", Arc::new(map(false))), ("n", n)]);
    for (text, expected) in [
        ("transform_values(m, (k, v) -> 6 div v + n)", [Some("{a: 16, b: }"), None, Some("{c: 32}")]),
        ("transform_keys(m, (k, v) -> concat(k, n))", [Some("{a10: 1, b10: }"), None, Some("{c30: 3}")]),
        ("map_filter(m, (k, v) -> 6 div v > 0)", [Some("{a: 1}"), None, Some("{c: 3}")]),
        ("map_zip_with(m, k, (k, x, y) -> x + y + n)", [Some("{a: 12, b: }"), None, Some("{c: 36}")]),
        (
            "map_zip_with(k, map('c', 1, 'b', 2), (k, x, y) -> y)",
            [Some("{a: , b: 2, c: 1}"), Some("{hidden: , c: 1, b: 2}"), Some("{c: 1, b: 2}")],
        ),
    ] {
        for (from, length) in [(0, 3), (1, 2), (2, 1)] {
            let found = value(text, &table.slice(from, length)).unwrap();
            for row in 0..length {
                let shown = found.is_valid(row).then(|| arrow::util::display::array_value_to_string(&found, row).unwrap());
                assert_eq!(shown.as_deref(), expected[from + row], "{text}");
            }
        }
    }
}

#[test]
fn calls_are_equal_if_they_mean_the_same() {
    let schema = table(&[]).schema();
    let expr = |text: &str| typed(text, &schema).expr;
    let same = [
        ("transform(a, x -> x + n)", "transform(a, y -> y + N)"),
        ("transform(a, x -> transform(a, y -> x + y))", "transform(a, y -> transform(a, x -> y + x))"),
        ("aggregate(a, 0, (p, q) -> p + q)", "aggregate(a, 0, (x, y) -> x + y)"),
    ];
    for (one, other) in same {
        let (one, other) = (expr(&one.replace('N', "n")), expr(&other.replace('N', "n")));
        assert_eq!(one, other);
        assert_eq!(hash(&one), hash(&other), "{one}");
    }
    let all = [
        "transform(a, x -> x + n)",
        "transform(a, x -> n + x)",
        "transform(a, x -> x + 1)",
        "transform(a, x -> x + 2)",
        "transform(a, (x, i) -> x + i)",
        "transform(a, (i, x) -> x + x)",
        "aggregate(a, 0, (p, q) -> p + q)",
        "aggregate(a, 0, (p, q) -> p + q, p -> p + 1)",
        "aggregate(a, 0, (p, q) -> q)",
        "exists(a, x -> x > 1)",
        "forall(a, x -> x > 1)",
    ];
    for (index, one) in all.iter().enumerate() {
        for other in &all[index + 1..] {
            assert_ne!(expr(one), expr(other), "{one} and {other}");
        }
    }
    assert_eq!(expr("transform(a, x -> x + n)").to_string(), "transform[_1 -> add(_1, $1)](a, n)");
}

fn hash(expr: &Expr) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    expr.hash(&mut hasher);
    hasher.finish()
}

/// What can fail is not moved or folded; what cannot may be.
#[test]
fn a_call_can_fail_if_its_body_can() {
    let schema = table(&[]).schema();
    for (text, fallible) in [
        ("transform(a, x -> x + 1)", true),
        ("transform(a, x -> x IS NULL)", false),
        ("transform(a, x -> transform(a, y -> y div x))", true),
        ("exists(a, x -> x > n)", false),
        ("aggregate(a, 0, (t, x) -> x, t -> 1 div t)", true),
        ("array_sort(a, (x, y) -> 0)", true),
    ] {
        assert_eq!(is_fallible(&typed(text, &schema).expr), fallible, "{text}");
    }
    assert_eq!(typed("transform(a, x -> s)", &schema).data_type, array_of(DataType::Utf8));
}
