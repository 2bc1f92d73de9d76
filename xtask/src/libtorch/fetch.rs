//! Fetches libtorch from Python's package index: no CPU-only archive is there, so the ordinary wheel's CPU part is taken.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::cache::Workplace;
use super::python::Python;
use super::{VERSION, install, set_libtorch};
use crate::cargo::announce;
use crate::fault::Fault;
use crate::repository;

/// The wheels twice over (pip copies what it has downloaded); unpacking needs less. Measured: 1.1 GB.
const ROOM_BYTES: u64 = 1_500_000_000;

/// One wheel serves every Python, since only its C++ part is used; this is the one whose digest is pinned.
const WHEEL_TAGS: [&str; 8] =
    ["--implementation", "cp", "--python-version", "3.11", "--abi", "cp311", "--abi", "none"];

/// The platform tags that the pinned wheels bear, less the architecture.
const PLATFORMS: [&str; 3] = ["manylinux_2_28", "manylinux_2_25", "manylinux_2_17"];

/// Downloads, unpacks, and puts the result in place in one step. Two clones may do so at once: the first to
/// finish wins, and the other takes the winner's.
pub fn fetch(cache: &Path, dest: &Path) -> Result<(), Fault> {
    let arch =
        packaged_arch(std::env::consts::OS, std::env::consts::ARCH, cfg!(target_env = "gnu"))?;
    let python = python_with_pip()?;
    let work = Workplace::open(cache).map_err(|error| unwritable(cache, &error))?;
    check_room(cache, python.free_bytes(cache))?;
    announce(&format!(
        "fetching libtorch {VERSION} into {} (530 MB, once for all clones)",
        cache.display()
    ));
    let wheels = download(&python, &work, arch)?;
    announce("unpacking libtorch");
    let unpacked = unpack(&python, &work, &wheels)?;
    publish(&unpacked, dest).map_err(|error| unwritable(cache, &error))
}

fn packaged_arch(os: &str, arch: &'static str, gnu: bool) -> Result<&'static str, Fault> {
    if os == "linux" && gnu && ["x86_64", "aarch64"].contains(&arch) {
        return Ok(arch);
    }
    Err(Fault::new(format!("libtorch is not fetched by itself on {os} {arch}"), set_libtorch()))
}

fn python_with_pip() -> Result<Python, Fault> {
    let fault = |what: &str, package: &str| {
        let mend = format!("install {package}, used once to fetch libtorch, or {}", set_libtorch());
        Fault::new(what, mend)
    };
    let python = Python::find()
        .ok_or_else(|| fault("there is no Python 3", "Python with pip (Debian: python3-pip)"))?;
    if !python.has_pip() {
        return Err(fault("Python has no pip", "pip (Debian: python3-pip)"));
    }
    Ok(python)
}

/// An unknown amount of room is taken to be enough: the writing itself will tell.
fn check_room(cache: &Path, free_bytes: Option<u64>) -> Result<(), Fault> {
    match free_bytes {
        Some(free) if free < ROOM_BYTES => {
            Err(disk_full(cache, &format!("{} MB are free", free / 1_000_000)))
        }
        _ => Ok(()),
    }
}

fn download(python: &Python, work: &Workplace, arch: &str) -> Result<PathBuf, Fault> {
    let wheels =
        work.subfolder("wheels").map_err(|error| unwritable(Path::new("the cache"), &error))?;
    let scratch =
        work.subfolder("scratch").map_err(|error| unwritable(Path::new("the cache"), &error))?;
    let pinned = repository::root().join(format!("xtask/libtorch/{arch}.txt"));
    let mut pip = python.command();
    pip.args([
        "-m",
        "pip",
        "download",
        "--no-cache-dir",
        "--no-deps",
        "--only-binary=:all:",
        "--retries",
        "3",
    ])
    .args(WHEEL_TAGS)
    .args(PLATFORMS.iter().map(|platform| format!("--platform={platform}_{arch}")))
    .arg("--require-hashes")
    .arg("--requirement")
    .arg(pinned)
    .arg("--dest")
    .arg(&wheels)
    .env("TMPDIR", scratch)
    .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    run(&mut pip)?;
    Ok(wheels)
}

fn unpack(python: &Python, work: &Workplace, wheels: &Path) -> Result<PathBuf, Fault> {
    let unpacked = work.subfolder("libtorch").map_err(|error| unwritable(wheels, &error))?;
    let script = repository::root().join("xtask/libtorch/unpack.py");
    run(python.command().arg(script).arg(wheels).arg(&unpacked))?;
    fs::write(unpacked.join("build-version"), format!("{VERSION}\n"))
        .map_err(|error| unwritable(&unpacked, &error))?;
    Ok(unpacked)
}

fn publish(unpacked: &Path, dest: &Path) -> io::Result<()> {
    if install::examine(dest).is_err() && dest.exists() {
        fs::remove_dir_all(dest)?;
    }
    match fs::rename(unpacked, dest) {
        Err(_) if install::examine(dest).is_ok() => Ok(()),
        result => result,
    }
}

/// Runs the command with its progress in view; its complaints become one sentence.
fn run(command: &mut Command) -> Result<(), Fault> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output: Output = command
        .stdout(Stdio::inherit())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .map_err(|error| {
            Fault::new(format!("{program} cannot be run ({error})"), set_libtorch())
        })?;
    if output.status.success() {
        Ok(())
    } else {
        Err(complaint(&String::from_utf8_lossy(&output.stderr)))
    }
}

/// What pip's or the unpacker's complaint comes down to.
fn complaint(stderr: &str) -> Fault {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| stderr.contains(phrase));
    if says(&["No space left on device", "Disk quota exceeded"]) {
        return disk_full(Path::new("the cache folder"), "the disk ran full");
    }
    if says(&["DO NOT MATCH THE HASHES"]) {
        let mend = format!(
            "fetch again; if that does not help, the index or a proxy alters files: {}",
            set_libtorch()
        );
        return Fault::new("what pip downloaded is not the libtorch that is pinned here", mend);
    }
    if says(&[
        "Retrying (",
        "ConnectionError",
        "Read timed out",
        "ProxyError",
        "Max retries exceeded",
    ]) {
        let mend =
            format!("connect this machine, or set pip's proxy or mirror, or {}", set_libtorch());
        return Fault::new(
            "libtorch cannot be fetched, for pip does not reach its package index",
            mend,
        );
    }
    let last =
        stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Fault::new(format!("libtorch cannot be fetched ({})", last.trim()), set_libtorch())
}

fn disk_full(cache: &Path, how: &str) -> Fault {
    let needed = ROOM_BYTES / 1_000_000;
    Fault::new(
        format!(
            "there is no room for libtorch in {} ({how}, {needed} MB are needed)",
            cache.display()
        ),
        "make room, or set SHOAL_CACHE to a folder on another disk",
    )
}

fn unwritable(cache: &Path, error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::StorageFull {
        return disk_full(cache, "the disk is full");
    }
    Fault::new(
        format!("{} cannot be written to ({error})", cache.display()),
        "set SHOAL_CACHE to a folder of your own",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_without_a_pinned_wheel_are_told_what_to_set() {
        assert_eq!(packaged_arch("linux", "x86_64", true), Ok("x86_64"));
        for (os, arch, gnu) in
            [("macos", "aarch64", false), ("windows", "x86_64", true), ("linux", "x86_64", false)]
        {
            let fault = packaged_arch(os, arch, gnu).unwrap_err().to_string();
            assert!(fault.contains(os) && fault.contains("LIBTORCH"), "{fault}");
        }
    }

    #[test]
    fn a_full_disk_is_seen_before_the_download() {
        let fault = check_room(Path::new("/cache"), Some(200_000_000)).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "there is no room for libtorch in /cache (200 MB are free, 1500 MB are needed): \
             make room, or set SHOAL_CACHE to a folder on another disk."
        );
        assert_eq!(check_room(Path::new("/cache"), Some(ROOM_BYTES)), Ok(()));
        assert_eq!(check_room(Path::new("/cache"), None), Ok(()));
    }

    #[test]
    fn complaints_become_one_sentence() {
        let rows = [
            (
                "WARNING: Retrying (Retry(total=2\nERROR: No matching distribution found",
                "does not reach",
            ),
            (
                "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM",
                "not the libtorch that is pinned",
            ),
            ("ERROR: Could not install: [Errno 28] No space left on device", "no room"),
            (
                "ERROR: No matching distribution found for torch==2.11.0\n\n",
                "No matching distribution",
            ),
            ("", "no reason given"),
        ];
        for (stderr, expected) in rows {
            let sentence = complaint(stderr).to_string();
            assert!(sentence.contains(expected) && sentence.lines().count() == 1, "{sentence}");
        }
    }
}
