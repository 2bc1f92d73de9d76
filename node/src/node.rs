//! Stand-in: a node that only pretends.

use crate::model::initial_params;
use crate::net::ticket::Ticket;
use crate::settings::Settings;
use crate::status::{NodeStatus, RoundStatus};
use crate::store::{Checkpoint, save};
use shoal_protocol::id::Digest;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant, SystemTime};

/// Up.
pub struct Started {
    /// T.
    pub ticket: String,
    /// A.
    pub api: SocketAddr,
    /// P.
    pub peer: String,
}

const ROUND_S: f64 = 1.5;

/// Runs.
///
/// # Errors
/// Some.
pub fn run(
    settings: Settings,
    ready: impl FnOnce(&Started) + Send + 'static,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    std::fs::create_dir_all(&settings.home)?;
    let listener = TcpListener::bind(settings.api)?;
    let api = listener.local_addr()?;
    let key = crate::net::identity::load_or_create(&settings.key_file())?;
    let remote = key.public().to_peer_id();
    let peer = crate::net::identity::from_libp2p(&remote).unwrap().to_string();
    let address = format!("/ip4/127.0.0.1/tcp/1/p2p/{remote}").parse()?;
    let ticket =
        Ticket { run: settings.spec.id(), addresses: vec![address], invitation: None }.to_string();
    let mark = settings.local_dir.clone().unwrap().join("epoch");
    if !mark.exists() {
        std::fs::write(&mark, "")?;
    }
    let epoch = std::fs::metadata(&mark)?.modified()?;
    ready(&Started { ticket: ticket.clone(), api, peer: peer.clone() });
    let mut saved = None;
    let first = (SystemTime::now().duration_since(epoch)?.as_secs_f64() / ROUND_S) as u64;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer);
        let t = SystemTime::now().duration_since(epoch)?.as_secs_f64() / ROUND_S;
        let round = (t as u64).min(settings.spec.rounds);
        let within = t - round as f64;
        let over = round == settings.spec.rounds;
        if over && saved.is_none() {
            let params = initial_params(&settings.spec.model, 1);
            let checkpoint = Checkpoint {
                round,
                digest: Digest::of(b"x"),
                spec: settings.spec.clone(),
                params,
                momentum: vec![],
                extras: Default::default(),
                losses: vec![],
            };
            saved = Some(save(&settings.checkpoints(), &checkpoint, 2)?);
        }
        let phase = match within {
            _ if over => "finished",
            x if x < 0.7 => "training",
            x if x < 0.8 => "gathering",
            x if x < 0.83 => "reducing",
            x if x < 0.9 => "confirming",
            _ => "applying",
        };
        let row = |round: u64| RoundStatus {
            round,
            digest: Digest::of(&round.to_le_bytes()).to_string(),
            members: 4,
            attempt: 0,
            tokens: 4 * 30_720,
            val_loss: (round < t as u64 || within > 0.2)
                .then_some(1.2 + 3.0 / (round as f64).sqrt()),
            exchange_s: (round > first).then_some(0.05),
            bytes_sent: 2_345_678,
            at_s: 0.0,
        };
        let status = NodeStatus {
            run_id: settings.spec.id().to_string(),
            peer: peer.clone(),
            round,
            rounds_total: settings.spec.rounds,
            digest: Digest::of(&round.to_le_bytes()).to_string(),
            phase: phase.into(),
            waiting: "its own local steps, 12 of 30, about 6 s more".into(),
            tokens: round * 30_720,
            tokens_per_s: 2_100.0,
            bytes_sent: round * 2_345_678,
            bytes_received: round * 2_345_678,
            train_loss: (round > first).then_some(1.4 + 3.0 / (round as f64).sqrt()),
            ticket: ticket.clone(),
            checkpoint: saved.clone(),
            uptime_s: begun.elapsed().as_secs_f64(),
            peak_memory_bytes: 234_000_000,
            rounds: (1..=round).map(row).collect(),
            ..NodeStatus::default()
        };
        let json = serde_json::to_string(&status)?;
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{json}", json.len());
    }
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}
