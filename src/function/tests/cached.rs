//! A function that keeps its answers.

use super::*;
use crate::error::ErrorKind;
use crate::metrics::FunctionMetrics;

fn keeping(chunk_size: usize) -> CallSettings {
    CallSettings { chunk_size, cache: Some(CacheSettings::default()), ..settings() }
}

/// The numbers of `batches`, tenfold; parts must follow on each other.
async fn ask(fixture: &Fixture, batches: &[&[i64]]) -> Result<Vec<Option<i64>>> {
    ask_in(fixture, batch("q", &Arc::new(Budget::new(1000))), batches).await
}

async fn ask_in(fixture: &Fixture, context: BatchContext, batches: &[&[i64]]) -> Result<Vec<Option<i64>>> {
    let batches: Vec<_> = batches.iter().map(|numbers| Ok(of(numbers.iter().copied()))).collect();
    let mut parts = fixture.function.answer(context, stream::iter(batches).boxed());
    let mut all = Vec::new();
    while let Some(part) = soon(parts.next()).await {
        let part = part?;
        assert_eq!(part.start, all.len());
        let Answer::Values(values) = part.answer else { panic!("values were declared") };
        assert_eq!(values.len(), part.rows);
        all.extend(values.as_primitive::<Int64Type>());
    }
    Ok(all)
}

fn tens(numbers: &[i64]) -> Vec<Option<i64>> {
    numbers.iter().map(|n| Some(n * 10)).collect()
}

/// Rows of each call, in the order in which they were made.
fn lengths(asked: &Mutex<Vec<Vec<i64>>>) -> Vec<Vec<i64>> {
    let mut calls = asked.lock().unwrap().clone();
    calls.sort();
    calls
}

/// A function that keeps its answers, and the numbers it was asked for, call by call.
fn counting(settings: CallSettings) -> (Fixture, Arc<Mutex<Vec<Vec<i64>>>>) {
    let asked = Arc::<Mutex<Vec<Vec<i64>>>>::default();
    let told = asked.clone();
    let fixture = Fixture::new(settings, move |chunk, _| {
        told.lock().unwrap().push(numbers_of(&chunk.args));
        async move { Ok(tenfold(&chunk)) }
    });
    (fixture, asked)
}

#[tokio::test]
async fn s0_13_ten_ids_of_which_four_are_kept_come_in_input_order() {
    let (fixture, asked) = counting(keeping(100));
    ask(&fixture, &[&[1, 4, 6, 9]]).await.unwrap();
    asked.lock().unwrap().clear();
    let ids: Vec<i64> = (0..10).collect();
    assert_eq!(ask(&fixture, &[&ids]).await.unwrap(), tens(&ids));
    assert_eq!(lengths(&asked), [[0, 2, 3, 5, 7, 8]]);
}

#[tokio::test]
async fn equal_rows_are_asked_once_in_chunks_as_full_as_can_be() {
    let (fixture, asked) = counting(keeping(3));
    let batches: &[&[i64]] = &[&[5, 5, 1], &[], &[1, 5, 2], &[2], &[3, 1, 4, 7]];
    assert_eq!(ask(&fixture, batches).await.unwrap(), tens(&batches.concat()));
    assert_eq!(lengths(&asked), [[3, 4, 7], [5, 1, 2]]);
    assert_eq!(ask(&fixture, batches).await.unwrap(), tens(&batches.concat()));
    assert_eq!(asked.lock().unwrap().len(), 2, "all of it was kept");
}

#[tokio::test]
async fn a_large_batch_is_cut_as_without_a_cache() {
    let (fixture, asked) = counting(keeping(100));
    let numbers: Vec<i64> = (0..10_000).collect();
    assert_eq!(ask(&fixture, &[&numbers[..8192], &numbers[8192..]]).await.unwrap(), tens(&numbers));
    let calls = lengths(&asked);
    assert_eq!(calls.len(), 100);
    assert!(calls.iter().all(|call| call.len() == 100));
    assert_eq!(calls.concat(), numbers);
    let rows: Vec<_> = fixture.seen.calls().iter().map(|call| call.rows.len()).collect();
    assert_eq!(rows, [100; 100]);
}

#[tokio::test]
async fn a_cache_smaller_than_the_batch_changes_no_answer() {
    let cache = Some(CacheSettings { entries: 2, ..CacheSettings::default() });
    let (fixture, _) = counting(CallSettings { cache, max_in_flight: 2, ..keeping(1) });
    let numbers: Vec<i64> = (0..3000).map(|n| n * 7 % 50).collect();
    assert_eq!(ask(&fixture, &[&numbers[..1000], &numbers[1000..]]).await.unwrap(), tens(&numbers));
}

#[tokio::test]
async fn nulls_are_answers_and_kept() {
    let fixture = Fixture::new(keeping(10), |chunk, _| async move {
        Ok(Answer::Values(arrow::array::new_null_array(&DataType::Int64, chunk.args.num_rows())).into())
    });
    assert_eq!(ask(&fixture, &[&[1, 2]]).await.unwrap(), [None, None]);
    assert_eq!(ask(&fixture, &[&[2, 1]]).await.unwrap(), [None, None]);
    assert_eq!(fixture.seen.calls().len(), 1);
}

/// Fifty queries that ask for the same row at once; each call waits until all of them have come.
async fn fifty(cache: Option<CacheSettings>) -> (Fixture, Arc<FunctionMetrics>) {
    let settings = CallSettings { chunk_size: 1, max_in_flight: 50, cache, ..settings() };
    let polled = Arc::new(AtomicUsize::new(0));
    let all = polled.clone();
    let fixture = Fixture::new(settings, move |chunk, _| {
        let all = all.clone();
        async move {
            until(|| all.load(Ordering::SeqCst) == 50).await;
            Ok(tenfold(&chunk))
        }
    });
    let metrics = Arc::new(Metrics::new().unwrap().function("p", "q", "risk"));
    let asks = (0..50).map(|_| {
        let context = BatchContext { metrics: metrics.clone(), ..batch("q", &Arc::new(Budget::new(1000))) };
        let (polled, fixture) = (polled.clone(), &fixture);
        async move {
            polled.fetch_add(1, Ordering::SeqCst);
            ask_in(fixture, context, &[&[7]]).await.unwrap()
        }
    });
    assert_eq!(soon(futures::future::join_all(asks)).await, vec![vec![Some(70)]; 50]);
    (fixture, metrics)
}

#[tokio::test]
async fn s4_3_fifty_at_once_are_one_call_and_another_after_invalidation() {
    let (fixture, metrics) = fifty(Some(CacheSettings::default())).await;
    assert_eq!(fixture.seen.calls().len(), 1);
    assert_eq!((metrics.cache_hits.get(), metrics.cache_misses.get()), (49, 1));
    fixture.function.invalidate(of([7])).unwrap();
    assert_eq!(ask(&fixture, &[&[7, 7]]).await.unwrap(), tens(&[7, 7]));
    assert_eq!(fixture.seen.calls().len(), 2);
    fixture.function.invalidate_all();
    assert_eq!(ask(&fixture, &[&[7]]).await.unwrap(), tens(&[7]));
    assert_eq!(fixture.seen.calls().len(), 3);
}

#[tokio::test]
async fn s4_3_without_room_every_row_is_asked() {
    let none = CacheSettings { entries: 0, ..CacheSettings::default() };
    let (fixture, metrics) = fifty(Some(none)).await;
    assert_eq!(fixture.seen.calls().len(), 50);
    assert_eq!((metrics.cache_hits.get(), metrics.cache_misses.get()), (0, 0));
    assert_eq!(fifty(None).await.0.seen.calls().len(), 50);
}

#[tokio::test]
async fn failures_are_not_kept_and_shared_only_by_those_who_wait() {
    let settings = CallSettings { on_error: OnError::ReturnNull, ..keeping(2) };
    let fixture = Fixture::new(settings, |chunk, seen| async move {
        if seen.finished() == 0 { Err(CallError::new(CallErrorKind::Rejected, "no")) } else { Ok(tenfold(&chunk)) }
    });
    let broken = stream::iter([Ok(of([1, 2, 1]))]).boxed();
    let mut parts = fixture.answer(broken);
    let part = soon(parts.next()).await.unwrap().unwrap();
    assert_eq!(part.failed.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(ask(&fixture, &[&[1, 2, 1]]).await.unwrap(), tens(&[1, 2, 1]));
}

#[tokio::test]
async fn a_failure_fails_the_batch_naming_its_rows() {
    let fixture = Fixture::new(keeping(1), |chunk, seen| async move {
        if numbers_of(&chunk.args) == [9] {
            until(|| seen.in_flight() == 3).await;
            return Err(CallError::new(CallErrorKind::Rejected, "status 404"));
        }
        futures::future::pending().await
    });
    let failed = ask(&fixture, &[&[1, 1, 2, 9]]).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Data);
    assert_eq!(failed.chain(), "could not call function \"risk\" for row 4 (attempts: 1): status 404");
    assert_eq!((fixture.seen.in_flight(), fixture.function.in_flight()), (0, 0));
}

#[tokio::test]
async fn who_waits_for_a_batch_that_is_given_up_asks_itself() {
    let fixture = Fixture::new(keeping(2), |chunk, seen| async move {
        // The first call hangs.
        if seen.calls().len() == 1 { futures::future::pending().await } else { Ok(tenfold(&chunk)) }
    });
    let mut first = fixture.answer(stream::iter([Ok(of([1, 2]))]).boxed());
    assert!(futures::poll!(first.next()).is_pending());
    until(|| fixture.seen.in_flight() == 1).await;
    let mut second = fixture.answer(stream::iter([Ok(of([2, 3]))]).boxed());
    assert!(futures::poll!(second.next()).is_pending());
    until(|| fixture.seen.finished() == 1).await;
    assert!(futures::poll!(second.next()).is_pending(), "2 is with the first");
    drop(first);
    let Answer::Values(values) = soon(second.next()).await.unwrap().unwrap().answer else { panic!() };
    assert_eq!(values.as_primitive::<Int64Type>().values().to_vec(), [20, 30]);
    assert_eq!(fixture.seen.calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_want_the_same_rows_in_another_order_do_not_wait_for_each_other() {
    let cache = Some(CacheSettings { entries: 5, ..CacheSettings::default() });
    let (fixture, _) = counting(CallSettings { cache, max_in_flight: 2, ..keeping(3) });
    let numbers: Vec<i64> = (0..2000).map(|n| n % 97).collect();
    let backwards: Vec<i64> = numbers.iter().rev().copied().collect();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let numbers = if task % 2 == 0 { numbers.clone() } else { backwards.clone() };
            let fixture = Fixture { function: fixture.function.clone(), seen: fixture.seen.clone() };
            tokio::spawn(async move { assert_eq!(ask(&fixture, &[&numbers]).await.unwrap(), tens(&numbers)) })
        })
        .collect();
    for task in tasks {
        soon(task).await.unwrap();
    }
}

#[tokio::test]
async fn rows_whose_answer_is_kept_are_bounded_while_one_is_asked() {
    let open = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = open.clone();
    let fixture = Fixture::new(CallSettings { max_in_flight: 1, ..keeping(100) }, move |chunk, _| {
        let gate = gate.clone();
        async move {
            if numbers_of(&chunk.args).contains(&-1) {
                gate.acquire().await.unwrap().forget();
            }
            Ok(tenfold(&chunk))
        }
    });
    ask(&fixture, &[&[1]]).await.unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = {
        let taken = taken.clone();
        let kept = stream::iter((0..1000).map(|_| Ok(of([1; 100]))));
        stream::iter([Ok(of([-1]))]).chain(kept).inspect(move |_: &Result<RecordBatch>| {
            taken.fetch_add(1, Ordering::SeqCst);
        })
    };
    // One row misses and everything behind it waits: it is asked although its chunk is not full, and no more is taken.
    let mut parts = fixture.answer(counted.boxed());
    assert!(futures::poll!(parts.next()).is_pending());
    until(|| fixture.seen.in_flight() == 1).await;
    assert!(futures::poll!(parts.next()).is_pending());
    let rows = taken.load(Ordering::SeqCst) * 100;
    assert!((8000..9000).contains(&rows), "{rows}");
    open.add_permits(1);
    let answered: usize = soon(parts.map(|part| part.unwrap().rows).fold(0, |sum, rows| async move { sum + rows })).await;
    assert_eq!(answered, 100_001);
}

#[tokio::test]
async fn rows_of_the_table_form_are_kept() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    for ordered in [true, false] {
        let settings = CallSettings { ordered, ..keeping(2) };
        let process = Arc::new(Budget::new(9));
        let fixture = Fixture::returning(Returns::Rows(schema.clone()), settings, process, |chunk, _| async move {
            // So many rows as the number says.
            let each = numbers_of(&chunk.args).into_iter().enumerate();
            let rows: Vec<_> = each.flat_map(|(row, n)| vec![(row as u32, n); n as usize]).collect();
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, n)| *n)));
            let of = rows.iter().map(|(row, _)| *row).collect::<Vec<_>>().into();
            Ok(Answer::Rows { rows: RecordBatch::try_from_iter_with_nullable([("n", column, true)]).unwrap(), of }.into())
        });
        for _ in 0..2 {
            let parts = fixture.answer(stream::iter([Ok(of([2, 0, 1, 2])), Ok(of([1]))]).boxed());
            let mut got: Vec<(usize, i64)> = parts
                .flat_map(|part| {
                    let part = part.unwrap();
                    let Answer::Rows { rows, of } = part.answer else { panic!("rows were declared") };
                    let rows = numbers_of(&rows).into_iter().zip(of.values().to_vec());
                    stream::iter(rows.map(|(n, of)| (part.start + of as usize, n)).collect::<Vec<_>>())
                })
                .collect()
                .await;
            got.sort();
            assert_eq!(got, [(0, 2), (0, 2), (2, 1), (3, 2), (3, 2), (4, 1)]);
        }
        assert_eq!(fixture.seen.calls().len(), 2);
    }
}
