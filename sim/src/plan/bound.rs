//! The shortest time that any butterfly all-reduce could take over these links: what the simulator's prediction is held against.
//!
//! With `n` members of which all contribute, a host that owns the share `s` of the model sends `(1 - s) U + (n - 1) s D` bytes and
//! receives `(1 - s) D + (n - 1) s U`, where `U` and `D` are the bytes of the whole model on its way to the owners and back. The
//! bound is the least time in which every host gets its bytes through and the shares add up to one: the linear program of
//! hivemind's `load_balance_peers`, here by bisection. Latency, control frames and the order of chunks are not in it.

use super::derive::Host;

/// Halvings of the interval: it is then narrower than a double tells.
const HALVINGS: usize = 200;

/// Bytes of the whole model from members to owners, and back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Volume {
    /// To the owners.
    pub up: f64,
    /// From the owners.
    pub down: f64,
}

/// What bounds an exchange from below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrow {
    /// Nobody exchanges anything.
    Nothing,
    /// One host's uplink, even if it owns nothing.
    Uplink(usize),
    /// One host's downlink, even if it owns nothing.
    Downlink(usize),
    /// The uplinks of all that own.
    Uplinks,
    /// The downlinks of all that own.
    Downlinks,
}

/// One direction of a link: `base + slope * share` bytes.
#[derive(Clone, Copy)]
struct Load {
    base: f64,
    slope: f64,
    rate: f64,
}

impl Load {
    /// The largest share that gets through in a time; none if not even the least load does.
    fn share(&self, seconds: f64) -> Option<f64> {
        let room = seconds * self.rate - self.base;
        if self.slope <= 0.0 {
            return (room >= self.slope).then_some(1.0);
        }
        (room >= 0.0).then(|| (room / self.slope).min(1.0))
    }

    /// Time of the least load.
    fn least_s(&self) -> f64 {
        (self.base + self.slope.min(0.0)) / self.rate
    }
}

/// Uplink and downlink of one host among `n`.
fn loads(host: &Host, n: usize, volume: &Volume) -> [Load; 2] {
    let others = n as f64 - 1.0;
    let up = Load {
        base: volume.up,
        slope: others * volume.down - volume.up,
        rate: host.up_bytes_per_s,
    };
    let down = Load {
        base: volume.down,
        slope: others * volume.up - volume.down,
        rate: host.down_bytes_per_s,
    };
    [up, down]
}

/// Whether a host owns: where nobody can be reached, the one with the largest uplink does, as the protocol has it.
fn owners(hosts: &[Host]) -> Vec<bool> {
    let mut owns: Vec<bool> = hosts.iter().map(|host| host.owns).collect();
    if !owns.contains(&true) {
        let order =
            |a: &usize, b: &usize| hosts[*a].up_bytes_per_s.total_cmp(&hosts[*b].up_bytes_per_s);
        (0..hosts.len()).rev().max_by(order).into_iter().for_each(|widest| owns[widest] = true);
    }
    owns
}

/// Whether an exchange of all these can be done in a time.
fn fits(hosts: &[Host], owns: &[bool], volume: &Volume, seconds: f64) -> bool {
    let share = |(host, owns): (&Host, &bool)| {
        let [up, down] = loads(host, hosts.len(), volume);
        let share = up.share(seconds)?.min(down.share(seconds)?);
        Some(if *owns { share } else { 0.0 })
    };
    let shares: Option<Vec<f64>> = hosts.iter().zip(owns).map(share).collect();
    shares.is_some_and(|shares| shares.iter().sum::<f64>() >= 1.0)
}

/// The least time, in seconds, of an exchange among all hosts.
pub fn exchange_s(hosts: &[Host], volume: &Volume) -> f64 {
    if hosts.len() < 2 {
        return 0.0;
    }
    let owns = owners(hosts);
    let (mut low, mut high) = (0.0, 1.0);
    while !fits(hosts, &owns, volume, high) {
        high *= 2.0;
    }
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if fits(hosts, &owns, volume, middle) { high = middle } else { low = middle }
    }
    high
}

/// Whose link the bound comes from.
pub fn narrow(hosts: &[Host], volume: &Volume) -> Narrow {
    let least = exchange_s(hosts, volume);
    if least == 0.0 {
        return Narrow::Nothing;
    }
    // A host that alone takes this share of the bound is what bounds it.
    const ALONE: f64 = 0.98;
    for i in 0..hosts.len() {
        let [up, down] = loads(&hosts[i], hosts.len(), volume);
        if up.least_s() >= ALONE * least && hosts.len() > 2 {
            return Narrow::Uplink(i);
        }
        if down.least_s() >= ALONE * least && hosts.len() > 2 {
            return Narrow::Downlink(i);
        }
    }
    let wider = |up: f64, down: f64| {
        let widen = |host: &Host| Host {
            up_bytes_per_s: host.up_bytes_per_s * up,
            down_bytes_per_s: host.down_bytes_per_s * down,
            ..host.clone()
        };
        exchange_s(&hosts.iter().map(widen).collect::<Vec<_>>(), volume)
    };
    if wider(1.1, 1.0) <= wider(1.0, 1.1) { Narrow::Uplinks } else { Narrow::Downlinks }
}

/// The host whose wider uplink would shorten the bound most, if one would by a hundredth more than the others.
pub fn narrowest(hosts: &[Host], volume: &Volume) -> Option<usize> {
    let before = exchange_s(hosts, volume);
    let with = |i: usize| {
        let mut wider = hosts.to_vec();
        wider[i].up_bytes_per_s *= 2.0;
        exchange_s(&wider, volume) / before
    };
    let mut gains: Vec<(f64, usize)> = (0..hosts.len()).map(|i| (with(i), i)).collect();
    gains.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (best, next) = (gains.first()?, gains.get(1).map_or(1.0, |gain| gain.0));
    (best.0 <= next - 0.01).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(up: f64, down: f64, owns: bool) -> Host {
        Host {
            name: "h".into(),
            tokens_per_s: 1.0,
            up_bytes_per_s: up,
            down_bytes_per_s: down,
            owns,
        }
    }

    const EVEN: Volume = Volume { up: 1000.0, down: 1000.0 };

    fn close(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 1e-6
    }

    /// Each of two sends as much as it owns of results and the rest as a contribution: the whole model, whoever owns what.
    #[test]
    fn two_hosts_send_the_model_once() {
        let two = [host(100.0, 1e9, true), host(50.0, 1e9, true)];
        assert!(close(exchange_s(&two, &EVEN), 20.0));
        assert_eq!(exchange_s(&two[..1], &EVEN), 0.0);
        assert_eq!(narrow(&two[..1], &EVEN), Narrow::Nothing);
    }

    /// Equal hosts send 2 (n - 1) / n times the model, the textbook figure of an all-reduce.
    #[test]
    fn equal_hosts_share_equally() {
        let four = vec![host(100.0, 1e9, true); 4];
        assert!(close(exchange_s(&four, &EVEN), 2.0 * 3.0 / 4.0 * 1000.0 / 100.0));
        assert_eq!(narrow(&four, &EVEN), Narrow::Uplinks);
        assert_eq!(narrowest(&four, &EVEN), None);
        let narrow_down = vec![host(1e9, 100.0, true); 4];
        assert_eq!(narrow(&narrow_down, &EVEN), Narrow::Downlinks);
        assert_eq!(narrowest(&narrow_down, &EVEN), None);
    }

    /// Whoever owns nothing still sends its own contribution and receives all results.
    #[test]
    fn one_narrow_link_bounds_all() {
        let mut hosts = vec![host(1000.0, 1000.0, true); 5];
        hosts[3].up_bytes_per_s = 10.0;
        assert!(close(exchange_s(&hosts, &EVEN), 100.0));
        assert_eq!(narrow(&hosts, &EVEN), Narrow::Uplink(3));
        assert_eq!(narrowest(&hosts, &EVEN), Some(3));
        hosts[3] = host(1000.0, 20.0, true);
        assert!(close(exchange_s(&hosts, &EVEN), 50.0));
        assert_eq!(narrow(&hosts, &EVEN), Narrow::Downlink(3));
    }

    /// One owner among four sends three times the results; three times the contributions reach it.
    #[test]
    fn who_cannot_be_reached_owns_nothing() {
        let mut hosts = vec![host(100.0, 1e9, false); 4];
        hosts[2].owns = true;
        assert!(close(exchange_s(&hosts, &EVEN), 30.0));
        hosts[2].owns = false;
        hosts[1].up_bytes_per_s = 300.0;
        assert!(close(exchange_s(&hosts, &EVEN), 10.0), "the widest owns all");
    }
}
