//! `shoal status`: what this machine's nodes do.

use super::show;
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use shoal_node::net::local::{self, LocalNode};
use shoal_node::probe::node_status;
use shoal_node::status::NodeStatus;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often `--watch` looks.
const WATCH: Duration = Duration::from_secs(1);

/// Tells what this machine's nodes do: round, members, speed, bytes, loss, and what each is waiting for.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Status {
    /// Everything that the nodes tell, as JSON
    #[arg(long)]
    json: bool,
    /// Again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Where the nodes announce themselves, if they were started with --local-dir
    #[arg(long, value_name = "DIR")]
    local_dir: Option<PathBuf>,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal status
  shoal status --watch
  shoal status --json | python3 -m json.tool";

/// A node and what it answered.
struct Asked {
    node: LocalNode,
    answer: Result<NodeStatus, String>,
}

impl Status {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        let folder = self.local_dir.clone().unwrap_or_else(local::default_dir);
        loop {
            let asked =
                ask_all(local::list(&folder).context("this machine's nodes cannot be listed")?);
            let text = if self.json { format!("{:#}\n", json(&asked)) } else { human(&asked) };
            let clear =
                if self.watch && std::io::stdout().is_terminal() { "\x1b[2J\x1b[H" } else { "" };
            super::say(&format!("{clear}{text}"));
            if !self.watch {
                return Ok(());
            }
            std::thread::sleep(WATCH);
        }
    }
}

/// Asks all nodes at once: one that hangs does not hold up the others.
fn ask_all(nodes: Vec<LocalNode>) -> Vec<Asked> {
    let asking: Vec<_> = nodes
        .into_iter()
        .map(|node| std::thread::spawn(move || Asked { answer: ask(&node), node }))
        .collect();
    // A thread that panicked has said why already.
    asking.into_iter().filter_map(|thread| thread.join().ok()).collect()
}

fn ask(node: &LocalNode) -> Result<NodeStatus, String> {
    match node.api {
        Some(_) if !node.same_host => Err("runs in another container: ask there".into()),
        Some(api) => {
            node_status(api, PATIENCE).map_err(|error| format!("does not answer at {api}: {error}"))
        }
        None => Err("is starting: it serves no status yet".into()),
    }
}

fn json(asked: &[Asked]) -> Value {
    let one = |asked: &Asked| match &asked.answer {
        // A struct of numbers, texts and lists: JSON can say it.
        Ok(status) => serde_json::to_value(status).unwrap_or_default(),
        Err(error) => json!({
            "peer": asked.node.peer.to_string(),
            "run_id": asked.node.run.to_string(),
            "pid": asked.node.pid,
            "error": error,
        }),
    };
    asked.iter().map(one).collect()
}

fn human(asked: &[Asked]) -> String {
    if asked.is_empty() {
        return "No node of this user runs on this machine. Start one: shoal new, then shoal up run.toml\n".into();
    }
    let heading = [
        "RUN", "NODE", "ROUND", "DIGEST", "PHASE", "MEMBERS", "TOK/S", "SENT", "RECEIVED", "TRAIN",
        "HELD OUT",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(asked.iter().map(row));
    let mut table = show::table(&rows).into_iter();
    let mut text = table.next().unwrap_or_default() + "\n";
    for (line, asked) in table.zip(asked) {
        text += &format!("{line}\n");
        let below =
            asked.answer.as_ref().map_or_else(String::as_str, |status| status.waiting.as_str());
        if !below.is_empty() {
            text += &format!("  {below}\n");
        }
        let stopping = asked.answer.as_ref().ok().and_then(|status| status.stopping.line());
        text += &stopping.map_or(String::new(), |line| format!("  {line}\n"));
    }
    text
}

fn row(asked: &Asked) -> Vec<String> {
    let Ok(status) = &asked.answer else {
        let names = [asked.node.run.to_string(), asked.node.peer.to_string()];
        return names.iter().map(|name| show::short(name).to_owned()).collect();
    };
    // The node counts itself.
    let alive = 1 + status.members.iter().filter(|member| member.alive).count();
    let loss = |loss: Option<f64>| loss.map_or("-".into(), |loss| format!("{loss:.4}"));
    vec![
        format!("{} {}", status.run_name, show::short(&status.run_id)),
        show::short(&status.peer).to_owned(),
        format!("{}/{}", status.round, status.rounds_total),
        show::short(&status.digest).to_owned(),
        status.phase.clone(),
        alive.to_string(),
        show::count(status.tokens_per_s),
        show::bytes(status.bytes_sent),
        show::bytes(status.bytes_received),
        loss(status.train_loss),
        loss(status.val_loss),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_node::status::MemberStatus;
    use shoal_protocol::id::{PeerId, RunId};

    fn asked(answer: Result<NodeStatus, String>) -> Asked {
        let (peer, run) = (PeerId([0xab; 32]), RunId([0xcd; 32]));
        Asked {
            node: LocalNode { peer, run, pid: 7, addresses: vec![], api: None, same_host: true },
            answer,
        }
    }

    fn status() -> NodeStatus {
        NodeStatus {
            run_id: "cdcdcdcdcdcd".into(),
            run_name: "fish".into(),
            peer: "abababababab".into(),
            round: 3,
            rounds_total: 100,
            digest: "0123456789".into(),
            phase: "gathering".into(),
            waiting: "waits for 2 peers until 12 s".into(),
            members: vec![
                MemberStatus { alive: true, ..MemberStatus::default() },
                MemberStatus::default(),
            ],
            tokens_per_s: 12_345.0,
            bytes_sent: 5_000_000,
            train_loss: Some(1.5),
            val_loss: Some(1.75),
            ..NodeStatus::default()
        }
    }

    #[test]
    fn a_node_is_one_row_and_what_it_waits_for() {
        let text = human(&[asked(Ok(status())), asked(Err("is starting".into()))]);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        let row =
            "fish cdcdcdcd abababab 3/100 01234567 gathering 2 12.3k 5.00 MB 0 B 1.5000 1.7500";
        assert_eq!(lines[1].join(" "), row);
        assert_eq!(lines[2].join(" "), "waits for 2 peers until 12 s");
        assert_eq!(
            (lines[3].join(" "), lines[4].join(" ")),
            ("cdcdcdcd abababab".into(), "is starting".into())
        );
    }

    #[test]
    fn nobody_and_json() {
        assert!(human(&[]).contains("No node"));
        assert_eq!(json(&[]), json!([]));
        let both = json(&[asked(Ok(status())), asked(Err("gone".into()))]);
        assert_eq!((&both[0]["round"], &both[1]["error"]), (&json!(3), &json!("gone")));
        assert_eq!(serde_json::from_value::<NodeStatus>(both[0].clone()).unwrap(), status());
    }
}
