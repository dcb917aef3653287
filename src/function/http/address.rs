//! Which addresses may be called: public ones, and those that `allow_addresses` names.
//!
//! Names are resolved here, and what is returned is what is connected to, so that a name cannot be judged by one address and
//! reached at another.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Networks that are not the public internet: own, private, shared, link-local, reserved, for documentation, multicast.
const SPECIAL_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The part of IPv6 that is given out to the public; in it those that lead into IPv4 or nowhere.
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const SPECIAL_V6: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Which addresses may be called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AddressRules {
    /// Networks beside the public internet.
    pub allow: Vec<IpNet>,
}

impl AddressRules {
    /// Whether `ip` may be called. An IPv4 address that is written as IPv6 is none of the public internet; it may be if it, or what
    /// it stands for, is allowed.
    pub fn admit(&self, ip: IpAddr) -> bool {
        is_public(ip) || self.allow.iter().any(|net| net.contains(&ip) || net.contains(&ip.to_canonical()))
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !SPECIAL_V4.iter().any(|(net, bits)| (net.to_bits() ^ ip.to_bits()).leading_zeros() >= u32::from(*bits))
        }
        IpAddr::V6(ip) => {
            let within = |(net, bits): &(Ipv6Addr, u8)| (net.to_bits() ^ ip.to_bits()).leading_zeros() >= u32::from(*bits);
            within(&PUBLIC_V6) && !SPECIAL_V6.iter().any(within)
        }
    }
}

/// Why a host may not be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::function) struct Refused {
    host: String,
    address: IpAddr,
}

impl Refused {
    pub(in crate::function) fn literal(address: IpAddr) -> Self {
        Self { host: address.to_string(), address }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address } = self;
        if *host != address.to_string() {
            write!(f, "{host} is at {address}, and ")?;
        }
        write!(f, "{address} is not a public address: allow_addresses must name it or its network")
    }
}

impl std::error::Error for Refused {}

/// Resolves names, and keeps what may not be called to itself.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Arc<AddressRules>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(admitted(&rules, name.as_str(), found)?.into_iter()) as Addrs)
        })
    }
}

/// Those of `found` that may be called.
fn admitted(rules: &AddressRules, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
    let refused = found.iter().find(|address| !rules.admit(address.ip())).map(SocketAddr::ip);
    let admitted: Vec<SocketAddr> = found.into_iter().filter(|address| rules.admit(address.ip())).collect();
    match refused {
        Some(address) if admitted.is_empty() => Err(Refused { host: host.to_owned(), address }),
        _ => Ok(admitted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(allow: &[&str], ip: &str) -> bool {
        let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
        AddressRules { allow }.admit(ip.parse().unwrap())
    }

    #[test]
    fn only_public_addresses_are_called() {
        for ip in ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.169.0.1", "2606:4700::1111", "2a00:1450::1"] {
            assert!(admits(&[], ip), "{ip}");
        }
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "240.0.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "203.0.113.9",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "100::1",
        ] {
            assert!(!admits(&[], ip), "{ip}");
        }
    }

    #[test]
    fn what_is_allowed_is_called_too() {
        assert!(admits(&["127.0.0.0/8"], "127.0.0.1"));
        assert!(!admits(&["127.0.0.0/8"], "10.0.0.1"));
        assert!(admits(&["10.0.0.0/8", "::1/128"], "::1"));
        assert!(admits(&["127.0.0.0/8"], "::ffff:127.0.0.1"));
        assert!(admits(&["::ffff:0:0/96"], "::ffff:127.0.0.1"));
        assert!(!admits(&["10.0.0.0/8"], "::ffff:127.0.0.1"));
    }

    #[test]
    fn a_name_is_called_at_its_admitted_addresses_only() {
        let rules = AddressRules::default();
        let found = |ips: &[&str]| ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect::<Vec<_>>();
        let admit = |ips: &[&str]| admitted(&rules, "evil.example", found(ips));
        assert_eq!(admit(&["169.254.169.254", "1.1.1.1"]), Ok(found(&["1.1.1.1"])));
        assert_eq!(
            admit(&["10.0.0.7"]).unwrap_err().to_string(),
            "evil.example is at 10.0.0.7, and 10.0.0.7 is not a public address: allow_addresses must name it or its network"
        );
        assert_eq!(admit(&[]), Ok(Vec::new()));
    }
}
