//! What `prepare` does with personal data, from its flags.

use anyhow::Context;
use clap::Args;
use shoal_node::anonymise::{Action, Anonymiser, Cleaned, Key, Kind, Rules};
use shoal_node::prepare::{Anonymise, Masked};
use shoal_protocol::id::Digest;
use std::path::PathBuf;

/// Which personal data go, and how.
#[derive(Args, Clone, Debug)]
pub struct Personal {
    /// E-mail, telephone and account numbers, keys, addresses, names, ...: `mask`, `pseudonym`, `drop` (the document), `off`, or a
    /// file of rules (docs/ANONYMISE.md)
    #[arg(long, value_name = "HOW", default_value = "mask")]
    anonymise: How,
    /// Leave kinds as they are, with commas between: for novels, name and address
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = kind)]
    keep: Vec<Kind>,
    /// A file with the secret that pseudonyms are made under
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
}

/// `--anonymise`.
#[derive(Clone, Debug)]
enum How {
    All(Action),
    Rules(PathBuf),
}

impl std::str::FromStr for How {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<How, Self::Err> {
        Ok(Action::from_name(text).map_or_else(|| How::Rules(text.into()), How::All))
    }
}

fn kind(name: &str) -> Result<Kind, String> {
    let names = Kind::BUILT_IN.map(Kind::name).join(", ");
    let found = Kind::BUILT_IN.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| format!("there is no kind {name:?}: take some of {names}"))
}

/// An anonymiser, and how it was set.
pub struct Cleaning {
    anonymiser: Anonymiser,
    identity: String,
}

impl Personal {
    /// What the flags ask for; nothing if all kinds stay.
    ///
    /// # Errors
    /// The rules or the key cannot be read, or pseudonyms are wanted without a key.
    pub fn cleaning(&self) -> anyhow::Result<Option<Cleaning>> {
        if matches!(self.anonymise, How::All(Action::Off)) {
            return Ok(None);
        }
        let (mut rules, told) = self.rules()?;
        self.keep.iter().for_each(|kind| rules.set(*kind, Action::Off));
        let secret = self.key_file.as_ref().map(|path| {
            std::fs::read(path).with_context(|| format!("reading the key in {}", path.display()))
        });
        let secret = secret.transpose()?;
        let kept: Vec<&str> = self.keep.iter().map(|kind| kind.name()).collect();
        let key = secret.as_ref().map(|secret| Digest::of(secret).to_string());
        let identity = format!("{told}, kept: {kept:?}, key: {}", key.as_deref().unwrap_or("none"));
        let anonymiser = Anonymiser::new(&rules, secret.as_deref().map(Key::derive)).context(
            "--key-file PATH gives one: any file with a few dozen bytes that nobody guesses",
        )?;
        Ok(Some(Cleaning { anonymiser, identity: Digest::of(identity.as_bytes()).to_string() }))
    }

    /// The rules, and all that they follow from.
    fn rules(&self) -> anyhow::Result<(Rules, String)> {
        match &self.anonymise {
            How::Rules(path) => {
                let text = std::fs::read_to_string(path).with_context(|| {
                    format!(
                        "{} is neither mask, pseudonym, drop or off nor a file of rules",
                        path.display()
                    )
                })?;
                Ok((Rules::parse(&text, path)?, text))
            }
            How::All(action) => {
                let mut rules = Rules::default();
                Kind::BUILT_IN.into_iter().for_each(|kind| rules.set(kind, *action));
                Ok((rules, format!("{action:?}")))
            }
        }
    }
}

impl Anonymise for Cleaning {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn clean(&self, text: &str) -> Masked {
        let Cleaned { text, counts, drop, .. } = self.anonymiser.clean(text);
        let counts = counts.iter().map(|(kind, n)| (self.anonymiser.name(kind).to_owned(), n));
        let drop = drop.then(|| "it holds personal data of a kind whose documents go".to_owned());
        Masked { text, counts: counts.collect(), drop }
    }
}
