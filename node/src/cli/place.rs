//! Where things lie and where peers are: the home folder, addresses as people write them.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where the key and the runs lie: `$SHOAL_HOME`, `$XDG_DATA_HOME/shoal`, or `~/.local/share/shoal`.
pub fn default_home() -> PathBuf {
    let folder =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("SHOAL_HOME")
        .or_else(|| folder("XDG_DATA_HOME").map(|data| data.join("shoal")))
        .or_else(|| folder("HOME").map(|home| home.join(".local/share/shoal")))
        .unwrap_or_else(|| ".shoal".into())
}

/// One address as a person writes it: a multiaddr, or `host:port`, which is both TCP and QUIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(pub Vec<Multiaddr>);

/// Reads an address to dial.
pub fn dial(text: &str) -> Result<Address, String> {
    if text.starts_with('/') {
        return text
            .parse()
            .map(|address| Address(vec![address]))
            .map_err(|error| format!("no multiaddr: {error}"));
    }
    let (host, port) = host_and_port(text)?;
    Ok(both(host, port))
}

/// Reads an address to listen on.
pub fn listen(text: &str) -> Result<Address, String> {
    let address = dial(text)?;
    let is_named = |address: &Multiaddr| {
        !matches!(address.iter().next(), Some(Protocol::Ip4(_) | Protocol::Ip6(_)))
    };
    if address.0.iter().any(is_named) {
        return Err(
            "a node listens on an IP address of its machine, like 0.0.0.0:4001 or [::]:4001".into(),
        );
    }
    Ok(address)
}

fn host_and_port(text: &str) -> Result<(Protocol<'_>, u16), String> {
    let right = "write host:port, like 192.0.2.7:4001, [2001:db8::7]:4001 or example.org:4001, or a multiaddr";
    let (host, port) = text.rsplit_once(':').ok_or(right)?;
    let port = port.parse().map_err(|_| format!("`{port}` is no port: {right}"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare.unwrap_or(host).parse() {
        Ok(IpAddr::V4(ip)) => Protocol::Ip4(ip),
        Ok(IpAddr::V6(ip)) if bare.is_some() => Protocol::Ip6(ip),
        Ok(IpAddr::V6(_)) => return Err(format!("an IPv6 address stands in brackets: {right}")),
        Err(_) if is_name(host) => Protocol::Dns(host.into()),
        Err(_) => return Err(format!("`{host}` is no host: {right}")),
    };
    Ok((host, port))
}

fn is_name(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !host.is_empty() && host.chars().all(plain)
}

fn both(host: Protocol<'_>, port: u16) -> Address {
    let base = Multiaddr::empty().with(host.acquire());
    let tcp = base.clone().with(Protocol::Tcp(port));
    Address(vec![tcp, base.with(Protocol::Udp(port)).with(Protocol::QuicV1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = fn(&str) -> Result<Address, String>;

    fn told(read: Read, text: &str) -> Result<String, String> {
        read(text)
            .map(|address| address.0.iter().map(Multiaddr::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let rows = [
            ("127.0.0.1:40", "/ip4/127.0.0.1/tcp/40 /ip4/127.0.0.1/udp/40/quic-v1"),
            ("[::1]:40", "/ip6/::1/tcp/40 /ip6/::1/udp/40/quic-v1"),
            ("a.example:40", "/dns/a.example/tcp/40 /dns/a.example/udp/40/quic-v1"),
            ("/ip4/10.0.0.1/tcp/4001", "/ip4/10.0.0.1/tcp/4001"),
        ];
        for (text, expected) in rows {
            assert_eq!(told(dial, text), Ok(expected.into()));
        }
        assert_eq!(
            told(listen, "0.0.0.0:0"),
            Ok("/ip4/0.0.0.0/tcp/0 /ip4/0.0.0.0/udp/0/quic-v1".into())
        );
    }

    #[test]
    fn what_is_no_address_is_told() {
        let rows: [(Read, &str, &str); 7] = [
            (dial, "here", "write host:port"),
            (dial, "here:x", "`x` is no port"),
            (dial, "::1:40", "brackets"),
            (dial, "a b:40", "`a b` is no host"),
            (dial, ":40", "`` is no host"),
            (dial, "/ip4/here", "no multiaddr"),
            (listen, "a.example:40", "IP address"),
        ];
        for (read, text, expected) in rows {
            let error = told(read, text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
