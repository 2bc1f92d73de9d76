//! What conductor and peers tell each other: JSON values, a line each, over TCP.

use crate::bench::cpu::{Cpu, Ledger};
use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Most bytes of a line.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// How long a peer looks for the conductor.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a peer says first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub rank: usize,
    pub addresses: Vec<String>,
}

/// What the conductor says to a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Connect to these, until all are connected.
    Meet(Vec<String>),
    /// Do the round that you are prepared for.
    Go,
    /// Say how far the last result is off.
    Compare,
    /// That was all.
    End,
}

/// What a peer says of its work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Word {
    /// Prepared for the next round.
    Ready,
    /// A round is done.
    Round(RoundFigures),
    /// How far the last result is off.
    Error(f64),
}

/// One round at one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RoundFigures {
    /// From the word to the whole mean in memory.
    pub seconds: f64,
    /// Then: what error feedback keeps for the next round.
    pub settle_s: f64,
    /// Bytes handed to the network, encryption and framing included.
    pub bytes_sent: u64,
    /// Processor time by thread.
    pub cpu: Cpu,
    /// Processor time of the one thread that is not the network's, by kind of work.
    pub work: Ledger,
}

/// One end of the connection.
pub(super) struct Line {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Line {
    pub(super) fn new(stream: TcpStream) -> Result<Line> {
        stream.set_nodelay(true)?;
        let writer = stream.try_clone()?;
        Ok(Line { reader: BufReader::new(stream), writer })
    }

    /// Connects to the conductor, who may not be there yet.
    pub(super) fn dial(control: SocketAddr) -> Result<Line> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match TcpStream::connect(control) {
                Ok(stream) => return Line::new(stream),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| format!("no conductor at {control}"));
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    pub(super) fn tell<T: Serialize>(&mut self, value: &T) -> Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.writer.write_all(&line).context("telling the other side")
    }

    pub(super) fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        let read = self.reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)?;
        ensure!(read > 0, "the other side is gone");
        serde_json::from_str(&line).with_context(|| format!("not understood: {}", line.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn what_is_told_is_heard() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = Line::dial(listener.local_addr().unwrap()).unwrap();
        let mut conductor = Line::new(listener.accept().unwrap().0).unwrap();
        let hello = Hello { rank: 2, addresses: vec!["a".into()] };
        peer.tell(&hello).unwrap();
        assert_eq!(conductor.hear::<Hello>().unwrap(), hello);
        conductor.tell(&Order::Meet(vec!["b".into()])).unwrap();
        conductor.tell(&Order::Go).unwrap();
        assert_eq!(peer.hear::<Order>().unwrap(), Order::Meet(vec!["b".into()]));
        assert_eq!(peer.hear::<Order>().unwrap(), Order::Go);
        drop(conductor);
        assert!(peer.hear::<Order>().is_err());
    }
}
