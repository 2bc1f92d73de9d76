//! What a node of a gossip run tells of itself.

use super::GossipActor;
use crate::actor::session::peak_memory_bytes;
use crate::gossip::Stepped;
use crate::status::{MemberStatus, RoundStatus};
use shoal_protocol::id::PeerId;
use shoal_protocol::time::Time;

impl GossipActor {
    /// An outer step was taken: it goes into the status and the log.
    pub(super) fn tell_step(&mut self, stepped: &Stepped) {
        let sent = self.contacts.net.traffic_all().1.bytes_sent;
        let now = self.clock.now();
        let (members, distance) = (1 + self.group.len(), stepped.distance);
        let round = RoundStatus {
            round: stepped.round,
            digest: stepped.digest.to_string(),
            members,
            tokens: stepped.trained,
            bytes_sent: sent.saturating_sub(self.bytes_before),
            exchange_s: (members > 1).then(|| now.since(self.began).as_secs_f64()),
            at_s: self.clock.uptime().as_secs_f64(),
            consensus_distance: distance,
            ..RoundStatus::default()
        };
        self.bytes_before = sent;
        self.distance = distance.or(self.distance);
        let known = self.distance;
        let apart = distance.map_or("-".into(), |distance| format!("{distance:.6}"));
        tracing::info!(
            round = stepped.round,
            members,
            distance = apart,
            digest = %stepped.digest.short(),
            "stepped"
        );
        self.status.push_round(round);
        let group = self.group.iter().map(PeerId::to_string).collect();
        self.status.update(|status| {
            status.group = group;
            status.consensus_distance = known;
            status.tokens_committed = stepped.tokens;
        });
    }

    pub(super) fn tell_status(&mut self) {
        let now = self.clock.now();
        let (doing, on, since, until) = self.machine.waits();
        self.doing = doing;
        let members = self.members(now);
        let traffic = self.contacts.net.traffic_all().1;
        let ticket = crate::node::ticket(&self.contacts.net, self.settings.spec.id());
        let waiting = self.waiting_line(&on, (since, until), now);
        let coordinates = |spec| self.machine.place().coordinates(spec).to_vec();
        let place = self.settings.spec.gossip.as_ref().map(coordinates);
        self.status.update(|status| {
            status.phase = phase(doing).into();
            status.waiting = waiting;
            status.members = members;
            status.place = place.unwrap_or_default();
            status.bytes_sent = traffic.bytes_sent;
            status.bytes_received = traffic.bytes_received;
            status.up_bytes_per_s = traffic.up_bytes_per_s;
            status.down_bytes_per_s = traffic.down_bytes_per_s;
            status.uptime_s = self.clock.uptime().as_secs_f64();
            status.peak_memory_bytes = peak_memory_bytes();
            status.ticket = ticket;
        });
    }

    fn members(&self, now: Time) -> Vec<MemberStatus> {
        let member = |known: shoal_protocol::gossip::Known| MemberStatus {
            peer: known.peer.to_string(),
            // It works towards the next.
            round: known.round.saturating_sub(1),
            tokens_per_s: 0,
            alive: true,
            heard_s: self.heard.get(&known.peer).map_or(0.0, |at| now.since(*at).as_secs_f64()),
        };
        self.machine.neighbours().map(member).collect()
    }

    /// What the node waits for, and how its last group was, in one line.
    fn waiting_line(
        &self,
        on: &[PeerId],
        (since, until): (Time, Option<Time>),
        now: Time,
    ) -> String {
        let me = self.contacts.net.me();
        let what = match self.doing {
            "listening" => "listening to neighbours",
            "fetching" => "fetching a neighbour's parameters",
            "training" => "local work under way",
            "gathering" => "waiting for a group",
            "averaging" => "averaging",
            _ => "nothing: the run is complete",
        };
        let on: Vec<String> = on.iter().filter(|peer| **peer != me).map(PeerId::short).collect();
        let on = if on.is_empty() { String::new() } else { format!(", on {}", on.join(", ")) };
        let wait = match self.doing {
            "over" => String::new(),
            _ => format!(", for {:.1} s", now.since(since).as_secs_f64()),
        };
        let until = until.map_or(String::new(), |until| {
            format!(", not longer than {:.1} s", until.since(now).as_secs_f64())
        });
        let group: Vec<String> = self.group.iter().map(PeerId::short).collect();
        let group = match group.is_empty() {
            true => String::new(),
            false => format!("; last averaged with {}", group.join(", ")),
        };
        let apart =
            self.distance.map_or(String::new(), |apart| format!("; consensus distance {apart:.4}"));
        format!("{what}{on}{wait}{until}{group}{apart}")
    }
}

/// What it does as the status names it.
fn phase(doing: &'static str) -> &'static str {
    match doing {
        "over" => "finished",
        doing => doing,
    }
}
