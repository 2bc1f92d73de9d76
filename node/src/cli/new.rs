//! `shoal new`: a run file with sane values.

use super::place;
use anyhow::{Context, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use shoal_node::model::preset::PRESETS;
use shoal_node::net::identity::{NodeKeyring, load_or_create};
use shoal_node::runfile::{Template, reference, template};
use shoal_protocol::id::{Keyring, PeerId};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes a commented run file with sane values.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct New {
    /// The file to write; `-` for the standard output
    #[arg(short, long, value_name = "FILE", default_value = "run.toml")]
    output: PathBuf,
    /// The model's size in parameters
    #[arg(long, default_value = "1m", value_parser = PossibleValuesParser::new(PRESETS))]
    preset: String,
    /// The run's name [default: the file's]
    #[arg(long)]
    name: Option<String>,
    /// Print what every key of a run file means, and write nothing
    #[arg(long)]
    reference: bool,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// Folder of the node's key, whose id goes into the file as the run's creator [default: $SHOAL_HOME, or ~/.local/share/shoal]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
}

const EXAMPLE: &str = "\
EXAMPLE
  shoal new                                   run.toml: a small model on made stories
  shoal new -o novels.toml --preset 25m       then set `text` in it to a folder of novels";

impl New {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        if self.reference {
            super::say(&reference());
            return Ok(());
        }
        let home = self.home.clone().unwrap_or_else(place::default_home);
        let stem = self.output.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let stem = stem.filter(|stem| stem != "-");
        let name = self.name.clone().or(stem).unwrap_or_else(|| "run".into());
        if name.is_empty() || name.len() > 64 {
            bail!("--name {name:?} has {} bytes: give 1 to 64", name.len());
        }
        let new = Template { name: &name, creator: own_id(&home)?, preset: &self.preset };
        let text = template(&new).context("there is no such preset")?;
        if self.output.as_os_str() == "-" {
            super::say(&text);
            return Ok(());
        }
        write(&self.output, &text, self.force)?;
        super::say(&format!(
            "{} is written. Look at it, then start: shoal up {}\n",
            self.output.display(),
            self.output.display()
        ));
        Ok(())
    }
}

/// The id of the node that has its key in `home`; the key is made if there is none.
fn own_id(home: &Path) -> anyhow::Result<PeerId> {
    let keypair = load_or_create(&home.join(shoal_node::settings::KEY))?;
    let keyring = NodeKeyring::new(keypair).context("the node's key is not an ed25519 key")?;
    Ok(keyring.id())
}

fn write(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    let opened =
        if force { options.truncate(true).open(path) } else { options.create_new(true).open(path) };
    match opened.and_then(|mut file| file.write_all(text.as_bytes())) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!(
                "{} is there already: choose another name with -o, or write over it with --force",
                path.display()
            )
        }
        written => written.with_context(|| format!("{} cannot be written", path.display())),
    }
}
