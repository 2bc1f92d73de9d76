//! Honest nodes as a person starts them, and waiting for what they tell.

use shoal_node::net::local;
use shoal_node::probe::node_status;
use shoal_node::runfile::RunFile;
use shoal_node::status::NodeStatus;
use shoal_protocol::run::RunSpec;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for one thing: only a test that fails takes so long.
const PATIENCE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(50);
/// For one answer of a node that is busy.
const ANSWER: Duration = Duration::from_secs(10);
/// Lines of a log that a failure quotes.
const LOG_LINES: usize = 20;

/// Parameters are averaged, without momentum: a step into which late work comes as well may not carry so small a model far off, or a
/// loss would tell nothing of what liars did.
const RUN: &str = "name = \"liars\"\nrounds = 100000\n\
    [model]\ndim = 16\nlayers = 1\nheads = 2\nhidden = 24\ncontext = 16\ntied = true\n\
    [data]\nstories_bytes = 200_000\n[inner]\nsteps = 300\nbatch = 4\n[outer]\nlr = 1.0\nmomentum = 0.0\n[exchange]\nchunk_elems = 512\n";

/// The nodes and the folder that all of theirs is in. They are killed when this is dropped.
pub struct Nodes {
    folder: TempDir,
    pub spec: RunSpec,
    children: Vec<Child>,
    names: Vec<&'static str>,
}

impl Nodes {
    /// Starts two nodes of a small run.
    pub fn start() -> Nodes {
        let mut nodes = Nodes::of(RUN, tempfile::tempdir().unwrap());
        ["a", "b"].into_iter().for_each(|name| nodes.begin(name, "up run.toml"));
        nodes
    }

    /// Starts three nodes of a small run with this table more.
    pub fn three(table: &str) -> Nodes {
        let mut nodes = Nodes::of(&format!("{RUN}{table}"), tempfile::tempdir().unwrap());
        ["a", "b", "c"].into_iter().for_each(|name| nodes.begin(name, "up run.toml"));
        nodes
    }

    /// Starts one node of a small run that begins with the model in the folder `begin`, and has this table more.
    pub fn beginning_with(folder: TempDir, table: &str) -> Nodes {
        let (head, tail) = RUN.split_once("[model]").unwrap();
        let (_, tail) = tail.split_once("[data]").unwrap();
        let run = format!("{head}[model]\nstart = \"begin\"\n[data]{tail}{table}");
        let mut nodes = Nodes::of(&run, folder);
        nodes.begin("a", "up run.toml");
        nodes
    }

    /// Starts one node of a small run that learns from a text, which this node alone has.
    pub fn with_text(text: &[u8]) -> Nodes {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("text.txt"), text).unwrap();
        let run = RUN.replace("stories_bytes = 200_000", "text = \"text.txt\"");
        let mut nodes = Nodes::of(&run, folder);
        nodes.begin("a", "up run.toml");
        nodes
    }

    fn of(run: &str, folder: TempDir) -> Nodes {
        let file = folder.path().join("run.toml");
        std::fs::write(&file, run).unwrap();
        let made = RunFile::read(&file).unwrap();
        let spec = made.resolve(None, None, folder.path()).unwrap().spec;
        Nodes { folder, spec, children: Vec::new(), names: Vec::new() }
    }

    fn begin(&mut self, name: &'static str, command: &str) {
        self.children.push(start(self.folder.path(), name, command));
        self.names.push(name);
    }

    /// Starts nodes that have a ticket and nothing else.
    pub fn join(&mut self, names: &[&'static str]) {
        self.join_with(names, "");
    }

    /// The same with these flags.
    pub fn join_with(&mut self, names: &[&'static str], flags: &str) {
        let ticket = self.until("a ticket", |nodes| {
            let ticket = nodes.statuses()?.first()?.ticket.clone();
            ticket.contains("shoal1").then_some(ticket)
        });
        names.iter().for_each(|name| self.begin(name, &format!("join {ticket} {flags}")));
    }

    /// Kills a node and starts it again, in the home that it had.
    pub fn restart(&mut self, name: &'static str) {
        let index = self.names.iter().position(|known| *known == name).unwrap();
        self.children[index].kill().unwrap();
        self.children[index].wait().unwrap();
        self.children[index] = start(self.folder.path(), name, "up run.toml");
    }

    /// What the nodes' homes and logs go by.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Where a node keeps what is its own.
    pub fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where they announce themselves.
    pub fn local(&self) -> PathBuf {
        self.folder.path().join("local")
    }

    /// What all tell of themselves; `None` as long as one of them is not up.
    pub fn statuses(&self) -> Option<Vec<NodeStatus>> {
        let known = local::list(&self.local()).ok()?;
        let status = |child: &Child| {
            let node = known.iter().find(|node| node.pid == child.id())?;
            node_status(node.api?, ANSWER).ok()
        };
        self.children.iter().map(status).collect()
    }

    /// What a node has logged, line by line, with its name in front.
    pub fn log_lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(log(self.folder.path(), name)).unwrap();
        text.lines().map(|line| format!("{name}: {line}")).collect()
    }

    /// Waits until `look` finds something; no node may end meanwhile.
    pub fn until<T>(&mut self, what: &str, look: impl Fn(&Nodes) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let ended = self.children.iter_mut().find_map(|child| child.try_wait().unwrap());
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
        for name in &self.names {
            let lines = self.log_lines(name);
            words.extend_from_slice(&lines[lines.len().saturating_sub(LOG_LINES)..]);
        }
        words.extend(self.statuses().into_iter().flatten().map(|status| status.waiting));
        words.join("\n")
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill(); // an error says that it has ended already
            let _ = child.wait();
        }
    }
}

fn log(folder: &Path, name: &str) -> PathBuf {
    folder.join(name).with_extension("log")
}

fn start(folder: &Path, name: &str, command: &str) -> Child {
    let flags = "--device cpu --threads 1 --eval 8 --no-mdns --listen 127.0.0.1:0 \
                 --local-dir local --alone-after 30 --home";
    Command::new(env!("CARGO_BIN_EXE_shoal"))
        .args(command.split_whitespace())
        .args(flags.split_whitespace())
        .arg(name)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(log(folder, name)).unwrap())
        .spawn()
        .unwrap()
}
