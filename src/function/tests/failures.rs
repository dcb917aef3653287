//! What a failed call leads to.

use super::*;
use crate::error::ErrorKind;

fn error(kind: CallErrorKind, message: &str) -> CallError {
    CallError::new(kind, message)
}

#[tokio::test]
async fn s0_12_a_failure_cancels_its_siblings_and_fails_the_batch() {
    let settings = CallSettings { chunk_size: 1, ..settings() };
    let fixture = Fixture::new(settings, |chunk, seen| async move {
        if chunk.context.rows.start == 3 {
            until(|| seen.in_flight() == 20).await;
            return Err(error(CallErrorKind::Rejected, "row 3 raises"));
        }
        futures::future::pending().await
    });
    let mut parts = fixture.answer(rows(&[100]));
    let failed = soon(parts.next()).await.unwrap().unwrap_err();
    assert_eq!(fixture.seen.in_flight(), 0, "the siblings are gone before the error is told");
    assert_eq!(failed.kind(), ErrorKind::Data);
    assert_eq!(failed.chain(), "could not call function \"risk\" for row 3 (attempts: 1): row 3 raises");
    assert!(soon(parts.next()).await.is_none());
    assert_eq!(fixture.function.in_flight(), 0);
}

#[tokio::test]
async fn a_batch_fails_as_unavailable_only_if_the_other_side_did_not_answer() {
    let kinds = [
        (CallErrorKind::Timeout, ErrorKind::Unavailable),
        (CallErrorKind::Unavailable, ErrorKind::Unavailable),
        (CallErrorKind::CircuitOpen, ErrorKind::Unavailable),
        (CallErrorKind::Rejected, ErrorKind::Data),
        (CallErrorKind::BadAnswer, ErrorKind::Data),
        (CallErrorKind::Config, ErrorKind::Config),
    ];
    for (kind, wanted) in kinds {
        let fixture = Fixture::new(settings(), move |_, _| async move { Err(error(kind, "no")) });
        let failed = fixture.values(&[150]).await.unwrap_err();
        assert_eq!(failed.kind(), wanted);
    }
}

#[tokio::test]
async fn s0_11_one_value_for_two_rows_fails_naming_both_counts() {
    let fixture = Fixture::new(settings(), |_, _| async { Ok(values([1])) });
    let failed = fixture.values(&[2]).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Data);
    let wanted = "could not call function \"risk\" for rows 1 to 2 (attempts: 1): it answered 1 value for 2 rows";
    assert_eq!(failed.chain(), wanted);
}

#[tokio::test]
async fn rows_of_a_failed_call_get_null_where_that_is_wanted() {
    for on_error in [OnError::ReturnNull, OnError::DropRow] {
        let settings = CallSettings { chunk_size: 2, on_error, ..settings() };
        let fixture = Fixture::new(settings, |chunk, _| async move {
            if chunk.context.index == 2 { Err(error(CallErrorKind::Rejected, "no")) } else { Ok(tenfold(&chunk)) }
        });
        let wanted = [Some(0), Some(10), None, None, Some(40)];
        assert_eq!(fixture.values(&[5]).await.unwrap(), wanted);
        let parts: Vec<_> = fixture.answer(rows(&[5])).map(|part| part.unwrap().failed).collect().await;
        let failed: Vec<_> = parts[1].iter().map(|(row, error)| (*row, error.message.as_str())).collect();
        assert_eq!(failed, [(0, "no"), (1, "no")]);
        assert!(parts[0].is_empty() && parts[2].is_empty());
    }
}

#[tokio::test]
async fn a_panic_fails_its_chunk_and_nothing_else() {
    let settings = CallSettings { chunk_size: 1, on_error: OnError::ReturnNull, ..settings() };
    let fixture = Fixture::new(settings, |chunk, _| async move {
        assert_ne!(chunk.context.index, 2, "on purpose");
        Ok(tenfold(&chunk))
    });
    assert_eq!(fixture.values(&[3]).await.unwrap(), [Some(0), None, Some(20)]);
    let parts: Vec<_> = fixture.answer(rows(&[3])).map(|part| part.unwrap().failed).collect().await;
    assert_eq!(parts[1][0].1.kind, CallErrorKind::Defect);
    assert!(parts[1][0].1.message.contains("on purpose"), "{}", parts[1][0].1.message);
    assert_eq!((fixture.function.in_flight(), fixture.seen.in_flight()), (0, 0));
}

#[tokio::test]
async fn s3_9_a_call_without_an_answer_ends_at_its_time_limit() {
    let settings = CallSettings {
        timeout: Duration::from_millis(20),
        chunk_size: 1,
        on_error: OnError::ReturnNull,
        retry: RetrySettings { attempts: 2, base_delay: Duration::from_millis(1), ..RetrySettings::default() },
        ..settings()
    };
    let fixture = Fixture::new(settings, |chunk, _| async move {
        if chunk.context.index == 1 { futures::future::pending().await } else { Ok(tenfold(&chunk)) }
    });
    let parts: Vec<_> = soon(fixture.answer(rows(&[2])).map(Result::unwrap).collect()).await;
    let failed = &parts[0].failed[0].1;
    assert_eq!((failed.kind, failed.attempts), (CallErrorKind::Timeout, 2));
    assert_eq!(failed.message, "attempts exhausted after 2: no answer within 20ms");
    assert!(parts[1].failed.is_empty());
    assert_eq!(fixture.seen.in_flight(), 0);
}

#[tokio::test]
async fn s3_5_a_flaky_call_is_made_again() {
    let retry = RetrySettings { attempts: 5, base_delay: Duration::from_millis(1), ..RetrySettings::default() };
    let fixture = Fixture::new(CallSettings { retry, ..settings() }, |chunk, seen| async move {
        if seen.finished() < 2 { Err(error(CallErrorKind::Unavailable, "status 503")) } else { Ok(tenfold(&chunk)) }
    });
    assert_eq!(fixture.values(&[1]).await.unwrap(), [Some(0)]);
    assert_eq!(fixture.seen.calls().len(), 3);
}

#[tokio::test]
async fn a_pause_between_attempts_holds_no_place() {
    let retry = RetrySettings { attempts: 2, ..RetrySettings::default() };
    let settings = CallSettings { retry, max_in_flight: 1, chunk_size: 1, ..settings() };
    let fixture = Fixture::new(settings, |chunk, seen| async move {
        if chunk.context.index == 1 && seen.finished() == 0 {
            let wait = Some(Duration::from_millis(300));
            return Err(CallError { retry_after: wait, ..error(CallErrorKind::Unavailable, "later") });
        }
        Ok(tenfold(&chunk))
    });
    assert_eq!(fixture.values(&[2]).await.unwrap(), [Some(0), Some(10)]);
    assert_eq!(fixture.seen.calls().iter().map(|call| call.index).collect::<Vec<_>>(), [1, 2, 1]);
}

#[tokio::test]
async fn a_kind_that_retries_itself_is_called_once() {
    #[derive(Debug)]
    struct Own(AtomicUsize);
    #[async_trait]
    impl AsyncFunction for Own {
        async fn call(&self, _: Chunk) -> Result<Reply, CallError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Err(CallError { attempts: 4, ..error(CallErrorKind::Unavailable, "no") })
        }
        fn retries_itself(&self) -> bool {
            true
        }
    }
    let kind = Arc::new(Own(AtomicUsize::new(0)));
    let args = Fields::from(vec![Field::new("n", DataType::Int64, true)]);
    let signature = Signature { name: "own".to_owned(), args, returns: Returns::Value(DataType::Int64) };
    let settings = CallSettings { on_error: OnError::ReturnNull, ..CallSettings::default() };
    let function = Arc::new(Function::new(signature, kind.clone(), settings, Arc::new(Budget::new(1))).unwrap());
    let mut parts = function.answer(batch("q", &Arc::new(Budget::new(1))), rows(&[1]));
    assert_eq!(soon(parts.next()).await.unwrap().unwrap().failed[0].1.attempts, 4);
    assert_eq!(kind.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stream_that_is_dropped_cancels_its_calls_and_frees_their_places() {
    let fixture = Fixture::new(CallSettings { chunk_size: 1, ..settings() }, |_, _| futures::future::pending());
    let mut parts = fixture.answer(rows(&[100]));
    assert!(futures::poll!(parts.next()).is_pending());
    until(|| fixture.seen.in_flight() == 20).await;
    drop(parts);
    until(|| fixture.seen.in_flight() == 0 && fixture.function.in_flight() == 0).await;
}

#[tokio::test]
async fn an_error_of_the_input_is_told_once_and_cancels_the_calls() {
    let fixture = Fixture::new(CallSettings { chunk_size: 1, ..settings() }, |_, _| futures::future::pending());
    let broken = rows(&[3]).chain(stream::iter([Err(crate::Error::new(ErrorKind::Data, "broken"))]));
    let mut parts = fixture.answer(broken.boxed());
    assert_eq!(soon(parts.next()).await.unwrap().unwrap_err().message(), "broken");
    assert!(soon(parts.next()).await.is_none());
    assert_eq!(fixture.seen.in_flight(), 0);
}

#[tokio::test]
async fn an_open_circuit_makes_no_call_and_says_so() {
    let breaker = policy::BreakerSettings { calls_min: 5, open_for: Duration::from_secs(600), ..Default::default() };
    let settings =
        CallSettings { chunk_size: 1, max_in_flight: 1, on_error: OnError::ReturnNull, breaker: Some(breaker), ..settings() };
    let fixture = Fixture::new(settings, |_, _| async { Err(error(CallErrorKind::Unavailable, "status 503")) });
    let parts: Vec<_> = soon(fixture.answer(rows(&[20])).map(Result::unwrap).collect()).await;
    let open: Vec<_> = parts.iter().filter(|part| part.failed[0].1.kind == CallErrorKind::CircuitOpen).collect();
    assert_eq!(fixture.seen.calls().len() + open.len(), 20);
    assert!(open.iter().all(|part| part.failed[0].1.attempts == 0));
    assert_eq!(fixture.function.breaker(), Some(policy::BreakerState::Open));
    // A batch that comes later finds it open.
    assert_eq!(soon(fixture.answer(rows(&[5])).count()).await, 5);
    assert!(fixture.seen.calls().len() < 20);
}

#[tokio::test]
async fn calls_are_counted_by_how_they_ended() {
    let retry = RetrySettings { attempts: 3, base_delay: Duration::from_millis(1), ..RetrySettings::default() };
    let settings = CallSettings { retry, chunk_size: 2, on_error: OnError::ReturnNull, ..settings() };
    let fixture = Fixture::new(settings, |chunk, _| async move {
        match chunk.context.index {
            1 => Err(error(CallErrorKind::Unavailable, "status 503")),
            2 => Err(error(CallErrorKind::Rejected, "status 404")),
            _ => Ok(tenfold(&chunk)),
        }
    });
    let metrics = Metrics::new().unwrap();
    let series = Arc::new(metrics.function("p", "q", "risk"));
    let context = || BatchContext { metrics: series.clone(), ..batch("q", &Arc::new(Budget::new(9))) };
    assert_eq!(soon(fixture.function.answer(context(), rows(&[9])).count()).await, 5);
    let hanging = Fixture::new(CallSettings { chunk_size: 1, ..self::settings() }, |_, _| futures::future::pending());
    let mut parts = hanging.function.answer(context(), rows(&[1]));
    assert!(futures::poll!(parts.next()).is_pending());
    until(|| series.in_flight.get() == 1).await;
    drop(parts);
    until(|| series.in_flight.get() == 0).await;
    let text = metrics.render().unwrap();
    let labels = r#"function="risk",pipeline="p",query="q""#;
    let ended = |outcome, calls| {
        format!(r#"tidemill_function_calls_total{{function="risk",outcome="{outcome}",pipeline="p",query="q"}} {calls}"#)
    };
    let wanted = [
        ended("ok", 3),
        ended("unavailable", 1),
        ended("rejected", 1),
        ended("cancelled", 1),
        format!("tidemill_function_attempts_total{{{labels}}} 8"),
        format!("tidemill_function_retries_total{{{labels}}} 2"),
        format!("tidemill_function_rows_failed_total{{{labels}}} 4"),
        format!("tidemill_function_attempt_duration_seconds_count{{{labels}}} 8"),
    ];
    for line in wanted {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_setting_out_of_its_range_is_refused_naming_the_function() {
    let signature = Signature { name: "risk".to_owned(), args: Fields::empty(), returns: Returns::Value(DataType::Int64) };
    let behaviour = |_, _| Box::pin(futures::future::pending()) as BoxFuture<'static, _>;
    let kind = Arc::new(Scripted { seen: Arc::default(), behaviour: Box::new(behaviour) });
    let settings = CallSettings { chunk_size: 0, ..CallSettings::default() };
    let refused = Function::new(signature, kind, settings, Arc::new(Budget::new(1))).unwrap_err();
    assert_eq!(refused.message(), "function \"risk\": chunk_size must be from 1 to 1000000");
}

/// Every third row fails, the others are answered.
fn thirds_fail(chunk: &Chunk) -> Reply {
    let numbers = numbers_of(&chunk.args);
    let fails = |n: &i64| n % 3 == 2;
    let failed = (0..numbers.len()).filter(|row| fails(&numbers[*row]));
    Reply {
        failed: failed.map(|row| (row, error(CallErrorKind::Rejected, &format!("not {}", numbers[row])))).collect(),
        answer: Answer::Values(Arc::new(Int64Array::from_iter(numbers.iter().map(|n| (!fails(n)).then_some(n * 10))))),
    }
}

#[tokio::test]
async fn a_row_may_fail_alone() {
    for cache in [None, Some(CacheSettings::default())] {
        let settings = CallSettings { chunk_size: 4, on_error: OnError::ReturnNull, cache, ..settings() };
        let fixture = Fixture::new(settings, |chunk, _| async move { Ok(thirds_fail(&chunk)) });
        let mut parts = fixture.answer(rows(&[6]));
        let (mut numbers, mut failures) = (Vec::new(), Vec::new());
        while let Some(part) = soon(parts.next()).await {
            let part = part.unwrap();
            let Answer::Values(values) = part.answer else { panic!("values were declared") };
            numbers.extend(values.as_primitive::<Int64Type>());
            failures.extend(part.failed.iter().map(|(row, e)| (part.start + row, e.message.clone(), e.attempts)));
        }
        assert_eq!(numbers, [Some(0), Some(10), None, Some(30), Some(40), None]);
        assert_eq!(failures, [(2, "not 2".to_owned(), 1), (5, "not 5".to_owned(), 1)]);
    }
}

#[tokio::test]
async fn only_rows_that_failed_are_asked_again() {
    let settings = CallSettings { on_error: OnError::ReturnNull, cache: Some(CacheSettings::default()), ..settings() };
    let fixture = Fixture::new(settings, |chunk, seen| async move {
        if seen.calls().len() == 1 { Ok(thirds_fail(&chunk)) } else { Ok(tenfold(&chunk)) }
    });
    assert_eq!(fixture.values(&[4]).await.unwrap(), [Some(0), Some(10), None, Some(30)]);
    assert_eq!(fixture.values(&[4]).await.unwrap(), [Some(0), Some(10), Some(20), Some(30)]);
    assert_eq!(fixture.seen.calls().iter().map(|call| call.rows.clone()).collect::<Vec<_>>(), [1..5, 3..4]);
}

#[tokio::test]
async fn a_row_that_fails_alone_fails_the_batch_where_that_is_wanted() {
    for (cache, which) in [(None, "row 6"), (Some(CacheSettings::default()), "rows 4 to 6")] {
        let settings = CallSettings { chunk_size: 3, cache, ..settings() };
        let fixture = Fixture::new(settings, |chunk, _| async move {
            if chunk.context.index == 1 { Ok(tenfold(&chunk)) } else { Ok(thirds_fail(&chunk)) }
        });
        let failed = fixture.values(&[6]).await.unwrap_err();
        assert_eq!(failed.chain(), format!("could not call function \"risk\" for {which} (attempts: 1): not 5"));
    }
}

#[tokio::test]
async fn a_function_that_is_set_up_wrong_fails_the_batch_whatever_is_declared() {
    for on_error in [OnError::ReturnNull, OnError::DropRow] {
        for cache in [None, Some(CacheSettings::default())] {
            let settings = CallSettings { on_error, cache, ..settings() };
            let fixture = Fixture::new(settings, |_, _| async { Err(error(CallErrorKind::Config, "no interpreter")) });
            let failed = fixture.values(&[1]).await.unwrap_err();
            assert_eq!((failed.kind(), fixture.seen.calls().len()), (ErrorKind::Config, 1));
        }
    }
}
