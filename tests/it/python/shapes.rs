//! The forms of a function: rows to rows, and one value or several to one or several.

use serde_json::{Value, json};

use super::{Fixture, column, numbers};

const PEOPLE: &str = "first STRING, name STRING";

fn people() -> Vec<Value> {
    vec![json!({ "first": "Ashraf", "name": "Qureshi" }), json!({ "first": "Maria", "name": "Vidal" })]
}

const PROCESSED: [&str; 2] = ["Qureshi_processed", "Vidal_processed"];

#[test]
fn s0_1_rows_become_rows_in_the_same_order() {
    let code = "
async def process(context, rows):
    for index, row in enumerate(rows):
        await asyncio.sleep(0.1)
        yield index, {'processed': row['name'] + '_processed'}
";
    let function = "  process: { args: \"first STRING, name STRING\", returns: TABLE (processed STRING), chunk_size: 1, python: { {python} } }";
    let sql = "SELECT t.name, p.processed FROM t, LATERAL process(t.first, t.name) AS p";
    let fixture = Fixture::new(function, code, sql, PEOPLE, &people());
    fixture.run();
    assert_eq!(column(&fixture.rows(), "processed"), PROCESSED);
    assert_eq!(column(&fixture.rows(), "name"), ["Qureshi", "Vidal"]);
}

/// Twenty rows by two, each with where it was made.
#[test]
fn s0_2_each_row_may_say_where_it_is_from() {
    let code = "
async def process(context, values):
    assert values is context.values
    for value in values:
        yield {'n': value, 'partition': context.partition_index, 'chunk': context.chunk_index, 'pid': context.pid,
               'start': context.input_range.start, 'stop': context.input_range.stop, 'query': context.query,
               'batch': context.batch_id, 'zone': str(context.partition_start_time.tzinfo),
               'age': (datetime.datetime.now(datetime.timezone.utc) - context.partition_start_time).total_seconds(),
               'level': context.log_level, 'own': context.pid == os.getpid()}
";
    let function = "  process: { args: n BIGINT, returns: \"n BIGINT, partition INT, chunk INT, pid INT, start BIGINT, stop BIGINT, query STRING, \
                    batch BIGINT, zone STRING, age DOUBLE, level STRING, own BOOLEAN\", chunk_size: 2, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT p.* FROM (SELECT process(n) AS p FROM t)", "n BIGINT", &numbers(20));
    fixture.run();
    let rows = fixture.rows();
    assert_eq!(column(&rows, "n"), (0..20).map(Value::from).collect::<Vec<_>>());
    for (n, row) in rows.iter().enumerate() {
        let first = n / 2 * 2 + 1;
        assert_eq!((&row["chunk"], &row["start"], &row["stop"]), (&json!(n / 2 + 1), &json!(first), &json!(first + 2)));
        assert_eq!((&row["partition"], &row["query"], &row["batch"]), (&json!(0), &json!("q"), &json!(0)));
        assert_eq!((&row["zone"], &row["level"], &row["own"]), (&json!("UTC"), &json!("info"), &json!(true)));
        assert!(row["age"].as_f64().is_some_and(|age| (0.0..120.0).contains(&age)), "{row}");
    }
}

const SHAPES: &str = "
async def scalar_to_scalar(context, values):
    for value in values:
        yield value + '_processed'

async def scalar_to_struct(context, values):
    for value in values:
        yield {'processed': value + '_processed'}

async def struct_to_scalar(context, values):
    for value in values:
        yield value['name'] + '_processed'

async def struct_to_struct(context, values):
    for value in values:
        yield {'processed': value['name'] + '_processed', 'first': value['first']}

async def one_struct(context, values):
    for value in values:
        yield value['who']['name'] + '_processed' if 'who' in value else value['name'] + '_processed'
";

#[test]
fn s0_3_to_6_one_value_or_several_become_one_or_several() {
    let functions = "  scalar_to_scalar: { args: name STRING, returns: STRING, python: { {python} } }
  scalar_to_struct: { args: name STRING, returns: \"processed STRING\", python: { {python} } }
  struct_to_scalar: { args: \"first STRING, name STRING\", returns: STRING, python: { {python} } }
  struct_to_struct: { args: \"first STRING, name STRING\", returns: \"processed STRING, first STRING\", python: { {python} } }
  one_struct: { args: \"who STRUCT<first STRING, name STRING>\", returns: STRING, python: { {python} } }";
    let sql = "SELECT scalar_to_scalar(name) AS a, scalar_to_struct(name).processed AS b, struct_to_scalar(first, name) AS c, \
               struct_to_struct(first, name) AS d, one_struct(named_struct('first', first, 'name', name)) AS e FROM t";
    let fixture = Fixture::new(functions, SHAPES, sql, PEOPLE, &people());
    fixture.run();
    let rows = fixture.rows();
    for name in ["a", "b", "c", "e"] {
        assert_eq!(column(&rows, name), PROCESSED, "{name}");
    }
    let structs: Vec<Value> =
        ["Ashraf", "Maria"].iter().zip(PROCESSED).map(|(first, p)| json!({ "processed": p, "first": first })).collect();
    assert_eq!(column(&rows, "d"), structs);
}

#[test]
fn s0_10_no_rows_are_no_call() {
    let code = "
async def f(context, values):
    tell(called=True)
    for value in values:
        yield value
";
    let function = "  f: { args: n BIGINT, returns: BIGINT, python: { {python} } }";
    let fixture = Fixture::new(function, code, "SELECT f(n) AS m FROM t WHERE n < 0", "n BIGINT", &numbers(3));
    let ended = fixture.run();
    assert_eq!((fixture.rows(), fixture.seen()), (vec![], vec![]));
    assert!(!ended.stderr.contains("worker started"), "{ended:?}");
}

#[test]
fn s0_11_another_number_of_values_than_rows_is_refused() {
    let code = "
async def few(context, values):
    yield 1

async def many(context, values):
    for value in values:
        yield value
        yield value
";
    for (name, message) in [("few", "it answered 1 value for 2 rows"), ("many", "it answered 4 values for 2 rows")] {
        let function = format!("  {name}: {{ args: n BIGINT, returns: BIGINT, python: {{ {{python}} }} }}");
        Fixture::new(&function, code, &format!("SELECT {name}(n) AS m FROM t"), "n BIGINT", &numbers(2)).fails(message);
    }
}

/// Any number of rows for each row, told in any order, come in the order of the rows they are for.
#[test]
fn rows_belong_to_the_row_they_name() {
    let code = "
async def several(context, rows):
    for index, row in reversed(list(enumerate(rows))):
        for k in range(row['n'] % 3):
            yield index, {'k': k}
";
    let function = "  several: { args: n BIGINT, returns: TABLE (k INT), chunk_size: 4, python: { {python} } }";
    let sql = "SELECT t.n, r.k FROM t, LATERAL several(t.n) AS r";
    let fixture = Fixture::new(function, code, sql, "n BIGINT", &numbers(3000));
    fixture.run();
    let expected: Vec<Value> = (0..3000).flat_map(|n| (0..n % 3).map(move |k| json!({ "n": n, "k": k }))).collect();
    assert_eq!(fixture.rows(), expected);
}

#[test]
fn a_row_that_is_for_nobody_is_refused() {
    let refused = |yields: &str, chunk_size: usize, message: &str| {
        let code = format!("\nasync def f(context, rows):\n    yield {yields}\n");
        let function =
            format!("  f: {{ args: n BIGINT, returns: TABLE (k INT), chunk_size: {chunk_size}, python: {{ {{python}} }} }}");
        Fixture::new(&function, &code, "SELECT r.k FROM t, LATERAL f(t.n) AS r", "n BIGINT", &numbers(2)).fails(message);
    };
    refused("7", 2, "expected a dict, or (index of the row that it is for, dict), found int");
    refused("{'k': 1}\n    yield (0, {'k': 1})", 2, "some of its rows say which row they are for, and others do not");
    refused("{'k': 'one'}", 2, "a row: field k: expected INT, found str");
    refused("(2, {'k': 1})", 2, "it answered for index 2 of 2 rows, which are counted from 0");
    refused("('0', {'k': 1})", 2, "expected the index of the row that it is for, found str");
    refused("(0, 7)", 1, "expected a dict for row ");
    refused("(1, {'k': 'one'})", 2, "a row for row 2: field k: expected INT, found str");
}

/// Rows of a chunk as a whole: as many as there are, in any number.
#[test]
fn s0_1_rows_of_the_whole_chunk_name_no_row_where_nothing_stands_beside_them() {
    let code = "
async def frame(context, rows):
    yield {'n': len(rows), 'sum': sum(row['n'] for row in rows)}
    yield {'n': None, 'sum': context.chunk_index}
";
    let function = |more: &str| {
        format!(
            "  frame: {{ args: n BIGINT, returns: 'TABLE (n INT, sum BIGINT)', chunk_size: 4, python: {{ {{python}} }}{more} }}"
        )
    };
    let sql = "SELECT f.n, f.sum FROM t, LATERAL frame(t.n) AS f";
    let fixture = Fixture::new(&function(""), code, sql, "n BIGINT", &numbers(6));
    fixture.run();
    assert_eq!(Value::from(column(&fixture.rows(), "n")), json!([4, null, 2, null]));
    assert_eq!(Value::from(column(&fixture.rows(), "sum")), json!([6, 1, 9, 2]));
    let beside = "SELECT t.n, f.sum FROM t, LATERAL frame(t.n) AS f";
    let refused = "its rows do not say which row they are for, and the query reads another column of that row";
    Fixture::new(&function(""), code, beside, "n BIGINT", &numbers(6)).fails(refused);
    let kept = "its rows do not say which row they are for: the cache must know";
    Fixture::new(&function(", cache: {}"), code, sql, "n BIGINT", &numbers(6)).fails(kept);
}

/// Where a call is one row there is no doubt.
#[test]
fn rows_of_calls_of_one_row_need_no_index() {
    let code = "
async def letters(context, rows):
    for letter in rows[0]['name']:
        yield {'letter': letter}
";
    let function = "  letters: { args: name STRING, returns: TABLE (letter STRING), chunk_size: 1, python: { {python} } }";
    let sql = "SELECT l.letter FROM t, LATERAL letters(t.name) AS l";
    let fixture = Fixture::new(function, code, sql, PEOPLE, &people());
    fixture.run();
    let letters: String = column(&fixture.rows(), "letter").iter().map(|letter| letter.as_str().unwrap().to_owned()).collect();
    assert_eq!(letters, "QureshiVidal");
}
