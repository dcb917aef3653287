//! Wrong tokens by address: whoever shows many is not looked at for a while.
//!
//! An address that has lately shown a right one stays welcome: behind it may be many, and one of them that is wrong must not shut the
//! others out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tokens that an address may show within [`WINDOW`].
pub(super) const FAILURES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// How long an address stays welcome after a right token.
const WELCOME: Duration = Duration::from_secs(600);
/// Addresses that are remembered; beyond that, new ones are counted as one.
const ADDRESSES_MAX: usize = 4096;

/// What has been shown from where.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, Seen>>);

#[derive(Debug)]
struct Seen {
    /// When the first of `count` wrong tokens came.
    since: Instant,
    count: u32,
    welcome_until: Option<Instant>,
}

/// What to do with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Judge it.
    Judge,
    /// Judge it; it was wrong, and no further one from there is judged.
    JudgeLast,
    /// Do not look at it for so long.
    Later(Duration),
}

impl Failures {
    /// A token was shown from `address`.
    pub(super) fn shown(&self, address: IpAddr, is_right: bool, now: Instant) -> Verdict {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = place(&mut all, network_of(address), now);
        if now.duration_since(seen.since) >= WINDOW {
            (seen.since, seen.count) = (now, 0);
        }
        let is_shut_out = seen.count >= FAILURES_MAX;
        let is_welcome = seen.welcome_until.is_some_and(|until| until > now);
        if is_shut_out && !(is_right && is_welcome) {
            return Verdict::Later(WINDOW - now.duration_since(seen.since));
        }
        if is_right {
            seen.welcome_until = Some(now + WELCOME);
            return Verdict::Judge;
        }
        seen.count += 1;
        if seen.count == FAILURES_MAX { Verdict::JudgeLast } else { Verdict::Judge }
    }
}

/// What is known of `address`, in a bounded space.
fn place(all: &mut HashMap<IpAddr, Seen>, address: IpAddr, now: Instant) -> &mut Seen {
    let mut address = address;
    if all.len() >= ADDRESSES_MAX && !all.contains_key(&address) {
        let is_failing = |seen: &Seen| seen.count > 0 && now.duration_since(seen.since) < WINDOW;
        all.retain(|_, seen| is_failing(seen) || seen.welcome_until.is_some_and(|until| until > now));
        if all.len() >= ADDRESSES_MAX {
            all.retain(|_, seen| is_failing(seen));
        }
        if all.len() >= ADDRESSES_MAX {
            address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        }
    }
    all.entry(address).or_insert(Seen { since: now, count: 0, welcome_until: None })
}

/// One host has all of an IPv6 network of 64 bits.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn after_ten_wrong_tokens_an_address_waits_for_the_rest_of_the_minute() {
        let (failures, start) = (Failures::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let stranger = address("10.0.0.1");
        for second in 0..9 {
            assert_eq!(failures.shown(stranger, false, at(second)), Verdict::Judge);
        }
        assert_eq!(failures.shown(stranger, false, at(9)), Verdict::JudgeLast);
        // Also the right one: or trying would go on.
        for is_right in [false, true] {
            assert_eq!(failures.shown(stranger, is_right, at(10)), Verdict::Later(Duration::from_secs(50)));
        }
        assert_eq!(failures.shown(address("10.0.0.2"), false, at(10)), Verdict::Judge);
        assert_eq!(failures.shown(stranger, true, at(60)), Verdict::Judge);
    }

    #[test]
    fn an_address_that_has_shown_the_right_one_stays_welcome() {
        let (failures, now) = (Failures::default(), Instant::now());
        let shared = address("192.168.1.1");
        assert_eq!(failures.shown(shared, true, now), Verdict::Judge);
        for _ in 0..10 {
            failures.shown(shared, false, now);
        }
        assert!(matches!(failures.shown(shared, false, now), Verdict::Later(_)));
        assert_eq!(failures.shown(shared, true, now), Verdict::Judge);
        assert!(matches!(failures.shown(shared, false, now), Verdict::Later(_)));
    }

    #[test]
    fn neighbours_of_ipv6_are_one_and_many_addresses_take_bounded_space() {
        let (failures, now) = (Failures::default(), Instant::now());
        for host in 0..10 {
            failures.shown(address(&format!("2001:db8::{host}")), false, now);
        }
        assert!(matches!(failures.shown(address("2001:db8::ffff"), false, now), Verdict::Later(_)));
        assert_eq!(failures.shown(address("2001:db8:0:1::1"), false, now), Verdict::Judge);
        for number in 0..20_000_u32 {
            let is_right = number % 2 == 0;
            failures.shown(IpAddr::V4(Ipv4Addr::from_bits(0x0B00_0000 + number)), is_right, now);
        }
        assert!(failures.0.lock().unwrap().len() <= ADDRESSES_MAX + 1);
        // Those that came too late to be told apart are shut out together; a minute later all is forgotten.
        assert!(matches!(failures.shown(address("172.16.0.1"), false, now), Verdict::Later(_)));
        assert_eq!(failures.shown(address("172.16.0.1"), false, now + WINDOW), Verdict::Judge);
    }
}
