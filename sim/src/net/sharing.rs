//! Max-min fair sharing of up- and downlinks among concurrent transfers, as a fluid: progressive filling (Bertsekas and
//! Gallager, Data Networks, 1992, section 6.5.2).
//!
//! A transfer costs a few steps whatever its size: its rate changes only when another one begins or ends nearby.

use shoal_protocol::time::{Span, Time};
use std::collections::BTreeSet;

/// Names a transfer.
pub type FlowId = usize;

/// What one host can send and receive, and what goes through it now.
#[derive(Clone, Debug)]
struct Access {
    up: u64,
    down: u64,
    out: Vec<FlowId>,
    into: Vec<FlowId>,
}

/// One transfer. Its bytes are counted in millionths, so that a rate in bytes per second times microseconds is exact.
#[derive(Clone, Debug)]
struct Flow {
    from: usize,
    to: usize,
    left: u128,
    rate: u64,
    since: Time,
    /// The earliest instant at which a look at it is already due.
    looked_at: Option<Time>,
    /// Distinguishes it from one that had its place before.
    version: u32,
}

/// A transfer whose end has come closer: look at it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub flow: FlowId,
    /// Its version.
    pub version: u32,
    /// When.
    pub at: Time,
}

/// All hosts and all transfers.
#[derive(Debug, Default)]
pub struct Sharing {
    hosts: Vec<Access>,
    flows: Vec<Option<Flow>>,
    free: Vec<FlowId>,
    versions: u32,
    dirty: BTreeSet<usize>,
}

/// One bottleneck in the making: an uplink or a downlink of the component.
struct Resource {
    left: u64,
    open: u64,
}

impl Sharing {
    /// One more host, by its rates in bytes per second.
    pub fn add_host(&mut self, up: u64, down: u64) {
        self.hosts.push(Access {
            up: up.max(1),
            down: down.max(1),
            out: Vec::new(),
            into: Vec::new(),
        });
    }

    /// Up and down, in bytes per second.
    pub fn rates(&self, host: usize) -> (u64, u64) {
        (self.hosts[host].up, self.hosts[host].down)
    }

    /// Sets both rates of one host, in bytes per second.
    #[cfg(test)]
    pub fn set_rates(&mut self, host: usize, up: u64, down: u64) {
        (self.hosts[host].up, self.hosts[host].down) = (up.max(1), down.max(1));
        self.dirty.insert(host);
    }

    /// Begins a transfer of `bytes` bytes; its rate is known after [`Sharing::settle`].
    pub fn start(&mut self, now: Time, from: usize, to: usize, bytes: u64) -> FlowId {
        self.versions += 1;
        let left = u128::from(bytes) * 1_000_000;
        let version = self.versions;
        let flow = Flow { from, to, left, rate: 0, since: now, looked_at: None, version };
        let id = self.free.pop().unwrap_or(self.flows.len());
        match self.flows.get_mut(id) {
            Some(place) => *place = Some(flow),
            None => self.flows.push(Some(flow)),
        }
        self.hosts[from].out.push(id);
        self.hosts[to].into.push(id);
        self.dirty.insert(from);
        id
    }

    /// Ends a transfer, done or not.
    pub fn end(&mut self, id: FlowId) {
        let Some(flow) = self.flows[id].take() else { return };
        self.hosts[flow.from].out.retain(|other| *other != id);
        self.hosts[flow.to].into.retain(|other| *other != id);
        self.dirty.extend([flow.from, flow.to]);
        self.free.push(id);
    }

    /// Whether a look that was due finds the transfer done; if it goes on, when to look again.
    pub fn look(&mut self, now: Time, id: FlowId, version: u32) -> Result<bool, Due> {
        let Some(flow) = self.flows.get_mut(id).and_then(Option::as_mut) else { return Ok(false) };
        if flow.version != version || flow.looked_at != Some(now) {
            return Ok(false);
        }
        flow.looked_at = None;
        match flow.ends() {
            Some(at) if at <= now => Ok(true),
            Some(at) => {
                flow.looked_at = Some(at);
                Err(Due { flow: id, version, at })
            }
            None => Ok(false),
        }
    }

    /// Shares anew whatever has changed; transfers that are to be looked at earlier than they would have been.
    pub fn settle(&mut self, now: Time) -> Vec<Due> {
        let mut due = Vec::new();
        while let Some(&host) = self.dirty.first() {
            let component = self.component(host);
            component.0.iter().for_each(|host| {
                self.dirty.remove(host);
            });
            self.fill(now, &component, &mut due);
        }
        due
    }

    /// Hosts and transfers that a change at one host may reach.
    fn component(&self, host: usize) -> (BTreeSet<usize>, Vec<FlowId>) {
        let (mut seen, mut queue, mut flows) = (BTreeSet::from([host]), vec![host], Vec::new());
        while let Some(at) = queue.pop() {
            flows.extend(&self.hosts[at].out);
            let ends = |id: &FlowId| self.flows[*id].as_ref().map(|flow| (flow.from, flow.to));
            let all = self.hosts[at].out.iter().chain(&self.hosts[at].into);
            for end in all.filter_map(ends).flat_map(|(from, to)| [from, to]) {
                if seen.insert(end) {
                    queue.push(end);
                }
            }
        }
        flows.sort_unstable();
        (seen, flows)
    }

    /// Gives every transfer of a component its rate: the tightest link first.
    fn fill(&mut self, now: Time, component: &(BTreeSet<usize>, Vec<FlowId>), due: &mut Vec<Due>) {
        let hosts: Vec<usize> = component.0.iter().copied().collect();
        let mut links: Vec<Resource> =
            hosts.iter().flat_map(|host| self.resources(*host)).collect();
        let place = |host: usize| hosts.binary_search(&host).expect("a component is closed");
        let ends: Vec<(usize, usize)> = component.1.iter().map(|id| self.ends_of(*id)).collect();
        let ends: Vec<(usize, usize)> =
            ends.into_iter().map(|(from, to)| (2 * place(from), 2 * place(to) + 1)).collect();
        let mut open: Vec<usize> = (0..ends.len()).collect();
        while let Some((tightest, rate)) = tightest(&links) {
            let through = |i: &usize| ends[*i].0 == tightest || ends[*i].1 == tightest;
            let (now_set, rest) = open.into_iter().partition(through);
            open = rest;
            for i in now_set as Vec<usize> {
                for link in [ends[i].0, ends[i].1] {
                    links[link].open -= 1;
                    links[link].left = links[link].left.saturating_sub(rate);
                }
                due.extend(self.set_rate(now, component.1[i], rate));
            }
        }
    }

    fn resources(&self, host: usize) -> [Resource; 2] {
        let access = &self.hosts[host];
        let up = Resource { left: access.up, open: access.out.len() as u64 };
        let down = Resource { left: access.down, open: access.into.len() as u64 };
        [up, down]
    }

    /// From whom a transfer goes, and to whom.
    pub fn ends_of(&self, id: FlowId) -> (usize, usize) {
        let flow = self.flows[id].as_ref().expect("listed transfers exist");
        (flow.from, flow.to)
    }

    fn set_rate(&mut self, now: Time, id: FlowId, rate: u64) -> Option<Due> {
        let flow = self.flows[id].as_mut().expect("listed transfers exist");
        flow.left =
            flow.left.saturating_sub(u128::from(flow.rate) * u128::from(now.since(flow.since).0));
        (flow.since, flow.rate) = (now, rate.max(1));
        let at = flow.ends()?;
        if flow.looked_at.is_some_and(|before| before <= at) {
            return None;
        }
        flow.looked_at = Some(at);
        Some(Due { flow: id, version: flow.version, at })
    }
}

impl Flow {
    fn ends(&self) -> Option<Time> {
        (self.rate > 0).then(|| self.since + Span(self.left.div_ceil(u128::from(self.rate)) as u64))
    }
}

/// The link whose transfers get the least, and how much each of them gets.
fn tightest(links: &[Resource]) -> Option<(usize, u64)> {
    let open = links.iter().enumerate().filter(|(_, link)| link.open > 0);
    open.map(|(i, link)| (link.left / link.open, i)).min().map(|(rate, i)| (i, rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(rates: &[(u64, u64)]) -> Sharing {
        let mut sharing = Sharing::default();
        rates.iter().for_each(|(up, down)| sharing.add_host(*up, *down));
        sharing
    }

    /// Runs until nothing is under way: when each transfer ended.
    fn run(sharing: &mut Sharing, mut due: Vec<Due>) -> Vec<(FlowId, u64)> {
        let mut ended = Vec::new();
        while let Some(next) = due.iter().copied().min_by_key(|due| (due.at, due.flow)) {
            due.retain(|other| *other != next);
            match sharing.look(next.at, next.flow, next.version) {
                Ok(true) => {
                    ended.push((next.flow, next.at.0));
                    sharing.end(next.flow);
                    due.extend(sharing.settle(next.at));
                }
                Ok(false) => {}
                Err(later) => due.push(later),
            }
        }
        ended
    }

    #[test]
    fn one_transfer_takes_what_the_narrower_end_allows() {
        let mut sharing = cluster(&[(1000, 1000), (1000, 250)]);
        sharing.start(Time::ZERO, 0, 1, 500);
        let due = sharing.settle(Time::ZERO);
        assert_eq!(run(&mut sharing, due), [(0, 2_000_000)]);
    }

    #[test]
    fn transfers_of_one_uplink_share_it() {
        let mut sharing = cluster(&[(900, 900); 4]);
        for to in 1..4 {
            sharing.start(Time::ZERO, 0, to, 300);
        }
        let due = sharing.settle(Time::ZERO);
        assert_eq!(run(&mut sharing, due), [(0, 1_000_000), (1, 1_000_000), (2, 1_000_000)]);
    }

    /// Two of 100 and one of 50 over 100 bytes a second: the short one ends after 1.5 s, the others after 2.5 s.
    #[test]
    fn who_ends_leaves_its_share_to_the_others() {
        let mut sharing = cluster(&[(100, 100); 4]);
        for (to, bytes) in [(1, 100), (2, 100), (3, 50)] {
            sharing.start(Time::ZERO, 0, to, bytes);
        }
        let due = sharing.settle(Time::ZERO);
        let ended = run(&mut sharing, due);
        assert_eq!(ended[0].0, 2);
        let close = |at: u64, to: u64| at.abs_diff(to) < 20_000;
        assert!(close(ended[0].1, 1_500_000) && close(ended[1].1, 2_500_000), "{ended:?}");
    }

    /// The textbook case: a narrow downlink frees the uplink for the other transfer.
    #[test]
    fn what_one_cannot_take_the_other_gets() {
        let mut sharing = cluster(&[(1000, 1000), (1000, 100), (1000, 5000)]);
        sharing.start(Time::ZERO, 0, 1, 100);
        sharing.start(Time::ZERO, 0, 2, 900);
        let due = sharing.settle(Time::ZERO);
        assert_eq!(run(&mut sharing, due), [(0, 1_000_000), (1, 1_000_000)]);
    }

    #[test]
    fn far_away_transfers_keep_their_rates() {
        let mut sharing = cluster(&[(100, 100); 4]);
        sharing.start(Time::ZERO, 0, 1, 100);
        assert_eq!(sharing.settle(Time::ZERO).len(), 1);
        sharing.start(Time(500_000), 2, 3, 100);
        let due = sharing.settle(Time(500_000));
        assert_eq!(due, [Due { flow: 1, version: 2, at: Time(1_500_000) }]);
    }
}
