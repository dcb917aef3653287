//! Which calls are made, how many at a time, and in which order their answers come.

use tokio::sync::Semaphore;

use super::*;

#[tokio::test]
async fn s0_7_ten_thousand_rows_are_a_hundred_calls_of_a_hundred() {
    for batches in [&[10_000][..], &[8192, 1808], &[1, 9998, 1]] {
        let fixture = Fixture::new(settings(), |chunk, _| async move { Ok(tenfold(&chunk)) });
        let wanted: Vec<_> = (0..10_000).map(|n| Some(n * 10)).collect();
        assert_eq!(fixture.values(batches).await.unwrap(), wanted);
        let mut calls = fixture.seen.calls();
        calls.sort_by_key(|call| call.index);
        assert_eq!(calls.len(), 100);
        for (at, call) in calls.iter().enumerate() {
            assert_eq!((call.index, call.rows.clone()), (at + 1, at * 100 + 1..at * 100 + 101));
            assert_eq!((call.query.as_ref(), call.batch_id, call.partition), ("q", 7, 0));
        }
    }
}

#[tokio::test]
async fn s0_8_order_is_kept_when_the_first_chunk_is_the_slowest() {
    let settings = CallSettings { chunk_size: 2, ..settings() };
    let fixture = Fixture::new(settings, |chunk, seen| async move {
        if chunk.context.index == 1 {
            until(|| seen.finished() == 2).await;
        }
        Ok(tenfold(&chunk))
    });
    assert_eq!(fixture.values(&[6]).await.unwrap(), [0, 10, 20, 30, 40, 50].map(Some));
}

type Called = BoxFuture<'static, Result<Reply, CallError>>;

/// A gate, and what a call does: it waits at the gate.
fn gate() -> (Arc<Semaphore>, impl Fn(Chunk, Arc<Seen>) -> Called + Clone) {
    let gate = Arc::new(Semaphore::new(0));
    let behaviour = {
        let gate = gate.clone();
        move |chunk: Chunk, _| {
            let gate = gate.clone();
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                Ok(tenfold(&chunk))
            }) as Called
        }
    };
    (gate, behaviour)
}

/// Lets every task run until it has to wait.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

/// Two functions of 25 calls each; how many are in flight when all that may be are, and at most.
async fn two_functions(query: usize, process: usize) -> (usize, usize) {
    let (query, process) = (Arc::new(Budget::new(query)), Arc::new(Budget::new(process)));
    let (open, behaviour) = gate();
    let settings = CallSettings { chunk_size: 1, ..settings() };
    let fixture = || Fixture::returning(Returns::Value(DataType::Int64), settings.clone(), process.clone(), behaviour.clone());
    let (one, two) = (fixture(), fixture());
    let mut one_answers = one.function.answer(batch("q", &query), rows(&[25]));
    let mut two_answers = two.function.answer(batch("q", &query), rows(&[25]));
    assert!(futures::poll!(one_answers.next()).is_pending() && futures::poll!(two_answers.next()).is_pending());
    // Twenty of each have their function's place, and all but a few wait for the next.
    until(|| one.function.in_flight() == 20 && two.function.in_flight() == 20).await;
    settle().await;
    let in_flight = one.seen.in_flight() + two.seen.in_flight();
    open.add_permits(1000);
    assert_eq!(soon(async { tokio::join!(one_answers.count(), two_answers.count()) }).await, (25, 25));
    assert_eq!((query.in_flight(), process.in_flight()), (0, 0));
    (in_flight, one.seen.calls().len() + two.seen.calls().len())
}

#[tokio::test]
async fn s0_9_a_budget_of_seven_is_shared_by_two_functions() {
    assert_eq!(two_functions(7, 1000).await, (7, 50), "the query's");
    assert_eq!(two_functions(1000, 7).await, (7, 50), "the process's");
    assert_eq!(two_functions(1000, 1000).await, (40, 50), "each function's own");
}

#[tokio::test]
async fn s3_2_no_more_calls_are_in_flight_than_the_function_allows() {
    let (open, behaviour) = gate();
    let fixture = Fixture::new(CallSettings { chunk_size: 1, max_in_flight: 3, ..settings() }, behaviour);
    // Two queries at a time: the places are the function's, not the query's.
    let (mut one, mut two) = (fixture.answer(rows(&[15])), fixture.answer(rows(&[15])));
    assert!(futures::poll!(one.next()).is_pending() && futures::poll!(two.next()).is_pending());
    until(|| fixture.seen.in_flight() == 3).await;
    settle().await;
    open.add_permits(1000);
    assert_eq!(soon(async { tokio::join!(one.count(), two.count()) }).await, (15, 15));
    assert_eq!(fixture.seen.in_flight_max.load(Ordering::SeqCst), 3);
    assert_eq!(fixture.function.in_flight(), 0);
}

#[tokio::test]
async fn s0_10_no_rows_are_no_call() {
    for batches in [&[][..], &[0], &[0, 0]] {
        let fixture = Fixture::new(settings(), |chunk, _| async move { Ok(tenfold(&chunk)) });
        assert_eq!(fixture.answer(rows(batches)).count().await, 0);
        assert!(fixture.seen.calls().is_empty());
    }
}

#[tokio::test]
async fn rows_are_taken_for_twice_as_many_calls_as_may_be_in_flight() {
    let settings = CallSettings { chunk_size: 1, max_in_flight: 4, ..settings() };
    let (open, behaviour) = gate();
    let fixture = Fixture::new(settings, behaviour);
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = rows(&[1; 100]).inspect({
        let taken = taken.clone();
        move |_| {
            taken.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut parts = fixture.answer(counted.boxed());
    assert!(futures::poll!(parts.next()).is_pending());
    until(|| fixture.seen.in_flight() == 4).await;
    settle().await;
    assert!(futures::poll!(parts.next()).is_pending());
    assert_eq!(taken.load(Ordering::SeqCst), 8);
    // The window stays full although nobody looks at the stream: the tasks ask for their places themselves.
    open.add_permits(4);
    until(|| fixture.seen.finished() == 4 && fixture.seen.in_flight() == 4).await;
    assert_eq!(taken.load(Ordering::SeqCst), 8);
    open.add_permits(1000);
    assert_eq!(soon(parts.count()).await, 100);
}

#[tokio::test]
async fn values_are_ordered_even_if_order_is_not_asked_for() {
    let settings = CallSettings { chunk_size: 1, ordered: false, ..settings() };
    let fixture = Fixture::new(settings, |chunk, seen| async move {
        if chunk.context.index == 1 {
            until(|| seen.finished() == 3).await;
        }
        Ok(tenfold(&chunk))
    });
    assert_eq!(fixture.values(&[4]).await.unwrap(), [0, 10, 20, 30].map(Some));
}

/// Twice the number for each odd number, nothing for an even one.
fn odd_twice(chunk: &Chunk) -> Answer {
    let odd: Vec<_> = numbers_of(&chunk.args).into_iter().enumerate().filter(|(_, n)| n % 2 == 1).collect();
    let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(odd.iter().flat_map(|(_, n)| [*n, *n])));
    let of = odd.iter().flat_map(|(row, _)| [*row as u32, *row as u32]).collect::<Vec<_>>();
    Answer::Rows { rows: RecordBatch::try_from_iter_with_nullable([("n", rows, true)]).unwrap(), of: of.into() }
}

async fn table_form(ordered: bool) -> Vec<(usize, Vec<i64>, Vec<u32>)> {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let settings = CallSettings { chunk_size: 2, ordered, ..settings() };
    let process = Arc::new(Budget::new(9));
    let fixture = Fixture::returning(Returns::Rows(schema), settings, process, |chunk, seen| async move {
        if chunk.context.index == 1 {
            until(|| seen.finished() == 2).await;
        }
        Ok(odd_twice(&chunk).into())
    });
    let parts = fixture.answer(rows(&[5])).map(|part| {
        let part = part.unwrap();
        let Answer::Rows { rows, of } = part.answer else { panic!("rows were declared") };
        (part.start, numbers_of(&rows), of.values().to_vec())
    });
    soon(parts.collect()).await
}

#[tokio::test]
async fn the_table_form_answers_any_number_of_rows_in_order() {
    let wanted = [(0, vec![1, 1], vec![1, 1]), (2, vec![3, 3], vec![1, 1]), (4, vec![], vec![])];
    assert_eq!(table_form(true).await, wanted);
}

#[tokio::test]
async fn unordered_the_table_form_answers_as_it_comes() {
    let mut got = table_form(false).await;
    assert_eq!(got.last(), Some(&(0, vec![1, 1], vec![1, 1])), "the slowest comes last");
    got.sort();
    assert_eq!(got, table_form(true).await);
}
