//! Which addresses are worth telling, dialling and in which order.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::net::IpAddr;

/// The address's IP, if it begins with one.
pub(super) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

/// Whether it leads to this very host.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    ip(address).is_some_and(|ip| ip.is_loopback())
}

/// Whether anyone could dial it: not a wildcard, not bound to one link, not port 0.
pub(super) fn is_dialable(address: &Multiaddr) -> bool {
    let host = match ip(address) {
        Some(IpAddr::V4(ip)) => {
            !ip.is_unspecified() && !ip.is_multicast() && !ip.is_link_local() && !ip.is_broadcast()
        }
        Some(IpAddr::V6(ip)) => {
            !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local()
        }
        None => matches!(
            address.iter().next(),
            Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_))
        ),
    };
    let has_port = address.iter().all(|part| !matches!(part, Protocol::Tcp(0) | Protocol::Udp(0)));
    host && has_port
}

/// Whether it is a TCP address (else it is QUIC's).
pub(super) fn is_tcp(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Tcp(_)))
}

/// Splits off the peer that an address names at its end.
pub(super) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => {
            address.pop();
            (address, Some(peer))
        }
        _ => (address, None),
    }
}

/// The address with the peer named at its end.
pub(super) fn with_peer(address: &Multiaddr, peer: PeerId) -> Multiaddr {
    split_peer(address.clone()).0.with(Protocol::P2p(peer))
}

/// What a ticket tells of these addresses: all that lead here from outside; loopback if there is nothing else.
pub(super) fn for_ticket(addresses: &[Multiaddr]) -> Vec<Multiaddr> {
    let dialable = || addresses.iter().filter(|address| is_dialable(address));
    let mut told: Vec<_> = dialable().filter(|address| !is_loopback(address)).cloned().collect();
    if told.is_empty() {
        told = dialable().cloned().collect();
    }
    // Public ones first, IPv4 before IPv6: a joiner tries them in this order.
    told.sort_by_key(|address| (!is_global(address), ip(address).is_some_and(|ip| ip.is_ipv6())));
    told
}

fn is_global(address: &Multiaddr) -> bool {
    match ip(address) {
        Some(IpAddr::V4(ip)) => !ip.is_private() && !ip.is_loopback() && !ip.is_link_local(),
        Some(IpAddr::V6(ip)) => !ip.is_loopback() && !ip.is_unique_local(),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_what_can_be_dialled_is_told() {
        let cases = [
            ("/ip4/0.0.0.0/tcp/4001", false),
            ("/ip4/10.0.0.3/tcp/0", false),
            ("/ip6/fe80::1/tcp/4001", false),
            ("/ip4/224.0.0.1/udp/4001/quic-v1", false),
            ("/unix/tmp", false),
            ("/ip4/10.0.0.3/tcp/4001", true),
            ("/ip6/::1/tcp/4001", true),
            ("/dns/example.org/tcp/4001", true),
        ];
        for (text, expected) in cases {
            assert_eq!(is_dialable(&text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn a_ticket_tells_loopback_only_for_want_of_better() {
        let mixed =
            addresses(&["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.3/tcp/1", "/ip4/8.8.8.8/tcp/1"]);
        let told = addresses(&["/ip4/8.8.8.8/tcp/1", "/ip4/10.0.0.3/tcp/1"]);
        assert_eq!(for_ticket(&mixed), told);
        let alone = addresses(&["/ip4/127.0.0.1/tcp/1"]);
        assert_eq!(for_ticket(&alone), alone);
    }

    #[test]
    fn a_peer_comes_off_and_goes_on() {
        let peer = PeerId::random();
        let bare: Multiaddr = "/ip4/10.0.0.3/tcp/4001".parse().unwrap();
        let named = with_peer(&bare, peer);
        assert_eq!(split_peer(named.clone()), (bare.clone(), Some(peer)));
        assert_eq!(with_peer(&named, peer), named);
        assert_eq!(split_peer(bare.clone()), (bare, None));
    }
}
