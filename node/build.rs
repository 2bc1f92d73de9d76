//! Lets every linked program and test find libtorch without an exported variable.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by torch-sys for the crates that depend on it directly. The real folder is written into the program,
    // so that neither the clone nor its link need stay where they are.
    let Some(given) = env::var_os("DEP_TCH_LIBTORCH_LIB") else {
        return;
    };
    let lib = fs::canonicalize(&given).unwrap_or_else(|_| PathBuf::from(given));
    println!("cargo::metadata=libtorch_lib={}", lib.display());
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    link_cuda(&lib);
    serve_doctests(&lib);
}

/// Nothing calls `torch_cuda` by name (it registers itself when loaded), so the linker must be told to keep it.
fn link_cuda(lib: &Path) {
    if lib.join("libtorch_cuda.so").exists() {
        println!("cargo::rustc-link-arg=-Wl,--push-state,--no-as-needed,-ltorch_cuda,--pop-state");
    }
}

/// Doctests are linked without our arguments, but cargo has them look in search paths under the target folder.
#[cfg(unix)]
fn serve_doctests(lib: &Path) {
    let Some(out) = env::var_os("OUT_DIR") else {
        return;
    };
    let link = PathBuf::from(out).join("libtorch");
    let _ = fs::remove_file(&link);
    match std::os::unix::fs::symlink(lib, &link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            println!("cargo::warning=doctests may not find libtorch: {error}");
        }
        _ => println!("cargo::rustc-link-search=native={}", link.display()),
    }
}

#[cfg(not(unix))]
fn serve_doctests(_lib: &Path) {}
