//! A ticket: one copyable line that is enough to join a run.
//!
//! `shoal1` + base64url (no padding) of the ticket's CBOR followed by the first four bytes of the CBOR's BLAKE3.

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};
use shoal_protocol::id::{Digest, RunId};
use shoal_protocol::wire;
use std::fmt;
use std::str::FromStr;

/// What every ticket begins with: the project and the form's version.
const PREFIX: &str = "shoal1";
/// Bytes of checksum at the end.
const CHECKSUM_BYTES: usize = 4;
/// Most characters of a ticket that are looked at.
const TEXT_MAX: usize = 8192;
/// Most addresses in a ticket.
const ADDRESSES_MAX: usize = 32;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Enough to join a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The run.
    pub run: RunId,
    /// Where some of its peers are, each with `/p2p/…` at the end. At most 32.
    pub addresses: Vec<Multiaddr>,
    /// What the run's peers ask of a newcomer, if they ask anything.
    pub invitation: Option<String>,
}

/// Why a line is no ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not begin like one.
    #[error("a ticket begins with `{PREFIX}`")]
    Prefix,
    /// It has a character that no ticket has.
    #[error("`{0}` at place {1} cannot be in a ticket: was the line broken when it was copied?")]
    Character(char, usize),
    /// Its checksum does not fit.
    #[error(
        "the ticket was copied incompletely or with a typing mistake (its checksum does not fit)"
    )]
    Checksum,
    /// It is longer than any ticket.
    #[error("too long for a ticket")]
    TooLong,
    /// The checksum fits and the content does not: another version made it.
    #[error("the ticket's content is not understood ({0}): it may come from another version")]
    Content(String),
}

/// A ticket as its CBOR has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    run: RunId,
    addresses: Vec<serde_bytes::ByteBuf>,
    invitation: Option<String>,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.iter().take(ADDRESSES_MAX);
        let form = Form {
            run: self.run,
            addresses: addresses
                .map(|address| serde_bytes::ByteBuf::from(address.to_vec()))
                .collect(),
            invitation: self.invitation.clone(),
        };
        let mut bytes = wire::to_cbor(&form);
        let checksum = Digest::of(&bytes);
        bytes.extend_from_slice(&checksum.0[..CHECKSUM_BYTES]);
        write!(f, "{PREFIX}{}", encode(&bytes))
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        if digits.len() > TEXT_MAX {
            return Err(TicketError::TooLong);
        }
        let bytes = decode(digits)?;
        let (content, checksum) =
            bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TicketError::Checksum)?;
        if Digest::of(content).0[..CHECKSUM_BYTES] != checksum[..] {
            return Err(TicketError::Checksum);
        }
        let form: Form = wire::from_cbor(content).map_err(TicketError::Content)?;
        let read = |bytes: serde_bytes::ByteBuf| Multiaddr::try_from(bytes.into_vec());
        let addresses: Result<Vec<_>, _> =
            form.addresses.into_iter().take(ADDRESSES_MAX).map(read).collect();
        let addresses = addresses.map_err(|error| TicketError::Content(error.to_string()))?;
        Ok(Ticket { run: form.run, addresses, invitation: form.invitation })
    }
}

/// Base64url without padding (RFC 4648, section 5).
fn encode(bytes: &[u8]) -> String {
    let group = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        let digits = [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift) as usize & 63] as char);
        digits.into_iter().take(chunk.len() + 1)
    };
    bytes.chunks(3).flat_map(group).collect()
}

fn decode(text: &str) -> Result<Vec<u8>, TicketError> {
    let value = |(place, c): (usize, char)| {
        let digit = DIGITS.iter().position(|digit| char::from(*digit) == c);
        digit.map(|digit| digit as u32).ok_or(TicketError::Character(c, PREFIX.len() + place + 1))
    };
    let digits: Vec<u32> = text.chars().enumerate().map(value).collect::<Result<_, _>>()?;
    let group = |chunk: &[u32]| {
        let bits = chunk.iter().fold(0u32, |bits, digit| bits << 6 | digit);
        let bits = bits << (6 * (4 - chunk.len()));
        bits.to_be_bytes().into_iter().skip(1).take(chunk.len() - 1)
    };
    Ok(digits.chunks(4).flat_map(group).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address;
    use proptest::prelude::*;

    fn ticket(run: [u8; 32], ports: &[u16], invitation: Option<String>) -> Ticket {
        let key = libp2p::identity::Keypair::ed25519_from_bytes(run).unwrap();
        let at = |port| format!("/ip4/10.0.0.3/tcp/{port}").parse().unwrap();
        let named = |port: &u16| address::with_peer(&at(*port), key.public().to_peer_id());
        Ticket { run: RunId(run), addresses: ports.iter().map(named).collect(), invitation }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            run: [u8; 32],
            ports in proptest::collection::vec(any::<u16>(), 0..5),
            invitation: Option<String>,
        ) {
            let ticket = ticket(run, &ports, invitation);
            let line = ticket.to_string();
            prop_assert!(line.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)));
            prop_assert_eq!(format!(" {line}\n").parse(), Ok(ticket));
        }

        #[test]
        fn one_wrong_character_is_noticed(run: [u8; 32], place: usize, digit in 0usize..64) {
            let line = ticket(run, &[4001], None).to_string();
            let place = PREFIX.len() + place % (line.len() - PREFIX.len());
            let mut typo = line.clone().into_bytes();
            typo[place] = DIGITS[digit];
            let typo = String::from_utf8(typo).unwrap();
            // The last digit may carry bits that stand for nothing.
            let is_spare = place == line.len() - 1;
            prop_assert!(typo == line || is_spare || typo.parse::<Ticket>() == Err(TicketError::Checksum));
        }

        #[test]
        fn rubbish_is_an_error(text: String, bytes: Vec<u8>) {
            prop_assert!(text.parse::<Ticket>().is_err());
            let checked = [&bytes[..], &Digest::of(&bytes).0[..CHECKSUM_BYTES]].concat();
            for rubbish in [text, encode(&checked)] {
                let line = format!("{PREFIX}{rubbish}");
                prop_assert!(line.parse::<Ticket>().is_err(), "{}", line);
            }
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let line = ticket([7; 32], &[4001], None).to_string();
        let error = |text: &str| text.parse::<Ticket>().unwrap_err();
        assert_eq!(error("hello"), TicketError::Prefix);
        assert_eq!(error(&line[..line.len() - 3]), TicketError::Checksum);
        assert_eq!(error(&line.replacen("shoal1", "shoal1 ", 1)), TicketError::Character(' ', 7));
        assert_eq!(error(&format!("shoal1{}", "A".repeat(9000))), TicketError::TooLong);
    }
}
