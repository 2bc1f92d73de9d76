//! The network: links between the peers of a run, with latency, jitter, loss, duplicates and partitions; bulk frames share the
//! uplinks and downlinks of the hosts.

mod loss;
mod sharing;

pub use loss::Loss;
pub use sharing::{Due, FlowId, Sharing};

use crate::rng::Rng;
use crate::scenario::Region;
use crate::store::Payload;
use shoal_protocol::time::{Span, Time};
use shoal_protocol::wire::ChunkId;
use std::collections::VecDeque;

/// What the network does to frames, for all links alike.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Share of control frames that are lost.
    pub control_loss: f64,
    /// Share of bulk frames that are lost after they have left.
    pub bulk_loss: f64,
    /// Share of frames that come twice.
    pub duplicate: f64,
    /// Up to this many milliseconds on top of the link's latency.
    pub jitter_ms: u64,
    /// Whether frames of one link may overtake each other.
    pub reorder: bool,
    /// Longest time, in milliseconds, until a survivor is told that a peer is gone.
    pub detect_ms: u64,
}

impl Weather {
    /// Nothing is lost and nothing overtakes.
    pub fn calm() -> Weather {
        Weather {
            control_loss: 0.0,
            bulk_loss: 0.0,
            duplicate: 0.0,
            jitter_ms: 2,
            reorder: false,
            detect_ms: 1500,
        }
    }
}

/// A host's place in the network.
#[derive(Clone, Debug)]
pub struct Host {
    /// The run that its peer takes part in: there are no links to peers of another.
    pub run: usize,
    /// Where in the world it is, if that is said.
    pub region: Option<Region>,
    pub up_bytes_per_s: u64,
    pub down_bytes_per_s: u64,
    /// One way, to the core of the network.
    pub latency: Span,
    /// Up to so much more, for each frame.
    pub jitter: Span,
    pub loss: Loss,
}

impl Host {
    /// One way to another host.
    fn latency_to(&self, other: &Host) -> Span {
        let apart = self.region.zip(other.region).map_or(Span(0), |(a, b)| a.to(b));
        self.latency + other.latency + apart
    }
}

/// A bulk frame on its way.
#[derive(Debug)]
pub struct Bulk {
    pub chunk: ChunkId,
    pub payload: Payload,
    /// The sender's life, to tell it that the frame has left.
    pub life: u32,
}

/// One direction of one pair.
#[derive(Debug, Default)]
struct Link {
    up: bool,
    /// Changes whenever the link comes up or goes down: what was under way is lost with it.
    epoch: u32,
    /// What this end has been told.
    told: bool,
    last: Time,
    refused_until: Time,
    latency: Span,
    /// Whether the loss chain is in its bad state.
    bad: bool,
    /// Bulk frames in order; the first is under way.
    queue: VecDeque<Bulk>,
    flow: Option<FlowId>,
}

/// Bytes that a host has sent and received, frames of all kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub sent: u64,
    pub received: u64,
    /// Bulk frames among them; their headers are not in the bytes.
    pub bulk_sent: u64,
    pub bulk_received: u64,
}

/// The whole network.
pub struct Net {
    pub weather: Weather,
    hosts: Vec<Host>,
    groups: Vec<u8>,
    pub traffic: Vec<Traffic>,
    /// Hosts of each run, and each host's place among them.
    runs: Vec<Vec<usize>>,
    place: Vec<usize>,
    links: Vec<Vec<Link>>,
    sharing: Sharing,
    rng: Rng,
}

/// When a frame comes, each time that it comes: not at all, once or twice.
pub type Landings = [Option<Time>; 2];

/// A bulk frame that has left whole.
pub struct Left {
    pub from: usize,
    pub to: usize,
    pub frame: Bulk,
    pub epoch: u32,
    pub arrives: Landings,
}

/// A peer that has to be told that a link is up or down, and after how long.
pub struct News {
    pub who: usize,
    pub about: usize,
    pub after: Span,
}

impl Net {
    /// Hosts by their number.
    pub fn new(hosts: Vec<Host>, rng: Rng) -> Net {
        let runs_n = hosts.iter().map(|host| host.run + 1).max().unwrap_or(0);
        let mut runs = vec![Vec::new(); runs_n];
        let mut place = Vec::new();
        let mut sharing = Sharing::default();
        for (p, host) in hosts.iter().enumerate() {
            place.push(runs[host.run].len());
            runs[host.run].push(p);
            sharing.add_host(host.up_bytes_per_s, host.down_bytes_per_s);
        }
        let links_of = |a: &Host| -> Vec<Link> {
            let all = runs[a.run].iter();
            all.map(|b| Link { latency: a.latency_to(&hosts[*b]), ..Link::default() }).collect()
        };
        let links = hosts.iter().map(links_of).collect();
        Net {
            weather: Weather::calm(),
            groups: vec![0; hosts.len()],
            traffic: vec![Traffic::default(); hosts.len()],
            runs,
            place,
            links,
            sharing,
            rng,
            hosts,
        }
    }

    fn link(&self, a: usize, b: usize) -> &Link {
        &self.links[a][self.place[b]]
    }

    fn link_mut(&mut self, a: usize, b: usize) -> &mut Link {
        &mut self.links[a][self.place[b]]
    }

    /// Sets both rates of one peer.
    #[cfg(test)]
    pub fn set_rate(&mut self, p: usize, up_bytes_per_s: u64, down_bytes_per_s: u64) {
        self.sharing.set_rates(p, up_bytes_per_s, down_bytes_per_s);
    }

    /// Up and down, in bytes per second.
    pub fn rates(&self, p: usize) -> (u64, u64) {
        self.sharing.rates(p)
    }

    /// Peers of different groups cannot reach each other.
    pub fn set_groups(&mut self, groups: &[u8]) {
        self.groups = groups.to_vec();
    }

    /// Runs that share the network.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Hosts that take part in the run of this one.
    pub fn crowd(&self, p: usize) -> usize {
        self.runs[self.hosts[p].run].len()
    }

    /// The host whose transfer is to be looked at.
    pub fn sender(&self, due: &Due) -> usize {
        self.sharing.ends_of(due.flow).0
    }

    /// The run that a host's peer takes part in.
    pub fn run_of(&self, p: usize) -> usize {
        self.hosts[p].run
    }

    pub fn is_up(&self, a: usize, b: usize) -> bool {
        self.link(a, b).up
    }

    pub fn epoch(&self, a: usize, b: usize) -> u32 {
        self.link(a, b).epoch
    }

    /// Peers that `a` has a link to.
    pub fn linked(&self, a: usize) -> Vec<usize> {
        let all = self.runs[self.hosts[a].run].iter().zip(&self.links[a]);
        all.filter(|(_, link)| link.up).map(|(b, _)| *b).collect()
    }

    pub fn refuse(&mut self, a: usize, b: usize, until: Time) {
        self.link_mut(a, b).refused_until = until;
        self.link_mut(b, a).refused_until = until;
    }

    /// Forgets what `p` was told: it starts anew.
    pub fn restarted(&mut self, p: usize) {
        self.links[p].iter_mut().for_each(|link| link.told = false);
    }

    /// A peer's process has ended: what was under way is lost, even if it is back before anyone notices. Whose frames will
    /// never leave.
    pub fn died(&mut self, p: usize) -> Vec<(usize, usize, Bulk)> {
        let others = self.runs[self.hosts[p].run].clone();
        others.into_iter().flat_map(|q| self.set(p, q, false)).collect()
    }

    /// Brings the links of one peer up and down as they should be now; who is to be told, and frames that will never leave.
    pub fn reconcile(
        &mut self,
        a: usize,
        alive: impl Fn(usize) -> bool,
        now: Time,
    ) -> (Vec<News>, Vec<(usize, usize, Bulk)>) {
        let (mut news, mut stranded) = (Vec::new(), Vec::new());
        for b in self.runs[self.hosts[a].run].clone() {
            if a == b {
                continue;
            }
            let apart = self.groups[a] != self.groups[b];
            let refused = self.link(a, b).refused_until > now;
            stranded.extend(self.set(a, b, alive(a) && alive(b) && !apart && !refused));
            for (who, about) in [(a, b), (b, a)] {
                if alive(who) && self.link(who, about).told != self.link(who, about).up {
                    let after = self.notice_delay(who, about);
                    news.push(News { who, about, after });
                }
            }
        }
        (news, stranded)
    }

    fn set(&mut self, a: usize, b: usize, up: bool) -> Vec<(usize, usize, Bulk)> {
        let mut stranded = Vec::new();
        for (a, b) in [(a, b), (b, a)] {
            let link = self.link_mut(a, b);
            if link.up == up {
                continue;
            }
            link.epoch += 1;
            link.up = up;
            let frames: Vec<Bulk> = link.queue.drain(..).collect();
            if let Some(flow) = link.flow.take() {
                self.sharing.end(flow);
            }
            stranded.extend(frames.into_iter().map(|frame| (a, b, frame)));
        }
        stranded
    }

    fn notice_delay(&mut self, who: usize, about: usize) -> Span {
        match self.link(who, about).up {
            true => self.link(who, about).latency + self.rng.millis(0, 20),
            false => self.rng.millis(0, self.weather.detect_ms.max(1)),
        }
    }

    /// Whether `who` is to be told something new about `about`: that it is connected, or not.
    pub fn tell(&mut self, who: usize, about: usize) -> Option<bool> {
        let link = self.link_mut(who, about);
        let news = link.told != link.up;
        link.told = link.up;
        news.then_some(link.up)
    }

    /// Bytes that a host of a run has sent, in the mean over all of its hosts.
    pub fn sent_by_host(&self, run: usize) -> u64 {
        let hosts = &self.runs[run];
        hosts.iter().map(|p| self.traffic[*p].sent).sum::<u64>() / hosts.len() as u64
    }

    /// When a control frame comes.
    pub fn control(&mut self, from: usize, to: usize, bytes: usize, now: Time) -> Landings {
        if !self.is_up(from, to) || self.rng.chance(self.weather.control_loss) {
            return [None; 2];
        }
        let twice = self.rng.chance(self.weather.duplicate);
        self.traffic[from].sent += bytes as u64;
        self.traffic[to].received += bytes as u64;
        let leaves = now + self.takes(from, bytes);
        self.copies(from, to, leaves, twice)
    }

    /// How long a frame alone takes to leave.
    fn takes(&self, from: usize, bytes: usize) -> Span {
        Span(bytes as u64 * 1_000_000 / self.sharing.rates(from).0)
    }

    /// Queues a bulk frame; `Err` gives it back when there is no link.
    pub fn bulk(&mut self, from: usize, to: usize, frame: Bulk, now: Time) -> Result<(), Bulk> {
        if !self.is_up(from, to) {
            return Err(frame);
        }
        self.link_mut(from, to).queue.push_back(frame);
        self.begin(from, to, now);
        Ok(())
    }

    /// The next frame of a connection goes under way, if none is.
    fn begin(&mut self, from: usize, to: usize, now: Time) {
        let link = self.link(from, to);
        let (None, Some(frame)) = (link.flow, link.queue.front()) else { return };
        let flow = self.sharing.start(now, from, to, u64::from(frame.payload.len()));
        self.link_mut(from, to).flow = Some(flow);
    }

    /// Shares the links anew after whatever has changed; when to [`Net::look`].
    pub fn settle(&mut self, now: Time) -> Vec<Due> {
        self.sharing.settle(now)
    }

    /// A look that was due: a frame has left, or when to look again.
    pub fn look(&mut self, now: Time, due: Due) -> Result<Option<Left>, Due> {
        if !self.sharing.look(now, due.flow, due.version)? {
            return Ok(None);
        }
        let (from, to) = self.sharing.ends_of(due.flow);
        let link = self.link_mut(from, to);
        let frame = link.queue.pop_front().expect("the frame that was under way");
        let epoch = link.epoch;
        match link.queue.front().map(|next| u64::from(next.payload.len())) {
            Some(next) => self.sharing.go_on(now, due.flow, next),
            None => {
                link.flow = None;
                self.sharing.end(due.flow);
            }
        }
        let bytes = u64::from(frame.payload.len());
        self.traffic[from].sent += bytes;
        self.traffic[from].bulk_sent += 1;
        let arrives = self.landings(from, to, now);
        let times = arrives.iter().flatten().count() as u64;
        self.traffic[to].received += bytes * times;
        self.traffic[to].bulk_received += times;
        Ok(Some(Left { from, to, frame, epoch, arrives }))
    }

    fn landings(&mut self, from: usize, to: usize, now: Time) -> Landings {
        if self.rng.chance(self.weather.bulk_loss) {
            return [None; 2];
        }
        let twice = self.rng.chance(self.weather.duplicate);
        self.copies(from, to, now, twice)
    }

    fn copies(&mut self, from: usize, to: usize, leaves: Time, twice: bool) -> Landings {
        let first = self.arrival(from, to, leaves);
        [Some(first), twice.then(|| self.arrival(from, to, leaves))]
    }

    /// When a frame that leaves now comes. One that the loss chain strikes is sent again by the transport: it comes a
    /// retransmission timeout later, each time it is struck.
    fn arrival(&mut self, from: usize, to: usize, leaves: Time) -> Time {
        let jitter = self.rng.millis(0, self.weather.jitter_ms.max(1))
            + Span(self.rng.below(self.hosts[from].jitter.0 + self.hosts[to].jitter.0 + 1));
        let mut again = Span::ZERO;
        let (reorder, rng) = (self.weather.reorder, &mut self.rng);
        let link = &mut self.links[from][self.place[to]];
        for host in [from, to] {
            while self.hosts[host].loss.strikes(&mut link.bad, rng) && again < RETRY_MAX {
                again = again + RETRY + link.latency + link.latency;
            }
        }
        let at = leaves + link.latency + jitter + again;
        let at = if reorder { at } else { at.max(link.last + Span(1)) };
        link.last = at;
        at
    }
}

/// The least retransmission timeout of TCP on Linux.
const RETRY: Span = Span::from_millis(200);
/// Where a transport has given a connection up or got through.
const RETRY_MAX: Span = Span::from_secs(30);
