//! What is looked for, what is done with it, and how often it was found.

use std::collections::BTreeMap;
use std::ops::Range;

/// A kind of item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An address of electronic mail (RFC 5322, RFC 6531), plain or with `[at]`.
    Email,
    /// A telephone number, international or national.
    Phone,
    /// An IPv4 or IPv6 address that may be somebody's.
    Ip,
    /// An international bank account number (ISO 13616).
    Iban,
    /// The number of a payment card (ISO/IEC 7812).
    Card,
    /// A number that a state gives a person: social security, tax, identity card.
    National,
    /// A key or token: of a cloud, a code host, a JWT, a private key.
    Secret,
    /// A password or token within a URL.
    Credentials,
    /// A postal address, or a postcode with its town.
    Address,
    /// A person's name.
    Name,
    /// What a rules file's own rule of this index finds.
    Custom(u16),
}

impl Kind {
    /// All kinds but those of a rules file.
    pub const BUILT_IN: [Kind; 10] = [
        Kind::Email,
        Kind::Phone,
        Kind::Ip,
        Kind::Iban,
        Kind::Card,
        Kind::National,
        Kind::Secret,
        Kind::Credentials,
        Kind::Address,
        Kind::Name,
    ];

    /// Its key in a rules file, and in lower case what masks it; `custom` for a rules file's own.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Email => "email",
            Kind::Phone => "phone",
            Kind::Ip => "ip",
            Kind::Iban => "iban",
            Kind::Card => "card",
            Kind::National => "national_id",
            Kind::Secret => "secret",
            Kind::Credentials => "credentials",
            Kind::Address => "address",
            Kind::Name => "name",
            Kind::Custom(_) => "custom",
        }
    }

    /// Its place in [`Kind::BUILT_IN`].
    pub(super) fn index(self) -> Option<usize> {
        Kind::BUILT_IN.iter().position(|kind| *kind == self)
    }

    /// Which of two findings that overlap stands: the larger. A finding that a check digit or a prefix proves stands above
    /// one that only looks like it.
    pub(super) fn rank(self) -> u8 {
        match self {
            Kind::Custom(_) => 10,
            Kind::Credentials => 9,
            Kind::Secret => 8,
            Kind::Email => 7,
            Kind::Iban => 6,
            Kind::Card => 5,
            Kind::National => 4,
            Kind::Ip => 3,
            Kind::Phone => 2,
            Kind::Address => 1,
            Kind::Name => 0,
        }
    }
}

/// What is done with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It stays. Another kind does not take it either.
    Off,
    /// It becomes its kind's name, like `<EMAIL>`.
    Mask,
    /// It becomes another of the same shape, the same for the same item under one key.
    Pseudonym,
    /// The whole document is to be left out.
    Drop,
}

impl Action {
    /// The action of this name in a rules file.
    pub fn from_name(name: &str) -> Option<Action> {
        match name {
            "off" => Some(Action::Off),
            "mask" => Some(Action::Mask),
            "pseudonym" => Some(Action::Pseudonym),
            "drop" => Some(Action::Drop),
            _ => None,
        }
    }
}

/// An item and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Bytes of the document as it came, not as it was cleaned.
    pub span: Range<usize>,
}

/// How many items of each kind were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Kind, u64>);

impl Counts {
    /// Items of one kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// Counts one more.
    pub fn add(&mut self, kind: Kind) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// Counts another document's items in.
    pub fn merge(&mut self, other: &Counts) {
        for (kind, count) in &other.0 {
            *self.0.entry(*kind).or_default() += count;
        }
    }

    /// The kinds that were found, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        self.0.iter().map(|(kind, count)| (*kind, *count))
    }

    /// All items together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
