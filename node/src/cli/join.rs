//! `shoal join`: a node for the run of a ticket.

use super::flags::{NodeFlags, announce};
use clap::Args;
use shoal_node::net::ticket::Ticket;
use shoal_node::node;
use std::time::Duration;

/// Joins a run with its ticket: fetches the run's spec and text from its peers, catches up, trains.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Join {
    /// The line that a node of the run has printed
    #[arg(value_name = "TICKET")]
    ticket: Ticket,
    /// How long to look for the run's peers
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    #[command(flatten)]
    flags: NodeFlags,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal join shoal1pGNydW5YIN...
  shoal join shoal1pGNydW5YIN... --data corpus/ --device cuda:0
  shoal join shoal1pGNydW5YIN... --data-cap 2GB
  shoal join shoal1pGNydW5YIN... --without-teacher

A ticket stays good as long as one of the addresses in it belongs to a peer that is alive. The run's text comes from peers, what this
node trains on first; --data saves that where the text is at hand. (Runs of earlier versions, and texts above 24 GiB, need --data.)";

impl Join {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        let Join { ticket, patience, flags } = self;
        let run = ticket.run.to_string();
        let settings = flags.join_settings(Duration::from_secs(patience));
        let complete = move |spec| {
            let (data, tokenizer) = (flags.data.clone(), flags.tokenizer.clone());
            let teacher = flags.teacher.clone();
            flags.settings(spec, data, tokenizer, teacher)
        };
        node::join(ticket, settings, complete, move |started| announce(&run, started))
    }
}
