//! Who may be connected to a listener at once.
//!
//! Every listener of the process, whatever it speaks, admits its clients here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tracing::warn;

use super::ListenerStats;

/// Clients at a time from one address that is not loopback.
pub const CLIENTS_PER_ADDRESS_MAX: usize = 64;

/// The clients of one listener.
#[derive(Debug)]
pub(crate) struct Clients {
    /// What the listener is called, for messages.
    listener: String,
    connections_max: usize,
    /// Where they may come from; empty is anywhere.
    allow_from: Vec<IpNet>,
    stats: Arc<ListenerStats>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a client is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// Its address is in no network that may connect.
    NotAllowed,
    /// There are as many as may be.
    TooMany,
    /// There are as many from its address as may be.
    TooManyOfAddress,
}

impl TurnedAway {
    fn reason(self) -> &'static str {
        match self {
            Self::NotAllowed => "its address is not allowed",
            Self::TooMany => "there are too many",
            Self::TooManyOfAddress => "there are too many from its address",
        }
    }
}

impl Clients {
    /// Nobody is connected yet.
    pub(crate) fn new(listener: &str, connections_max: usize, allow_from: Vec<IpNet>, stats: Arc<ListenerStats>) -> Arc<Self> {
        Arc::new(Self { listener: listener.to_owned(), connections_max, allow_from, stats, open: Mutex::default() })
    }

    /// A place for a client from `address`, if it may have one.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Client, TurnedAway> {
        let address = address.to_canonical();
        let admitted = self.take_place(address);
        match admitted {
            Ok(()) => {
                self.stats.open.fetch_add(1, Ordering::Relaxed);
                Ok(Client { of: self.clone(), address })
            }
            Err(why) => {
                if self.stats.turned_away.fetch_add(1, Ordering::Relaxed) == 0 {
                    // Once: whoever can connect must not be able to fill the log.
                    let (listener, reason) = (&self.listener, why.reason());
                    warn!(listener, %address, reason, "client turned away; further ones are only counted");
                }
                Err(why)
            }
        }
    }

    fn take_place(&self, address: IpAddr) -> Result<(), TurnedAway> {
        if !self.allow_from.is_empty() && !self.allow_from.iter().any(|network| network.contains(&address)) {
            return Err(TurnedAway::NotAllowed);
        }
        let mut open = self.open();
        if open.count >= self.connections_max {
            return Err(TurnedAway::TooMany);
        }
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        if !address.is_loopback() && of_address >= CLIENTS_PER_ADDRESS_MAX {
            return Err(TurnedAway::TooManyOfAddress);
        }
        open.by_address.insert(address, of_address + 1);
        open.count += 1;
        Ok(())
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Client {
    of: Arc<Clients>,
    address: IpAddr,
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut open = self.of.open();
        open.count -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
        self.of.stats.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(connections_max: usize, allow_from: &[&str]) -> Arc<Clients> {
        let allow_from = allow_from.iter().map(|network| network.parse().unwrap()).collect();
        Clients::new("test", connections_max, allow_from, Arc::default())
    }

    #[test]
    fn a_listener_has_so_many_places_and_each_is_given_back() {
        let clients = clients(3, &[]);
        let admit = |address: &str| clients.admit(address.parse().unwrap());
        let admitted: Vec<_> = ["127.0.0.1", "10.0.0.1", "::1"].map(|address| admit(address).unwrap()).into();
        assert_eq!(admit("10.0.0.2").unwrap_err(), TurnedAway::TooMany);
        assert_eq!(admit("10.0.0.2").unwrap_err(), TurnedAway::TooMany);
        let count = ListenerStats::get;
        assert_eq!((count(&clients.stats.open), count(&clients.stats.turned_away)), (3, 2));
        drop(admitted);
        assert_eq!((count(&clients.stats.open), clients.open().by_address.len()), (0, 0));
        admit("10.0.0.2").unwrap();
    }

    #[test]
    fn one_address_takes_64_places_unless_it_is_this_machine() {
        let clients = clients(1000, &[]);
        let admit = |address: &str| clients.admit(address.parse().unwrap());
        let mut admitted: Vec<_> = (0..64).map(|_| admit("10.0.0.1").unwrap()).collect();
        assert_eq!(admit("10.0.0.1").unwrap_err(), TurnedAway::TooManyOfAddress);
        // The same address, written as IPv6.
        assert_eq!(admit("::ffff:10.0.0.1").unwrap_err(), TurnedAway::TooManyOfAddress);
        admit("10.0.0.2").unwrap();
        admitted.pop();
        let again = admit("::ffff:10.0.0.1").unwrap();
        assert_eq!(admit("10.0.0.1").unwrap_err(), TurnedAway::TooManyOfAddress);
        drop(again);
        let local: Vec<_> = (0..200).map(|n| admit(if n % 2 == 0 { "127.0.0.1" } else { "::ffff:127.0.0.1" }).unwrap()).collect();
        assert_eq!(local.len(), 200);
    }

    #[test]
    fn only_allowed_networks_come_in() {
        let clients = clients(10, &["10.0.0.0/8", "::1/128"]);
        for (address, allowed) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("::1", true), ("127.0.0.1", false), ("11.0.0.1", false)]
        {
            let admitted = clients.admit(address.parse().unwrap());
            assert_eq!(admitted.err(), (!allowed).then_some(TurnedAway::NotAllowed), "{address}");
        }
    }
}
