//! Both sides of a node, and the network's frames on their way to them.

use super::asking::Asking;
use super::teaching::Door;
use super::{Header, Says};
use crate::net::{Credit, NetHandle, Priority};
use crate::status::SharedStatus;
use bytes::Bytes;
use shoal_protocol::id::PeerId;
use std::sync::Arc;

/// What a node does of it. Nothing, in a run without.
pub struct Lessons {
    both: Option<Both>,
}

struct Both {
    net: NetHandle,
    asking: Option<Arc<Asking>>,
    teaching: Option<Door>,
    status: SharedStatus,
}

impl Lessons {
    /// Of a run in which nothing is told of a teacher.
    pub fn none() -> Lessons {
        Lessons { both: None }
    }

    /// Of a node that asks, or teaches, or does neither but says so.
    pub fn new(
        asking: Option<Arc<Asking>>,
        teaching: Option<Door>,
        (net, status): (NetHandle, SharedStatus),
    ) -> Lessons {
        Lessons { both: Some(Both { net, asking, teaching, status }) }
    }

    /// Whether a bulk frame with this header has to do with a teacher.
    pub fn header(&self, header: &[u8]) -> Option<Header> {
        self.both.as_ref().and_then(|_| Header::read(header))
    }

    /// A frame with such a header has come.
    pub fn take(&self, from: PeerId, header: Header, payload: Bytes, credit: Credit) {
        let Some(both) = &self.both else { return };
        match header.says {
            Says::Who => both.says(from, both.own_standing()),
            Says::Asked => both.asked(from, header.question, payload, credit),
            Says::Told | Says::Busy | Says::Teacher | Says::NoTeacher => {
                if let Some(asking) = &both.asking {
                    let told = u64::from(header.says == Says::Told);
                    both.status.update(|status| status.lessons_taken += told);
                    asking.heard(from, header, payload);
                }
            }
        }
    }

    /// A peer is there.
    pub fn met(&self, peer: PeerId) {
        if let Some(asking) = self.asking() {
            asking.met(peer);
        }
    }

    /// A peer is gone.
    pub fn lost(&self, peer: PeerId) {
        if let Some(asking) = self.asking() {
            asking.lost(peer);
        }
    }

    fn asking(&self) -> Option<&Arc<Asking>> {
        self.both.as_ref().and_then(|both| both.asking.as_ref())
    }
}

impl Both {
    fn own_standing(&self) -> Header {
        let says = if self.teaching.is_some() { Says::Teacher } else { Says::NoTeacher };
        Header { question: 0, says }
    }

    fn asked(&self, from: PeerId, question: u64, tokens: Bytes, credit: Credit) {
        match &self.teaching {
            None => self.says(from, self.own_standing()),
            Some(door) if door.ask(from, question, tokens, credit) => {}
            Some(_) => self.says(from, Header { question, says: Says::Busy }),
        }
    }

    fn says(&self, to: PeerId, header: Header) {
        if let Err(error) =
            self.net.send_bulk(to, header.bytes(), Bytes::new(), Priority::Background)
        {
            tracing::debug!(peer = %to.short(), %error, "an answer does not leave");
        }
    }
}
