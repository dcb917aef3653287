//! Scalars and structs, in and out; and any batches, however they are cut.

use arrow::array::StructArray;

use super::*;

/// How a name comes, and goes back.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Scalar,
    Struct,
}

fn name_type(form: Form) -> DataType {
    match form {
        Form::Scalar => DataType::Utf8,
        Form::Struct => DataType::Struct(Fields::from(vec![Field::new("name", DataType::Utf8, true)])),
    }
}

fn names(form: Form, names: &[String]) -> ArrayRef {
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    match (form, name_type(form)) {
        (Form::Struct, DataType::Struct(fields)) => Arc::new(StructArray::new(fields, vec![column], None)),
        _ => column,
    }
}

fn names_of(form: Form, array: &ArrayRef) -> Vec<String> {
    let column = if form == Form::Struct { array.as_struct().column(0) } else { array };
    column.as_string::<i32>().iter().map(|name| name.unwrap().to_owned()).collect()
}

async fn processed(from: Form, to: Form, chunk_size: usize, people: &[String]) -> (Vec<String>, Vec<ChunkContext>) {
    let seen = Arc::<Seen>::default();
    let behaviour = move |chunk: Chunk, _| {
        let processed: Vec<_> =
            names_of(from, chunk.args.column(0)).into_iter().map(|name| format!("{name}_processed")).collect();
        Box::pin(async move { Ok(Answer::Values(names(to, &processed)).into()) }) as BoxFuture<'static, _>
    };
    let kind = Arc::new(Scripted { seen: seen.clone(), behaviour: Box::new(behaviour) });
    let args = Fields::from(vec![Field::new("person", name_type(from), true)]);
    let signature = Signature { name: "process".to_owned(), args, returns: Returns::Value(name_type(to)) };
    let settings = CallSettings { chunk_size, ..settings() };
    let function = Arc::new(Function::new(signature, kind, settings, Arc::new(Budget::new(9))).unwrap());
    let rows = RecordBatch::try_from_iter([("person", names(from, people))]).unwrap();
    let parts = function.answer(batch("q", &Arc::new(Budget::new(9))), stream::iter([Ok(rows)]).boxed());
    let got = parts.map(|part| match part.unwrap().answer {
        Answer::Values(values) => stream::iter(names_of(to, &values)),
        Answer::Rows { .. } => panic!("values were declared"),
    });
    (soon(got.flatten().collect()).await, seen.calls())
}

#[tokio::test]
async fn s0_1_and_3_to_6_each_shape_answers_in_the_right_rows() {
    let people = ["Qureshi", "Vidal"].map(str::to_owned);
    for from in [Form::Scalar, Form::Struct] {
        for to in [Form::Scalar, Form::Struct] {
            for chunk_size in [1, 2] {
                let (got, _) = processed(from, to, chunk_size, &people).await;
                assert_eq!(got, ["Qureshi_processed", "Vidal_processed"]);
            }
        }
    }
}

#[tokio::test]
async fn s0_2_twenty_rows_two_at_a_time_know_where_they_are_from() {
    let people: Vec<_> = (0..20).map(|n| format!("person {n}")).collect();
    let (got, mut calls) = processed(Form::Scalar, Form::Scalar, 2, &people).await;
    assert_eq!(got, people.iter().map(|name| format!("{name}_processed")).collect::<Vec<_>>());
    calls.sort_by_key(|call| call.index);
    let started = calls[0].started;
    assert!(started > SystemTime::UNIX_EPOCH);
    for (at, call) in calls.iter().enumerate() {
        assert_eq!((call.index, call.rows.clone(), call.partition), (at + 1, at * 2 + 1..at * 2 + 3, 0));
        assert_eq!(call.started, started, "one start for the batch");
    }
    assert_eq!(calls.len(), 10);
}

#[tokio::test]
async fn what_the_declaration_sets_reaches_the_call() {
    let parameters = Arc::new(BTreeMap::from([("model".to_owned(), serde_json::json!("v2"))]));
    let settings = CallSettings { parameters: parameters.clone(), ..settings() };
    let fixture = Fixture::new(settings, |chunk, _| async move { Ok(tenfold(&chunk)) });
    fixture.values(&[1]).await.unwrap();
    assert_eq!(fixture.seen.calls()[0].parameters, parameters);
}

/// A number is never answered if it can be divided by 7.
async fn answered(batches: &[usize], settings: CallSettings) -> (Vec<Option<i64>>, Vec<ChunkContext>) {
    let in_flight_max = settings.max_in_flight;
    let fixture = Fixture::new(settings, |chunk, _| async move {
        // Some take longer than those after them.
        for _ in 0..chunk.context.index * 7 % 5 {
            tokio::task::yield_now().await;
        }
        let broken = numbers_of(&chunk.args).iter().any(|n| n % 7 == 0);
        if broken { Err(CallError::new(CallErrorKind::Rejected, "no")) } else { Ok(tenfold(&chunk)) }
    });
    let got = fixture.values(batches).await.unwrap();
    assert!(fixture.seen.in_flight_max.load(Ordering::SeqCst) <= in_flight_max);
    (got, fixture.seen.calls())
}

proptest::proptest! {
    #[test]
    fn however_rows_come_and_are_cut_each_gets_its_answer(
        batches in proptest::collection::vec(0_usize..40, 0..8),
        chunk_size in 1_usize..12,
        max_in_flight in 1_usize..6,
        keep in 0_usize..3,
    ) {
        let cache = (keep > 0).then(|| CacheSettings { entries: keep * 10, ..CacheSettings::default() });
        let settings = CallSettings { chunk_size, max_in_flight, cache, on_error: OnError::ReturnNull, ..settings() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (got, calls) = runtime.block_on(answered(&batches, settings));
        let total = batches.iter().sum::<usize>();
        proptest::prop_assert_eq!(calls.len(), total.div_ceil(chunk_size));
        // The rows are all different, so with a cache they are cut in the same way.
        let numbers: Vec<_> = (0..total as i64).collect();
        let wanted: Vec<_> = numbers
            .chunks(chunk_size)
            .flat_map(|chunk| {
                let broken = chunk.iter().any(|n| n % 7 == 0);
                chunk.iter().map(move |n| (!broken).then_some(n * 10))
            })
            .collect();
        proptest::prop_assert_eq!(got, wanted);
    }
}
