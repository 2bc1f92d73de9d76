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
            Says::Asked => both.asked(from, header.question, payload, credit),
            Says::Told | Says::Busy | Says::NoTeacher => {
                if let Some(asking) = &both.asking {
                    let told = u64::from(header.says == Says::Told);
                    both.status.update(|status| status.lessons_taken += told);
                    asking.heard(from, header, payload);
                }
            }
        }
    }

    /// A peer is gone.
    pub fn lost(&self, peer: PeerId) {
        if let Some(asking) = self.both.as_ref().and_then(|both| both.asking.as_ref()) {
            asking.lost(peer);
        }
    }
}

impl Both {
    fn asked(&self, from: PeerId, question: u64, tokens: Bytes, credit: Credit) {
        let says = match &self.teaching {
            None => Says::NoTeacher,
            Some(door) if !door.ask(from, question, tokens, credit) => Says::Busy,
            Some(_) => return,
        };
        let header = Header { question, says }.bytes();
        if let Err(error) = self.net.send_bulk(from, header, Bytes::new(), Priority::Background) {
            tracing::debug!(peer = %from.short(), %error, "an answer does not leave");
        }
    }
}
