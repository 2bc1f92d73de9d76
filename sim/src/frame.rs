//! Control frames: encoded once for all that they go to, and decoded once for all that get them.

use shoal_protocol::event::Input;
use shoal_protocol::id::PeerId;
use shoal_protocol::wire::{self, Message};
use std::cell::OnceCell;
use std::rc::Rc;

/// Bytes that travel, and what they say.
pub struct Frame {
    bytes: Vec<u8>,
    says: OnceCell<Result<Message, String>>,
}

impl Frame {
    /// Of bytes that may say anything or nothing.
    pub fn of(bytes: Vec<u8>) -> Rc<Frame> {
        Rc::new(Frame { bytes, says: OnceCell::new() })
    }

    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What whoever gets it from a peer is told: what its bytes, and nothing else, decode to.
    pub fn received(&self, from: PeerId) -> Input {
        let says = self.says.get_or_init(|| match wire::decode(from, &self.bytes) {
            Input::Received { message, .. } => Ok(message),
            Input::Malformed { reason, .. } => Err(reason),
            other => unreachable!("a frame is no {other:?}"),
        });
        match says.clone() {
            Ok(message) => Input::Received { from, message },
            Err(reason) => Input::Malformed { from, reason },
        }
    }
}

/// The frame that was encoded last: what is said to several in a row is encoded once.
#[derive(Default)]
pub struct Encoder {
    last: Option<(Message, Rc<Frame>)>,
}

impl Encoder {
    /// The frame of a message, if it is the one that was encoded last.
    pub fn known(&self, message: &Message) -> Option<Rc<Frame>> {
        self.last.as_ref().filter(|(last, _)| last == message).map(|(_, frame)| frame.clone())
    }

    /// The frame of a message.
    pub fn frame(&mut self, message: Message) -> Rc<Frame> {
        self.known(&message).unwrap_or_else(|| {
            let frame = Frame::of(wire::to_cbor(&message));
            self.last = Some((message, frame.clone()));
            frame
        })
    }
}

#[test]
fn what_is_repeated_is_encoded_once_and_everybody_is_told_by_whom() {
    let message = |retry_ms| Message::Busy { retry_ms };
    let mut encoder = Encoder::default();
    let first = encoder.frame(message(7));
    assert!(Rc::ptr_eq(&first, &encoder.frame(message(7))));
    let other = encoder.frame(message(8));
    assert!(!Rc::ptr_eq(&first, &other));
    for n in 1..3 {
        let from = PeerId([n; 32]);
        assert_eq!(first.received(from), Input::Received { from, message: message(7) });
    }
    let from = PeerId([3; 32]);
    assert!(matches!(Frame::of(vec![0xff]).received(from), Input::Malformed { .. }));
}
