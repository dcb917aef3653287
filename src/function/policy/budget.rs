//! How many calls may be in flight at a time: of a function, of a query, of the process.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of places for calls, shared by whoever holds it; given out in the order in which they are asked for.
#[derive(Debug)]
pub struct Budget {
    places: Arc<Semaphore>,
    in_flight_max: usize,
}

/// A place, given back when dropped.
#[derive(Debug)]
#[must_use]
pub struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budget {
    /// Room for `in_flight_max` calls, at least one.
    pub fn new(in_flight_max: usize) -> Self {
        let in_flight_max = in_flight_max.clamp(1, Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(in_flight_max)), in_flight_max }
    }

    /// How many calls there is room for.
    pub fn in_flight_max(&self) -> usize {
        self.in_flight_max
    }

    /// How many places are taken just now.
    pub fn in_flight(&self) -> usize {
        self.in_flight_max - self.places.available_permits().min(self.in_flight_max)
    }

    /// Waits for a place. Whoever needs places of several budgets asks the function's first and the process's last, so that no two
    /// wait for each other.
    pub async fn permit(&self) -> Permit {
        Permit(self.places.clone().acquire_owned().await.expect("the semaphore is never closed"))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_place_is_waited_for_and_given_back() {
        let budget = Budget::new(2);
        let (first, second) = (budget.permit().now_or_never().unwrap(), budget.permit().now_or_never().unwrap());
        assert_eq!(budget.in_flight(), 2);
        assert!(budget.permit().now_or_never().is_none());
        drop(first);
        let third = budget.permit().now_or_never();
        assert!(third.is_some());
        drop((second, third));
        assert_eq!(budget.in_flight(), 0);
    }

    #[test]
    fn a_budget_of_none_is_one() {
        assert_eq!(Budget::new(0).in_flight_max(), 1);
    }
}
