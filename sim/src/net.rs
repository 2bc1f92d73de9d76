//! Links between all pairs of peers: latency, bandwidth, loss, duplicates, corruption, partitions.

use crate::rng::Rng;
use shoal_protocol::time::{Span, Time};

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

/// One direction of one pair.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    up: bool,
    /// Changes whenever the link comes up or goes down: what was under way is lost with it.
    epoch: u32,
    /// What this end has been told.
    told: bool,
    last: Time,
    refused_until: Time,
    latency: Span,
}

/// What one peer's access to the network can carry.
#[derive(Clone, Copy, Debug)]
struct Access {
    up_bytes_per_s: u64,
    down_bytes_per_s: u64,
    up_free: Time,
    down_free: Time,
    group: u8,
}

/// The whole network.
pub struct Net {
    pub weather: Weather,
    links: Vec<Vec<Link>>,
    access: Vec<Access>,
    rng: Rng,
}

/// What becomes of a bulk frame.
pub struct Passage {
    /// When it has left the sender.
    pub sent: Time,
    /// When it comes, each time that it comes.
    pub arrives: Vec<Time>,
}

impl Net {
    pub fn new(n: usize, mut rng: Rng) -> Net {
        let distance: Vec<Span> = (0..n).map(|_| rng.millis(3, 30)).collect();
        let link =
            |a: usize, b: usize| Link { latency: distance[a] + distance[b], ..Link::default() };
        let links = (0..n).map(|a| (0..n).map(|b| link(a, b)).collect()).collect();
        let mut rate = || 100_000 + rng.below(900_000);
        let mut access = || Access {
            up_bytes_per_s: rate(),
            down_bytes_per_s: 2 * rate(),
            up_free: Time::ZERO,
            down_free: Time::ZERO,
            group: 0,
        };
        let access = (0..n).map(|_| access()).collect();
        Net { weather: Weather::calm(), links, access, rng }
    }

    /// Sets both rates of one peer.
    pub fn set_rate(&mut self, p: usize, up_bytes_per_s: u64, down_bytes_per_s: u64) {
        self.access[p].up_bytes_per_s = up_bytes_per_s;
        self.access[p].down_bytes_per_s = down_bytes_per_s;
    }

    /// Up and down, in bytes per second.
    pub fn rates(&self, p: usize) -> (u64, u64) {
        (self.access[p].up_bytes_per_s, self.access[p].down_bytes_per_s)
    }

    /// Peers of different groups cannot reach each other.
    pub fn set_groups(&mut self, groups: &[u8]) {
        self.access.iter_mut().zip(groups).for_each(|(access, group)| access.group = *group);
    }

    pub fn is_up(&self, a: usize, b: usize) -> bool {
        self.links[a][b].up
    }

    pub fn epoch(&self, a: usize, b: usize) -> u32 {
        self.links[a][b].epoch
    }

    /// Peers that `a` has a link to.
    pub fn linked(&self, a: usize) -> Vec<usize> {
        (0..self.links.len()).filter(|&b| self.links[a][b].up).collect()
    }

    pub fn refuse(&mut self, a: usize, b: usize, until: Time) {
        self.links[a][b].refused_until = until;
        self.links[b][a].refused_until = until;
    }

    /// Forgets what `p` was told: it starts anew.
    pub fn restarted(&mut self, p: usize) {
        self.links[p].iter_mut().for_each(|link| link.told = false);
        self.access[p].up_free = Time::ZERO;
        self.access[p].down_free = Time::ZERO;
    }

    /// A peer's process has ended: what was under way is lost, even if it is back before anyone notices.
    pub fn died(&mut self, p: usize) {
        for q in 0..self.links.len() {
            self.set(p, q, false);
        }
    }

    /// Brings links up and down as they should be now; the pairs (who, about whom) that are to be told, and after how long.
    pub fn reconcile(&mut self, alive: &[bool], now: Time) -> Vec<(usize, usize, Span)> {
        let mut news = Vec::new();
        for a in 0..self.links.len() {
            for b in 0..a {
                let apart = self.access[a].group != self.access[b].group;
                let refused = self.links[a][b].refused_until > now;
                self.set(a, b, alive[a] && alive[b] && !apart && !refused);
                for (who, about) in [(a, b), (b, a)] {
                    if alive[who] && self.links[who][about].told != self.links[who][about].up {
                        news.push((who, about, self.notice_delay(who, about)));
                    }
                }
            }
        }
        news
    }

    fn set(&mut self, a: usize, b: usize, up: bool) {
        for (a, b) in [(a, b), (b, a)] {
            let link = &mut self.links[a][b];
            link.epoch += u32::from(link.up != up);
            link.up = up;
        }
    }

    fn notice_delay(&mut self, who: usize, about: usize) -> Span {
        match self.links[who][about].up {
            true => self.links[who][about].latency + self.rng.millis(0, 20),
            false => self.rng.millis(0, self.weather.detect_ms.max(1)),
        }
    }

    /// Whether `who` is to be told something new about `about`: that it is connected, or not.
    pub fn tell(&mut self, who: usize, about: usize) -> Option<bool> {
        let link = &mut self.links[who][about];
        let news = link.told != link.up;
        link.told = link.up;
        news.then_some(link.up)
    }

    /// When a control frame comes, each time that it comes.
    pub fn control(&mut self, from: usize, to: usize, bytes: usize, now: Time) -> Vec<Time> {
        if !self.is_up(from, to) || self.rng.chance(self.weather.control_loss) {
            return Vec::new();
        }
        let transfer = Span(bytes as u64 * 1_000_000 / self.access[from].up_bytes_per_s);
        let copies = 1 + usize::from(self.rng.chance(self.weather.duplicate));
        (0..copies).map(|_| self.arrival(from, to, now + transfer)).collect()
    }

    /// What becomes of a bulk frame; the links of sender and receiver are busy with it for a while.
    pub fn bulk(&mut self, from: usize, to: usize, bytes: usize, now: Time) -> Passage {
        if !self.is_up(from, to) {
            return Passage { sent: now, arrives: Vec::new() };
        }
        let sent = self.occupy_uplink(from, bytes, now);
        if self.rng.chance(self.weather.bulk_loss) {
            return Passage { sent, arrives: Vec::new() };
        }
        let copies = 1 + usize::from(self.rng.chance(self.weather.duplicate));
        let arrives = (0..copies).map(|_| self.land(from, to, bytes, sent)).collect();
        Passage { sent, arrives }
    }

    fn occupy_uplink(&mut self, from: usize, bytes: usize, now: Time) -> Time {
        let access = &mut self.access[from];
        let takes = Span(bytes as u64 * 1_000_000 / access.up_bytes_per_s);
        access.up_free = access.up_free.max(now) + takes;
        access.up_free
    }

    fn land(&mut self, from: usize, to: usize, bytes: usize, sent: Time) -> Time {
        let at = self.arrival(from, to, sent);
        let access = &mut self.access[to];
        let takes = Span(bytes as u64 * 1_000_000 / access.down_bytes_per_s);
        access.down_free = access.down_free.max(at) + takes;
        access.down_free
    }

    fn arrival(&mut self, from: usize, to: usize, leaves: Time) -> Time {
        let jitter = self.rng.millis(0, self.weather.jitter_ms.max(1));
        let link = &mut self.links[from][to];
        let at = leaves + link.latency + jitter;
        let at = if self.weather.reorder { at } else { at.max(link.last + Span(1)) };
        link.last = at;
        at
    }
}

#[test]
fn a_short_absence_is_noticed_by_nobody() {
    let mut net = Net::new(2, Rng::new(1));
    assert_eq!(net.reconcile(&[true, true], Time::ZERO).len(), 2);
    assert_eq!((net.tell(0, 1), net.tell(1, 0)), (Some(true), Some(true)));
    let epoch = net.epoch(0, 1);
    net.died(1);
    assert_eq!(net.reconcile(&[true, false], Time::ZERO).len(), 1);
    net.restarted(1);
    net.reconcile(&[true, true], Time::ZERO);
    assert_eq!((net.tell(0, 1), net.tell(1, 0)), (None, Some(true)));
    assert_ne!(net.epoch(0, 1), epoch);
}

#[test]
fn a_bulk_frame_takes_the_time_that_its_bytes_need() {
    let mut net = Net::new(2, Rng::new(1));
    net.reconcile(&[true, true], Time::ZERO);
    net.set_rate(0, 1000, 1000);
    net.set_rate(1, 1000, 1000);
    let first = net.bulk(0, 1, 500, Time::ZERO);
    let second = net.bulk(0, 1, 500, Time::ZERO);
    assert_eq!((first.sent, second.sent), (Time(500_000), Time(1_000_000)));
    assert!(first.arrives[0] >= Time(1_000_000) && second.arrives[0] >= Time(1_500_000));
}
