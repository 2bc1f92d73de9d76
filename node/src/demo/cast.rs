//! The nodes of a demo and what became of them.

use super::poll::Watch;
use super::process::{Hello, Launch, Process};
use crate::status::NodeStatus;
use anyhow::{Context, Result};
use serde::Serialize;
use std::time::{Duration, Instant};

/// What the nodes get to end in good order, all together.
const END_PATIENCE: Duration = Duration::from_secs(3);

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It was there from the beginning to the end.
    Survived,
    /// It was killed.
    Killed,
    /// It came late and stayed.
    Joined,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub name: String,
    pub fate: Fate,
    pub hello: Option<Hello>,
    /// The last status that was seen.
    pub status: NodeStatus,
    process: Process,
    watch: Option<Watch>,
}

impl Node {
    pub(super) fn start(name: String, fate: Fate, launch: &Launch) -> Result<Node> {
        let process = Process::start(launch).with_context(|| name.clone())?;
        Ok(Node { name, fate, hello: None, status: NodeStatus::default(), process, watch: None })
    }

    /// Waits until it is up.
    pub(super) fn wait_up(&mut self) -> Result<()> {
        let hello = self.process.wait_hello().with_context(|| self.name.clone())?;
        self.up(hello);
        Ok(())
    }

    fn up(&mut self, hello: Hello) {
        self.watch = Some(Watch::begin(hello.api));
        self.hello = Some(hello);
    }

    /// Takes in what has happened to it since the last call.
    pub(super) fn refresh(&mut self) -> Result<()> {
        if !self.is_live() {
            return Ok(());
        }
        self.process.check_alive().with_context(|| self.name.clone())?;
        if self.hello.is_none()
            && let Some(hello) = self.process.hello().with_context(|| self.name.clone())?
        {
            self.up(hello);
        }
        if let Some(status) = self.watch.as_ref().and_then(Watch::take) {
            self.status = status;
        }
        Ok(())
    }

    pub(super) fn is_live(&self) -> bool {
        self.fate != Fate::Killed
    }

    /// Whether it has told where it stands.
    pub(super) fn is_heard(&self) -> bool {
        !self.status.peer.is_empty()
    }

    pub(super) fn kill(&mut self) {
        self.process.kill();
        self.watch = None;
        self.fate = Fate::Killed;
        self.status.tokens_per_s = 0.0;
        self.status.waiting.clear();
    }
}

/// Ends all that are live in good order, at the same time; returns what is left to tell of them.
pub(super) fn dismiss(mut nodes: Vec<Node>) -> Vec<Credit> {
    nodes.iter_mut().for_each(|node| node.process.ask_to_end());
    let deadline = Instant::now() + END_PATIENCE;
    nodes.iter_mut().for_each(|node| node.process.end(deadline));
    nodes.into_iter().map(Credit::from).collect()
}

/// A node when the demo is over.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Credit {
    pub name: String,
    pub fate: Fate,
    pub status: NodeStatus,
}

impl From<Node> for Credit {
    fn from(node: Node) -> Credit {
        Credit { name: node.name, fate: node.fate, status: node.status }
    }
}
