//! Max-min fair sharing of up- and downlinks among concurrent transfers, as a fluid: progressive filling (Bertsekas and
//! Gallager, Data Networks, 1992, section 6.5.2).
//!
//! A transfer costs a few steps whatever its size: its rate changes only when another one begins or ends nearby.

use shoal_protocol::time::{Span, Time};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// Names a transfer.
pub type FlowId = usize;

/// What one host can send and receive, and what goes through it now.
#[derive(Debug)]
struct Access {
    links: [Link; 2],
    /// The last fill whose component it was found to belong to.
    seen: u64,
}

/// An uplink or a downlink.
#[derive(Debug)]
struct Link {
    bytes_per_s: u64,
    /// Transfers through it, and the host at their other end.
    through: Vec<(FlowId, usize)>,
    /// During a fill: what is not given away yet, and to how many it will be.
    left: u64,
    open: u64,
}

/// A link of a host, by [`UP`] or [`DOWN`].
type LinkId = (usize, usize);

const UP: usize = 0;
const DOWN: usize = 1;

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
    /// The last fill that gave it a rate.
    filled: u64,
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
    /// Looks that are due whatever is shared anew.
    due: Vec<Due>,
    fills: u64,
    /// Empty between fills, with room for the next: links by what each transfer through them would get at the least.
    tightest: BinaryHeap<Reverse<(u64, LinkId)>>,
    component: Vec<usize>,
    picked: Vec<(FlowId, usize)>,
}

impl Sharing {
    /// One more host, by its rates in bytes per second.
    pub fn add_host(&mut self, up: u64, down: u64) {
        self.hosts.push(Access { links: [Link::new(up), Link::new(down)], seen: 0 });
    }

    /// Up and down, in bytes per second.
    pub fn rates(&self, host: usize) -> (u64, u64) {
        let [up, down] = &self.hosts[host].links;
        (up.bytes_per_s, down.bytes_per_s)
    }

    /// Sets both rates of one host, in bytes per second.
    #[cfg(test)]
    pub fn set_rates(&mut self, host: usize, up: u64, down: u64) {
        let links = &mut self.hosts[host].links;
        (links[UP].bytes_per_s, links[DOWN].bytes_per_s) = (up.max(1), down.max(1));
        self.dirty.insert(host);
    }

    /// Begins a transfer of `bytes` bytes; its rate is known after [`Sharing::settle`].
    pub fn start(&mut self, now: Time, from: usize, to: usize, bytes: u64) -> FlowId {
        self.versions += 1;
        let flow = Flow::new(now, (from, to), bytes, self.versions);
        let id = self.free.pop().unwrap_or(self.flows.len());
        match self.flows.get_mut(id) {
            Some(place) => *place = Some(flow),
            None => self.flows.push(Some(flow)),
        }
        self.hosts[from].links[UP].through.push((id, to));
        self.hosts[to].links[DOWN].through.push((id, from));
        self.dirty.insert(from);
        id
    }

    /// The next transfer between the hosts of one that has just ended takes its place: shares depend on who sends to whom, and
    /// not on what, so that nothing is shared anew.
    pub fn go_on(&mut self, now: Time, id: FlowId, bytes: u64) {
        self.versions += 1;
        let flow = self.flows[id].as_mut().expect("it has just ended");
        let next = Flow::new(now, (flow.from, flow.to), bytes, self.versions);
        let rate = std::mem::replace(flow, next).rate;
        let due = self.set_rate(now, id, rate);
        self.due.extend(due);
    }

    /// Ends a transfer, done or not.
    pub fn end(&mut self, id: FlowId) {
        let Some(flow) = self.flows[id].take() else { return };
        self.hosts[flow.from].links[UP].through.retain(|(other, _)| *other != id);
        self.hosts[flow.to].links[DOWN].through.retain(|(other, _)| *other != id);
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
        let mut due = std::mem::take(&mut self.due);
        while let Some(host) = self.dirty.pop_first() {
            self.find_component(host);
            self.fill(now, &mut due);
        }
        due
    }

    /// Hosts that a change at one of them may reach: all that transfers connect.
    fn find_component(&mut self, host: usize) {
        self.fills += 1;
        self.hosts[host].seen = self.fills;
        self.component.clear();
        self.component.push(host);
        let mut next = 0;
        while let Some(&at) = self.component.get(next) {
            next += 1;
            self.dirty.remove(&at);
            for side in [UP, DOWN] {
                for n in 0..self.hosts[at].links[side].through.len() {
                    let other = self.hosts[at].links[side].through[n].1;
                    if std::mem::replace(&mut self.hosts[other].seen, self.fills) != self.fills {
                        self.component.push(other);
                    }
                }
            }
        }
    }

    /// Gives every transfer of the component its rate: the tightest link first, of equally tight ones the first. What a link would
    /// give to each only grows while others are served, so that its place in the heap is looked up when its turn comes.
    fn fill(&mut self, now: Time, due: &mut Vec<Due>) {
        for &host in &self.component {
            for (side, link) in self.hosts[host].links.iter_mut().enumerate() {
                (link.left, link.open) = (link.bytes_per_s, link.through.len() as u64);
                self.tightest.extend(link.rate().map(|rate| Reverse((rate, (host, side)))));
            }
        }
        while let Some(Reverse((rate, (host, side)))) = self.tightest.pop() {
            match self.hosts[host].links[side].rate() {
                Some(now_gives) if now_gives == rate => {
                    self.serve(now, (host, side), rate, due);
                }
                later => self.tightest.extend(later.map(|rate| Reverse((rate, (host, side))))),
            }
        }
    }

    /// All transfers through a link that have no rate yet get this one.
    fn serve(&mut self, now: Time, (host, side): LinkId, rate: u64, due: &mut Vec<Due>) {
        let mut picked = std::mem::take(&mut self.picked);
        for (id, other) in &self.hosts[host].links[side].through {
            let flow = self.flows[*id].as_mut().expect("listed transfers exist");
            if std::mem::replace(&mut flow.filled, self.fills) != self.fills {
                picked.push((*id, *other));
            }
        }
        self.hosts[host].links[side].open = 0;
        picked.sort_unstable();
        for (id, other) in picked.drain(..) {
            let link = &mut self.hosts[other].links[1 - side];
            (link.left, link.open) = (link.left.saturating_sub(rate), link.open - 1);
            due.extend(self.set_rate(now, id, rate));
        }
        self.picked = picked;
    }

    /// From whom a transfer goes, and to whom.
    pub fn ends_of(&self, id: FlowId) -> (usize, usize) {
        let flow = self.flows[id].as_ref().expect("listed transfers exist");
        (flow.from, flow.to)
    }

    fn set_rate(&mut self, now: Time, id: FlowId, rate: u64) -> Option<Due> {
        let flow = self.flows[id].as_mut().expect("listed transfers exist");
        if flow.rate == rate.max(1) {
            return None;
        }
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

impl Link {
    fn new(bytes_per_s: u64) -> Link {
        Link { bytes_per_s: bytes_per_s.max(1), through: Vec::new(), left: 0, open: 0 }
    }

    /// What each transfer through it would get that has no rate yet, if there are any.
    fn rate(&self) -> Option<u64> {
        self.left.checked_div(self.open)
    }
}

impl Flow {
    fn new(now: Time, (from, to): (usize, usize), bytes: u64, version: u32) -> Flow {
        let left = u128::from(bytes) * 1_000_000;
        Flow { from, to, left, rate: 0, since: now, looked_at: None, version, filled: 0 }
    }

    fn ends(&self) -> Option<Time> {
        (self.rate > 0).then(|| self.since + Span(self.left.div_ceil(u128::from(self.rate)) as u64))
    }
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

    /// All rates by progressive filling as the textbook has it: the tightest link of all is looked for anew each time.
    fn textbook(sharing: &Sharing) -> Vec<Option<u64>> {
        let rates: Vec<u64> =
            sharing.hosts.iter().flat_map(|h| h.links.iter().map(|l| l.bytes_per_s)).collect();
        let mut left = rates.clone();
        let ends = |id: usize| sharing.flows[id].as_ref().map(|f| [2 * f.from, 2 * f.to + 1]);
        let mut open: Vec<usize> =
            (0..sharing.flows.len()).filter(|id| ends(*id).is_some()).collect();
        let mut given = vec![None; sharing.flows.len()];
        let through = |id: &usize, link: usize| ends(*id).is_some_and(|ends| ends.contains(&link));
        while !open.is_empty() {
            let gives = |link: usize| {
                let n = open.iter().filter(|id| through(id, link)).count() as u64;
                left[link].checked_div(n).map(|rate| (rate, link))
            };
            let (rate, link) = (0..left.len()).filter_map(gives).min().expect("some are open");
            for id in open.extract_if(.., |id| through(id, link)) {
                given[id] = Some(rate.max(1));
                ends(id).into_iter().flatten().for_each(|link| left[link] -= rate);
            }
        }
        given
    }

    /// Transfers begin, end and follow each other at random; after each change the rates are those of a fill from nothing.
    #[test]
    fn what_a_change_leads_to_is_what_a_fill_from_nothing_leads_to() {
        for seed in 0..40 {
            let mut rng = crate::rng::Rng::new(seed);
            let hosts = 2 + rng.index(12);
            let mut sharing = Sharing::default();
            (0..hosts).for_each(|_| sharing.add_host(1 + rng.below(50), 1 + rng.below(90)));
            let mut under_way = Vec::new();
            for step in 0..150 {
                let now = Time(step * 1000);
                match rng.below(5) {
                    0 if !under_way.is_empty() => {
                        sharing.end(under_way.swap_remove(rng.index(under_way.len())));
                    }
                    1 if !under_way.is_empty() => {
                        sharing.go_on(now, rng.pick(&under_way), 1 + rng.below(1 << 20));
                    }
                    _ => {
                        let from = rng.index(hosts);
                        let to = (from + 1 + rng.index(hosts - 1)) % hosts;
                        under_way.push(sharing.start(now, from, to, 1 + rng.below(1 << 20)));
                    }
                }
                sharing.settle(now);
                let rate = |flow: &Option<Flow>| flow.as_ref().map(|flow| flow.rate);
                let rates: Vec<Option<u64>> = sharing.flows.iter().map(rate).collect();
                assert_eq!(rates, textbook(&sharing), "seed {seed}, step {step}");
            }
        }
    }

    /// The second frame of a connection takes the place of the first: it gets its rate, and ends when it should.
    #[test]
    fn the_next_frame_goes_on_at_the_same_rate() {
        let mut sharing = cluster(&[(100, 100); 3]);
        let first = sharing.start(Time::ZERO, 0, 1, 50);
        sharing.start(Time::ZERO, 0, 2, 500);
        assert_eq!(sharing.settle(Time::ZERO).len(), 2);
        let now = Time(1_000_000);
        assert_eq!(sharing.look(now, first, 1), Ok(true));
        sharing.go_on(now, first, 100);
        assert_eq!(sharing.settle(now), [Due { flow: first, version: 3, at: Time(3_000_000) }]);
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
