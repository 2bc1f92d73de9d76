//! The loop of the demo: look at the nodes, give the cues, draw, until all have finished.

use super::cast::{Credit, Fate, Node, dismiss};
use super::cue::Cues;
use super::folder::Folder;
use super::history::{Event, History};
use super::process::Launch;
use super::recipe::Recipe;
use super::table::{Scene, Screen};
use super::{Plan, poll};
use crate::interrupt;
use crate::net::ticket::Ticket;
use crate::status::NodeStatus;
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks.
const TICK: Duration = Duration::from_millis(100);
/// Between two looks at a victim whose exchange is near.
const STALK_TICK: Duration = Duration::from_millis(1);
/// Longest time that the loop stays with a victim at a stretch.
const STALK_STRETCH: Duration = Duration::from_millis(500);
/// A run that commits nothing for so long stands still.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a finished run waits for the last held-out loss.
const LAST_LOSS_PATIENCE: Duration = Duration::from_secs(20);
/// How long the nodes that begin look for each other.
const ALONE_AFTER: Duration = Duration::from_secs(60);
/// A newcomer never begins by itself: there is a run to join.
const ALONE_NEVER: Duration = Duration::from_secs(3600);

/// A demo being played.
pub(super) struct Stage<'a> {
    plan: &'a Plan,
    recipe: &'a Recipe,
    folder: &'a Folder,
    nodes: Vec<Node>,
    cues: Cues,
    stalk: Option<Stalk>,
    history: History,
    begun: Instant,
    /// The last committed round, and since when it is the last.
    last: (u64, Instant),
}

/// A node that is to be killed in the exchange of a round.
#[derive(Clone, Copy, Debug)]
struct Stalk {
    victim: usize,
    round: u64,
    api: SocketAddr,
}

/// What is left when it is over.
#[derive(Debug)]
pub(super) struct Played {
    pub nodes: Vec<Credit>,
    pub history: History,
    pub seconds: f64,
}

impl<'a> Stage<'a> {
    /// Starts the nodes that begin: the first alone, so that the others have an address to begin with.
    pub(super) fn open(
        plan: &'a Plan,
        recipe: &'a Recipe,
        folder: &'a Folder,
    ) -> Result<Stage<'a>> {
        let now = Instant::now();
        let mut stage = Stage {
            plan,
            recipe,
            folder,
            nodes: Vec::new(),
            cues: Cues::new(&plan.kills, &plan.joins, plan.seed),
            stalk: None,
            history: History::default(),
            begun: now,
            last: (0, now),
        };
        stage.start_node(Fate::Survived)?;
        stage.nodes[0].wait_up()?;
        (1..plan.nodes).try_for_each(|_| stage.start_node(Fate::Survived))?;
        Ok(stage)
    }

    fn start_node(&mut self, fate: Fate) -> Result<()> {
        let name = format!("node-{}", self.nodes.len() + 1);
        let alone_after = if fate == Fate::Joined { ALONE_NEVER } else { ALONE_AFTER };
        let launch = Launch {
            spec: self.folder.spec(),
            home: self.folder.home(&name),
            local: self.folder.local(),
            log: self.folder.log(&name),
            data: self.recipe.data.clone(),
            peers: self.known_addresses()?,
            threads: self.plan.threads,
            alone_after,
        };
        self.nodes.push(Node::start(name, fate, &launch)?);
        Ok(())
    }

    /// Where the first live node listens.
    fn known_addresses(&self) -> Result<Vec<String>> {
        let mut live = self.nodes.iter().filter(|node| node.is_live());
        let Some(hello) = live.find_map(|node| node.hello.as_ref()) else { return Ok(Vec::new()) };
        let ticket: Ticket = hello.ticket.parse().context("a node's ticket")?;
        Ok(ticket.addresses.iter().map(ToString::to_string).collect())
    }

    /// Plays until all live nodes have finished with one digest.
    pub(super) fn play(&mut self) -> Result<()> {
        let mut screen = Screen::new();
        while !self.is_over()? {
            interrupt::check()?;
            self.look()?;
            self.give_cues()?;
            screen.show(&self.scene());
            match self.stalk {
                Some(stalk) => self.follow(stalk),
                None => thread::sleep(TICK),
            }
        }
        screen.finish(&self.scene());
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.refresh()?;
            if node.is_heard() {
                self.history.absorb(&node.status);
            }
        }
        let round = self.history.last();
        if round > self.last.0 {
            self.last = (round, Instant::now());
        }
        if self.last.1.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            bail!(
                "nothing was committed for {seconds} s after round {}{}",
                self.last.0,
                self.waits()
            );
        }
        Ok(())
    }

    /// What every live node says that it waits for.
    fn waits(&self) -> String {
        let line = |node: &Node| {
            format!("\n  {} {}: {}", node.name, node.status.phase, node.status.waiting)
        };
        self.nodes.iter().filter(|node| node.is_live()).map(line).collect()
    }

    fn give_cues(&mut self) -> Result<()> {
        if self.stalk.is_none()
            && let Some(round) = self.cues.next_kill(self.last.0)
        {
            self.choose_victim(round);
        }
        while self.cues.next_join(self.last.0) {
            self.start_node(Fate::Joined)?;
            let node = self.nodes[self.nodes.len() - 1].name.clone();
            let line = format!("{node} starts after round {}", self.last.0);
            self.history.events.push(Event { round: self.last.0, node, killed: false, line });
        }
        Ok(())
    }

    fn choose_victim(&mut self, round: u64) {
        let candidate = |(index, node): (usize, &Node)| {
            let api = node.hello.as_ref().map(|hello| hello.api)?;
            (node.is_live() && node.is_heard()).then_some((index, api))
        };
        let candidates: Vec<_> = self.nodes.iter().enumerate().filter_map(candidate).collect();
        // The last one is never killed: somebody has to end the run.
        if candidates.len() > 1 {
            let (victim, api) = candidates[self.cues.victim(round, candidates.len())];
            self.stalk = Some(Stalk { victim, round, api });
        }
    }

    /// Looks at the victim alone, ever more often as its exchange comes near, and kills it in the midst.
    fn follow(&mut self, stalk: Stalk) {
        let stretch = Instant::now();
        while stretch.elapsed() < STALK_STRETCH && !interrupt::was_asked() {
            let seen = poll::get(stalk.api).ok();
            match seen.as_ref().map_or(Moment::Now, |status| moment(status, stalk.round)) {
                Moment::Now => return self.strike(stalk, seen),
                Moment::Near => thread::sleep(STALK_TICK),
                Moment::Far => return thread::sleep(TICK / 2),
            }
        }
    }

    fn strike(&mut self, stalk: Stalk, seen: Option<NodeStatus>) {
        self.stalk = None;
        let node = &mut self.nodes[stalk.victim];
        node.kill();
        let phase = seen.as_ref().map_or("silent", |status| status.phase.as_str());
        let line = format!("{} killed in round {} while {phase}", node.name, stalk.round);
        let (round, node) = (stalk.round, node.name.clone());
        self.history.events.push(Event { round, node, killed: true, line });
    }

    /// Whether all have finished. An error if they did on different states.
    fn is_over(&self) -> Result<bool> {
        let live = || self.nodes.iter().filter(|node| node.is_live());
        let done =
            |node: &Node| node.status.phase == "finished" && node.status.round == self.plan.rounds;
        if self.stalk.is_some() || !live().all(done) {
            return Ok(false);
        }
        let digests: Vec<&str> = live().map(|node| node.status.digest.as_str()).collect();
        if digests.iter().any(|digest| *digest != digests[0]) {
            bail!("the nodes ended on different digests: {digests:?}");
        }
        let evaluated = self.history.rows().next_back().is_some_and(|row| row.val_loss.is_some());
        Ok(evaluated || self.last.1.elapsed() > LAST_LOSS_PATIENCE)
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            headline: self.recipe.headline(self.plan.nodes),
            seconds: self.begun.elapsed().as_secs(),
            rounds: self.plan.rounds,
            nodes: &self.nodes,
            history: &self.history,
        }
    }

    /// Ends the nodes.
    pub(super) fn close(self) -> Played {
        let seconds = self.begun.elapsed().as_secs_f64();
        Played { nodes: dismiss(self.nodes), history: self.history, seconds }
    }
}

/// How near a victim is to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Far,
    Near,
    Now,
}

/// In the exchange of `round` is the moment; later will do if it was missed.
fn moment(status: &NodeStatus, round: u64) -> Moment {
    let committed = status.rounds.back().map_or(0, |last| last.round).max(status.round);
    match status.phase.as_str() {
        _ if committed >= round => Moment::Now,
        "reducing" if committed + 1 == round => Moment::Now,
        "gathering" if committed + 1 == round => Moment::Near,
        _ => Moment::Far,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_is_the_exchange_or_what_comes_after() {
        let status =
            |round, phase: &str| NodeStatus { round, phase: phase.into(), ..NodeStatus::default() };
        let rows = [
            (2, "reducing", Moment::Far),
            (3, "training", Moment::Far),
            (3, "gathering", Moment::Near),
            (3, "reducing", Moment::Now),
            (4, "training", Moment::Now),
        ];
        for (round, phase, expected) in rows {
            assert_eq!(moment(&status(round, phase), 4), expected, "{round} {phase}");
        }
    }
}
