//! Nodes of one host find each other through a folder of small files, one a node: `<peer>.json`, rewritten every few seconds.
//!
//! The same files tell `shoal status` which nodes this machine runs.

use serde::{Deserialize, Serialize};
use shoal_protocol::id::{PeerId, RunId};
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the folder is read, and how often while the node is new.
pub(super) const POLL: Duration = Duration::from_secs(1);
pub(super) const POLL_FIRST: Duration = Duration::from_millis(100);
/// So many polls is a node new.
pub(super) const POLLS_FIRST: u32 = 30;
/// How often a node rewrites its file, in polls.
pub(super) const HEARTBEAT_POLLS: u32 = 3;
/// A file that was not rewritten for so long is of a node that is gone or frozen.
const FRESH: Duration = Duration::from_secs(15);
/// Most bytes of one file that are read.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// Most files that are read.
const FILES_MAX: usize = 1024;

/// A node of this host, as it announces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNode {
    /// Its name.
    pub peer: PeerId,
    /// The run that it takes part in.
    pub run: RunId,
    /// Its process.
    pub pid: u32,
    /// Where it listens, loopback included.
    pub addresses: Vec<String>,
    /// Where it serves its status, if it does.
    pub api: Option<SocketAddr>,
    /// Whether it shares our network: not so between containers that share only the folder.
    pub same_host: bool,
}

/// What is in a file.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    peer: String,
    run: String,
    pid: u32,
    host: String,
    addresses: Vec<String>,
    api: Option<SocketAddr>,
}

/// Where nodes of this user announce themselves: `$XDG_RUNTIME_DIR/shoal`, or `/tmp/shoal-<uid>`.
pub fn default_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(folder) if folder.is_absolute() && folder.is_dir() => folder.join("shoal"),
        _ => std::env::temp_dir().join(format!("shoal-{}", own_uid())),
    }
}

/// The nodes that are alive, in order of their names. Files of the dead are removed on the way.
///
/// # Errors
/// If the folder exists and cannot be read, or is open to others.
pub fn list(folder: &Path) -> io::Result<Vec<LocalNode>> {
    match check_private(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        checked => checked?,
    }
    let host = host();
    let files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    let mut nodes: Vec<_> = files.take(FILES_MAX).filter_map(|path| read(&path, &host)).collect();
    nodes.sort_by_key(|node| node.peer);
    Ok(nodes)
}

/// One live node; `None` if it is gone or the file is not one of ours.
fn read(path: &Path, host: &str) -> Option<LocalNode> {
    let meta = fs::symlink_metadata(path).ok()?;
    if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
        return None;
    }
    let record: Record = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let same_host = record.host == host;
    let is_fresh = meta.modified().ok()?.elapsed().map_or(true, |age| age < FRESH);
    let is_dead = same_host && !is_alive(record.pid);
    if is_dead || !is_fresh {
        if is_dead {
            let _ = fs::remove_file(path);
        }
        return None;
    }
    Some(LocalNode {
        peer: PeerId::from_hex(&record.peer)?,
        run: RunId::from_hex(&record.run)?,
        pid: record.pid,
        addresses: record.addresses,
        api: record.api,
        same_host,
    })
}

/// This node's file in the folder.
#[derive(Clone, Debug)]
pub(super) struct Announcement {
    folder: PathBuf,
    file: PathBuf,
    host: String,
}

impl Announcement {
    /// Prepares the folder (mode 0700).
    ///
    /// # Errors
    /// If it cannot be made, or others could write to it.
    pub(super) fn prepare(folder: &Path, me: PeerId) -> io::Result<Self> {
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => check_private(folder)?,
        }
        let file = folder.join(format!("{me}.json"));
        Ok(Announcement { folder: folder.into(), file, host: host() })
    }

    /// Writes the file anew, in one step for its readers.
    pub(super) fn renew(
        &self,
        me: PeerId,
        run: RunId,
        addresses: Vec<String>,
        api: Option<SocketAddr>,
    ) -> io::Result<()> {
        let (peer, run) = (me.to_string(), run.to_string());
        let record =
            Record { peer, run, pid: std::process::id(), host: self.host.clone(), addresses, api };
        let draft = self.file.with_extension("draft");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(&record)?)?;
        fs::rename(&draft, &self.file)
    }

    /// The nodes in the folder, this one left out.
    pub(super) fn others(&self, me: PeerId) -> io::Result<Vec<LocalNode>> {
        let mut nodes = list(&self.folder)?;
        nodes.retain(|node| node.peer != me);
        Ok(nodes)
    }

    /// Removes the file.
    pub(super) fn withdraw(&self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Refuses a folder in which another user could plant addresses.
fn check_private(folder: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(folder)?;
    if meta.is_dir() && meta.uid() == own_uid() && meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    let shown = folder.display();
    let reason = format!(
        "{shown} must be a folder of this user alone: run `chmod 700 {shown}`, or remove it"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

/// Names the network and process namespaces, so that loopback addresses and pids are not mistaken across containers.
fn host() -> String {
    let link = |name| fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
    format!("{} {}", link("net").display(), link("pid").display())
}

fn own_uid() -> u32 {
    // SAFETY: geteuid takes nothing, touches no memory and always succeeds.
    unsafe { libc::geteuid() }
}

fn is_alive(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: signal 0 is never delivered; the call only asks whether the process exists.
    let answer = unsafe { libc::kill(pid, 0) };
    pid > 0 && (answer == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn announced(folder: &Path, peer: u8) -> Announcement {
        let me = PeerId([peer; 32]);
        let announcement = Announcement::prepare(folder, me).unwrap();
        announcement.renew(me, RunId([9; 32]), vec!["/ip4/127.0.0.1/tcp/1".into()], None).unwrap();
        announcement
    }

    #[test]
    fn the_living_are_listed_and_the_withdrawn_are_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("shoal");
        let first = announced(&folder, 1);
        announced(&folder, 2);
        let names = |nodes: Vec<LocalNode>| nodes.iter().map(|n| n.peer.0[0]).collect::<Vec<_>>();
        assert_eq!(names(list(&folder).unwrap()), [1, 2]);
        assert_eq!(names(first.others(PeerId([1; 32])).unwrap()), [2]);
        first.withdraw();
        assert_eq!(names(list(&folder).unwrap()), [2]);
    }

    #[test]
    fn the_dead_are_removed_and_rubbish_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("shoal");
        let file = announced(&folder, 1).file;
        let text = fs::read_to_string(&file).unwrap();
        let own = format!("\"pid\":{}", std::process::id());
        fs::write(&file, text.replace(&own, "\"pid\":999999999")).unwrap();
        fs::write(folder.join("x.json"), vec![0xff; 100]).unwrap();
        fs::write(folder.join("y.json"), vec![b'['; 20_000]).unwrap();
        assert_eq!(list(&folder).unwrap(), []);
        assert!(!file.exists());
    }

    #[test]
    fn a_folder_open_to_others_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Announcement::prepare(root.path(), PeerId([1; 32])).unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
        assert_eq!(list(&root.path().join("missing")).unwrap(), []);
    }
}
