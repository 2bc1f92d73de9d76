//! Nodes as a person starts them, kills them and starts them again, and waiting for what they tell.

use shoal_node::net::local;
use shoal_node::probe::node_status;
use shoal_node::runfile::RunFile;
use shoal_node::status::NodeStatus;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for one thing: only a test that fails takes so long.
const PATIENCE: Duration = Duration::from_secs(180);
const TICK: Duration = Duration::from_millis(50);
/// For one answer of a node that is busy.
const ANSWER: Duration = Duration::from_secs(10);
/// Lines of a log that a failure quotes.
const LOG_LINES: usize = 20;

const RUN: &str = "name = \"gossip\"\nrounds = 100000\n\
    [model]\ndim = 16\nlayers = 1\nheads = 2\nhidden = 24\ncontext = 16\ntied = true\n\
    [data]\nstories_bytes = 200_000\n[strategy]\nname = \"noloco\"\n\
    [inner]\nsteps = 100\nbatch = 4\nlr = 0.01\n";
const FLAGS: &str = "--device cpu --threads 1 --eval 8 --no-mdns --listen 127.0.0.1:0 \
    --local-dir local --alone-after 60 --home";

/// The nodes and the folder that all of theirs is in. They are killed when this is dropped.
pub struct Nodes {
    folder: TempDir,
    children: BTreeMap<String, Child>,
    run: String,
}

impl Nodes {
    /// None yet, of a small run.
    pub fn new() -> Nodes {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.toml");
        std::fs::write(&file, RUN).unwrap();
        let made = RunFile::read(&file).unwrap().resolve(None, None, folder.path()).unwrap();
        Nodes { folder, children: BTreeMap::new(), run: made.spec.id().to_string() }
    }

    /// Starts one with the run file.
    pub fn up(&mut self, name: &str) {
        self.start(name, &["up", "run.toml"]);
    }

    /// Starts one with a ticket.
    pub fn join(&mut self, name: &str, ticket: &str) {
        self.start(name, &["join", ticket]);
    }

    /// Kills one; where its checkpoints lie.
    pub fn kill(&mut self, name: &str) -> PathBuf {
        let mut child = self.children.remove(name).expect("it was started");
        child.kill().unwrap();
        child.wait().unwrap();
        self.folder.path().join(name).join("runs").join(&self.run).join("checkpoints")
    }

    fn start(&mut self, name: &str, how: &[&str]) {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_shoal"))
            .args(how)
            .args(FLAGS.split_whitespace())
            .arg(name)
            .current_dir(self.folder.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.children.insert(name.into(), child);
    }

    /// What one tells of itself; `None` as long as it is not up.
    pub fn status(&self, name: &str) -> Option<NodeStatus> {
        let known = local::list(&self.folder.path().join("local")).ok()?;
        let pid = self.children.get(name)?.id();
        node_status(known.iter().find(|node| node.pid == pid)?.api?, ANSWER).ok()
    }

    /// What one has logged, in all its lives.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_path(name)).unwrap()
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).with_extension("log")
    }

    /// Waits until `look` finds something; no node may end meanwhile.
    pub fn until<T>(&mut self, what: &str, look: impl Fn(&Nodes) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let ended = self.children.values_mut().find_map(|child| child.try_wait().unwrap());
            assert_eq!(ended, None, "a node has ended\n{}", self.last_words());
            if let Some(found) = look(self) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} does not happen\n{}", self.last_words());
            std::thread::sleep(TICK);
        }
    }

    /// The end of each log, and what each waits for.
    fn last_words(&self) -> String {
        let mut words = Vec::new();
        for name in self.children.keys() {
            let log = self.log(name);
            let lines: Vec<&str> = log.lines().collect();
            let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
            words.extend(end.iter().map(|line| format!("{name}: {line}")));
            words.extend(self.status(name).map(|status| format!("{name}: {}", status.waiting)));
        }
        words.join("\n")
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill(); // an error says that it has ended already
            let _ = child.wait();
        }
    }
}
