//! Calls by hand.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::*;

/// A call that completes when it is told to.
fn gated<T: Send + 'static>() -> (oneshot::Sender<T>, impl Future<Output = T> + Send + 'static) {
    let (send, receive) = oneshot::channel();
    (send, async move { receive.await.unwrap() })
}

fn results<T: Clone>(completed: Vec<Completed<T>>) -> Vec<T> {
    completed.into_iter().map(|completed| completed.result.unwrap()).collect()
}

/// The store of the walkthrough: names by key, and their friends.
#[derive(Default)]
struct Store(Mutex<BTreeMap<String, (String, BTreeSet<String>)>>);

impl Store {
    async fn put(self: Arc<Self>, key: &'static str, first: &'static str) -> bool {
        self.0.lock().unwrap().insert(key.to_owned(), (first.to_owned(), BTreeSet::new()));
        true
    }

    async fn get(self: Arc<Self>, key: String) -> Option<(String, BTreeSet<String>)> {
        self.0.lock().unwrap().get(&key).cloned()
    }

    async fn add(self: Arc<Self>, key: &'static str, friend: &'static str) -> bool {
        self.0.lock().unwrap().get_mut(key).unwrap().1.insert(friend.to_owned())
    }
}

#[tokio::test]
async fn s2_1_and_2_the_walkthrough_of_friends() {
    let store = Arc::<Store>::default();
    let writes = CallWindow::new(16);
    for (key, first) in [("jsmith1", "John"), ("jd", "John"), ("bjones1", "Brian"), ("jj", "John")] {
        assert_eq!(writes.issue(store.clone().put(key, first)).await.wait().await, Ok(true));
    }
    for (key, friend) in [("jsmith1", "jd"), ("jsmith1", "bjones1"), ("jsmith1", "jj"), ("jd", "jsmith1")] {
        writes.issue(store.clone().add(key, friend)).await;
    }
    assert_eq!(results(writes.drain().await), [true; 4]);
    let reads = CallWindow::new(16);
    let (_, friends) = reads.issue(store.clone().get("jsmith1".to_owned())).await.wait().await.unwrap().unwrap();
    for friend in friends {
        reads.issue(store.clone().get(friend)).await;
    }
    let mut firsts = Vec::new();
    while let Ok(completed) = reads.next_completed().await {
        firsts.push(completed.result.unwrap().unwrap().0);
    }
    firsts.sort();
    assert_eq!(firsts, ["Brian", "John", "John"]);
    assert_eq!(reads.issue(store.get("nobody".to_owned())).await.wait().await, Ok(None), "a miss is none");
}

#[tokio::test]
async fn s2_3_with_nothing_outstanding_there_is_none_pending_at_once() {
    let window = CallWindow::<u8>::new(4);
    assert_eq!(window.next_completed().now_or_never(), Some(Err(NotCompleted::NonePending)));
    window.issue(async { 1 }).await.wait().await.unwrap();
    assert_eq!(window.next_completed().now_or_never(), Some(Err(NotCompleted::NonePending)));
    assert!(window.drain().await.is_empty());
}

#[tokio::test]
async fn s2_4_waiting_for_the_last_leaves_the_other_two_each_once() {
    let window = CallWindow::new(4);
    let mut last = None;
    for n in 1..=3 {
        last = Some(window.issue(async move { n }).await);
    }
    assert_eq!(last.unwrap().wait().await, Ok(3));
    assert_eq!([window.next_completed().await, window.next_completed().await].map(|next| next.unwrap().result), [Ok(1), Ok(2)]);
    assert_eq!(window.next_completed().await, Err(NotCompleted::NonePending));
}

#[tokio::test]
async fn a_call_can_be_waited_for_again_and_by_several_and_after_it_was_drained() {
    let window = CallWindow::new(4);
    let (send, call) = gated();
    let deferred = window.issue(call).await;
    let again = deferred.clone();
    send.send(7).unwrap();
    assert_eq!(soon(async { tokio::join!(deferred.wait(), again.wait()) }).await, (Ok(7), Ok(7)));
    assert_eq!(deferred.wait().await, Ok(7));
    let drained = window.issue(async { 8 }).await;
    assert_eq!(results(window.drain().await), [8]);
    assert_eq!(drained.wait().await, Ok(8));
    assert_eq!(window.next_completed().await, Err(NotCompleted::NonePending));
}

#[tokio::test]
async fn who_gives_up_waiting_loses_no_completion() {
    let window = CallWindow::new(4);
    let (send, call) = gated();
    let deferred = window.issue(call).await;
    let mut wait = Box::pin(deferred.wait());
    assert!(futures::poll!(&mut wait).is_pending());
    assert_eq!(window.next_completed().now_or_never(), Some(Err(NotCompleted::NonePending)), "somebody waits for it");
    send.send(5).unwrap();
    until(|| window.outstanding() == 0).await;
    assert_eq!(window.next_completed().now_or_never(), Some(Err(NotCompleted::NonePending)), "still");
    drop(wait);
    assert_eq!(soon(window.next_completed()).await.unwrap().result, Ok(5));
}

#[tokio::test]
async fn who_asks_for_the_next_hears_when_others_take_the_last() {
    let window = CallWindow::new(4);
    let (send, call) = gated();
    let deferred = window.issue(call).await;
    let mut next = Box::pin(window.next_completed());
    assert!(futures::poll!(&mut next).is_pending());
    let mut wait = Box::pin(deferred.wait());
    assert!(futures::poll!(&mut wait).is_pending());
    assert_eq!(soon(next).await, Err(NotCompleted::NonePending));
    send.send(1).unwrap();
    assert_eq!(soon(wait).await, Ok(1));
}

#[tokio::test]
async fn a_time_limit_loses_nothing() {
    let window = CallWindow::new(4);
    let (send, call) = gated();
    window.issue(call).await;
    assert_eq!(window.next_completed_within(Duration::from_millis(1)).await, Err(NotCompleted::TimedOut));
    send.send(1).unwrap();
    assert_eq!(window.next_completed_within(Duration::from_secs(30)).await.unwrap().result, Ok(1));
    assert_eq!(window.next_completed_within(Duration::ZERO).await, Err(NotCompleted::NonePending));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_5_a_hundred_thousand_calls_never_have_more_outstanding_than_the_window() {
    let (seen, gate) = (Arc::<Seen>::default(), Arc::new(tokio::sync::Semaphore::new(0)));
    let stored = Arc::new(Mutex::new(vec![false; 100_000]));
    let put = |n: usize| {
        let (seen, stored, gate) = (seen.clone(), stored.clone(), gate.clone());
        async move {
            let now = seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            seen.in_flight_max.fetch_max(now, Ordering::SeqCst);
            let _in_flight = InFlight(seen.clone());
            let _open = gate.acquire().await.unwrap();
            stored.lock().unwrap()[n] = true;
        }
    };
    let window = CallWindow::new(1024);
    for n in 0..1024 {
        window.issue(put(n)).await;
    }
    until(|| seen.in_flight() == 1024).await;
    assert!(window.issue(put(1024)).now_or_never().is_none(), "the window is full");
    gate.add_permits(100);
    for n in 1024..100_000 {
        window.issue(put(n)).await;
    }
    assert_eq!(soon(window.drain()).await.len(), 100_000);
    assert_eq!(seen.in_flight_max.load(Ordering::SeqCst), 1024);
    assert!(stored.lock().unwrap().iter().all(|stored| *stored));
}

#[tokio::test]
async fn a_full_window_makes_issue_wait_and_giving_up_begins_nothing() {
    let window = CallWindow::new(1);
    let (send, call) = gated();
    window.issue(call).await;
    let mut second = Box::pin(window.issue(async { 2 }));
    assert!(futures::poll!(&mut second).is_pending());
    drop(second);
    send.send(1).unwrap();
    assert_eq!(results(soon(window.drain()).await), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_7_what_is_issued_after_waiting_takes_effect_after() {
    let x = Arc::new(AtomicUsize::new(0));
    let window = CallWindow::new(8);
    for round in 0..500 {
        let put = |value| {
            let x = x.clone();
            async move { x.store(value, Ordering::SeqCst) }
        };
        window.issue(put(2 * round)).await.wait().await.unwrap();
        window.issue(put(2 * round + 1)).await.wait().await.unwrap();
        assert_eq!(x.load(Ordering::SeqCst), 2 * round + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_waiting_and_draining_are_mixed_each_call_is_told_once() {
    let window = Arc::new(CallWindow::new(32));
    let next_told = Arc::new(Mutex::new(Vec::new()));
    let drainers: Vec<_> = (0..2)
        .map(|_| {
            let (window, told) = (window.clone(), next_told.clone());
            tokio::spawn(async move {
                while told.lock().unwrap().len() < 2000 {
                    match window.next_completed_within(Duration::from_millis(1)).await {
                        Ok(completed) => told.lock().unwrap().push(completed.result.unwrap()),
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
            })
        })
        .collect();
    let mut waited = Vec::new();
    for n in 0..3000 {
        // Every third is claimed before it can complete: it waits for its gate.
        if n % 3 == 0 {
            let (send, call) = gated();
            let deferred = window.issue(call).await;
            let mut wait = Box::pin(deferred.wait());
            assert!(futures::poll!(&mut wait).is_pending());
            send.send(n).unwrap();
            waited.push(soon(wait).await.unwrap());
        } else {
            window.issue(async move { n }).await;
        }
    }
    for drainer in drainers {
        soon(drainer).await.unwrap();
    }
    let mut all = next_told.lock().unwrap().clone();
    assert_eq!((all.len(), waited.len()), (2000, 1000));
    all.extend(waited);
    all.sort();
    assert_eq!(all, (0..3000).collect::<Vec<_>>());
    assert_eq!(window.next_completed().await, Err(NotCompleted::NonePending));
}

#[tokio::test]
async fn a_panic_is_the_result_of_its_call_alone() {
    let window = CallWindow::new(4);
    let broken = window.issue(async { panic!("on purpose") }).await;
    let fine = window.issue(async { 1 }).await;
    assert_eq!(soon(broken.wait()).await, Err(CallLost::Panicked("on purpose".to_owned())));
    assert_eq!(soon(fine.wait()).await, Ok(1));
    assert_eq!(window.outstanding(), 0);
}

#[tokio::test]
async fn dropping_the_window_cancels_what_is_outstanding() {
    let window = CallWindow::<()>::new(4);
    let seen = Arc::<Seen>::default();
    seen.in_flight.fetch_add(1, Ordering::SeqCst);
    let in_flight = InFlight(seen.clone());
    let deferred = window
        .issue(async move {
            let _in_flight = in_flight;
            futures::future::pending().await
        })
        .await;
    drop(window);
    assert_eq!(soon(deferred.wait()).await, Err(CallLost::Cancelled));
    assert_eq!(seen.in_flight(), 0);
}
