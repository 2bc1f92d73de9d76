//! A node's process: how it is started, the one line it says when it is up, and its end, which nothing escapes.
//!
//! A child dies with the demo whatever happens to the demo: it is killed and waited for when its [`Process`] is dropped, a
//! kernel that can is told to kill it when its parent dies, and on its own it ends when its standard input does.

use crate::interrupt;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

/// A node that has not come up after this will not.
const START_PATIENCE: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_millis(20);
/// Lines of a log that an error quotes.
const LOG_LINES: usize = 12;

/// What a node says on its standard output when it is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The line that others join with.
    pub ticket: String,
    /// Where it serves its status.
    pub api: SocketAddr,
    /// Its id, hex.
    pub peer: String,
}

/// How to start one node.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub spec: PathBuf,
    pub home: PathBuf,
    pub local: PathBuf,
    pub log: PathBuf,
    pub data: Option<PathBuf>,
    pub peers: Vec<String>,
    pub threads: usize,
    /// How long it looks for others before it trains alone.
    pub alone_after: Duration,
}

impl Launch {
    fn command(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        let flag = |command: &mut Command, name: &str, path: &Path| {
            command.arg(name).arg(path);
        };
        command.arg("node");
        flag(&mut command, "--spec", &self.spec);
        flag(&mut command, "--home", &self.home);
        flag(&mut command, "--local-dir", &self.local);
        command.args(["--threads", &self.threads.to_string()]);
        command.args(["--alone-after-ms", &self.alone_after.as_millis().to_string()]);
        if let Some(data) = &self.data {
            flag(&mut command, "--data", data);
        }
        for peer in &self.peers {
            command.args(["--peer", peer]);
        }
        Ok(command)
    }
}

/// A running node.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    hello: Receiver<Hello>,
    begun: Instant,
    log: PathBuf,
}

impl Process {
    pub(super) fn start(launch: &Launch) -> Result<Process> {
        let log = File::create(&launch.log)
            .with_context(|| format!("making the log {}", launch.log.display()))?;
        let mut command = launch.command()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        // Ctrl-C in a terminal goes to the whole group; the nodes are for the demo to end.
        command.process_group(0);
        die_with_parent(&mut command);
        let mut child = command.spawn().context("starting a node")?;
        let stdout = child.stdout.take().context("a node's output")?;
        let hello = listen(stdout);
        Ok(Process { child, hello, begun: Instant::now(), log: launch.log.clone() })
    }

    /// What the node said when it came up; `None` as long as it has not (or once it was told).
    pub(super) fn hello(&mut self) -> Result<Option<Hello>> {
        match self.hello.try_recv() {
            Ok(hello) => Ok(Some(hello)),
            Err(TryRecvError::Empty) if self.begun.elapsed() > START_PATIENCE => {
                bail!("a node did not come up in {} s{}", START_PATIENCE.as_secs(), self.log_end())
            }
            Err(_) => Ok(None),
        }
    }

    /// Waits for [`Process::hello`].
    pub(super) fn wait_hello(&mut self) -> Result<Hello> {
        loop {
            interrupt::check()?;
            if let Some(hello) = self.hello()? {
                return Ok(hello);
            }
            self.check_alive()?;
            thread::sleep(TICK);
        }
    }

    /// An error if the node has ended, with what it said last.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended by itself with code {code}"),
            (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
        };
        bail!("a node {how}{}", self.log_end())
    }

    /// SIGKILL, and nothing left of it when this returns.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill(); // an error says that it has ended already
        let _ = self.child.wait();
    }

    /// Asks it to end.
    pub(super) fn ask_to_end(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // SAFETY: the process is our child and was not waited for, so that its id is still its own.
            unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        }
    }

    /// Waits until it has ended, and kills it if it has not by then.
    pub(super) fn end(&mut self, deadline: Instant) {
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(TICK);
        }
        self.kill();
    }

    fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        match last.is_empty() {
            true => String::new(),
            false => format!("; the end of its log:\n  {}", last.join("\n  ")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads a node's output to its end and hands on the one line that is for us.
fn listen(stdout: ChildStdout) -> Receiver<Hello> {
    let (send, receive) = mpsc::sync_channel(1);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(hello) = serde_json::from_str(&line) {
                let _ = send.try_send(hello); // nobody listens any more: then nobody needs it
            }
        }
    });
    receive
}

/// Has the kernel kill the child when the thread that started it dies, if it can.
fn die_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// For the node's side: ends this process when its standard input ends, that is, when the demo is gone.
pub fn end_with_stdin() {
    thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(script: &str, log: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(log).unwrap());
        die_with_parent(&mut command);
        let mut child = command.spawn().unwrap();
        let hello = listen(child.stdout.take().unwrap());
        Process { child, hello, begun: Instant::now(), log: log.to_owned() }
    }

    #[test]
    fn hears_the_line_among_others() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let hello =
            Hello { ticket: "t".into(), api: "127.0.0.1:1".parse().unwrap(), peer: "p".into() };
        let line = serde_json::to_string(&hello).unwrap();
        let mut node = process(&format!("echo hi; echo '{line}'; sleep 60"), log.path());
        assert_eq!(node.wait_hello().unwrap(), hello);
        node.check_alive().unwrap();
        node.ask_to_end();
        node.end(Instant::now() + Duration::from_secs(10));
        assert!(node.check_alive().unwrap_err().to_string().contains("signal 15"));
    }

    #[test]
    fn an_early_end_quotes_the_log() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut node = process("echo no room for me >&2; exit 3", log.path());
        let error = node.wait_hello().unwrap_err().to_string();
        assert!(error.contains("code 3") && error.contains("no room for me"), "{error}");
    }

    #[test]
    fn nothing_outlives_its_guard() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let node = process("sleep 60", log.path());
        let pid = node.child.id() as libc::pid_t;
        drop(node);
        // SAFETY: signal 0 only asks whether the process exists.
        assert_ne!(unsafe { libc::kill(pid, 0) }, 0);
    }
}
