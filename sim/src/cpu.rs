//! What an exchange costs a host's processor: encoding, encryption, adding up, hashing. One after the other, on as many cores as the
//! host has for it.

use shoal_protocol::time::{Span, Time};

// Nanoseconds of one core (x86_64, AVX-512), from `shoal bench allreduce --peers 4 --mib 64` with int8, bf16 and f32: processor time of
// all peers over the bytes that they sent, or over their elements.

/// To send a byte: encryption, the stream, the system.
const SEND_NS: f64 = 0.7;
/// To receive one: the same, and BLAKE3.
const RECEIVE_NS: f64 = 1.0;
/// To encode an element.
const ENCODE_NS: f64 = 1.2;
/// To add one element of one contribution to a sum.
const ADD_NS: f64 = 0.5;
/// To make a state: decoding, the outer step, BLAKE3 of eight bytes, settling residuals; by element.
const APPLY_NS: f64 = 5.0;

/// Something that takes time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Task {
    /// So many elements encoded, and so many bytes sent.
    Contribute { elems: u64, bytes: u64 },
    /// So many bytes sent that are encoded already.
    Send { bytes: u64 },
    /// So many bytes received.
    Receive { bytes: u64 },
    /// So many elements added up of so many contributions, and the sum encoded.
    Reduce { elems: u64, parts: u64 },
    /// A state of so many elements made.
    Apply { elems: u64 },
}

/// A host's processor, as far as it serves exchanges.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    cores: f64,
    /// When it is done with what it has.
    free: Time,
}

impl Cpu {
    /// So many cores; they may be parts of one, where several hosts share a machine.
    pub fn new(cores: f64) -> Cpu {
        Cpu { cores, free: Time::ZERO }
    }

    /// How long it takes from now until one more task is done, after all that came before it.
    pub fn takes(&mut self, task: Task, now: Time) -> Span {
        let micros = (task.ns() / self.cores / 1e3).round() as u64;
        self.free = self.free.max(now) + Span(micros);
        self.free.since(now)
    }
}

impl Task {
    /// Nanoseconds of one core.
    fn ns(self) -> f64 {
        match self {
            Task::Contribute { elems, bytes } => {
                elems as f64 * ENCODE_NS + Task::Send { bytes }.ns()
            }
            Task::Send { bytes } => bytes as f64 * SEND_NS,
            Task::Receive { bytes } => bytes as f64 * RECEIVE_NS,
            Task::Reduce { elems, parts } => elems as f64 * (parts as f64 * ADD_NS + ENCODE_NS),
            Task::Apply { elems } => elems as f64 * APPLY_NS,
        }
    }
}

#[test]
fn tasks_queue_up() {
    let mut cpu = Cpu::new(0.5);
    let at = |micros| Time::ZERO + Span(micros);
    let million = Task::Receive { bytes: 1_000_000 };
    assert_eq!(cpu.takes(million, at(100)), Span(2_000));
    assert_eq!(cpu.takes(million, at(600)), Span(3_500));
    assert_eq!(cpu.takes(Task::Send { bytes: 1_000_000 }, at(9_000)), Span(1_400));
    let reduce = Task::Reduce { elems: 1_000_000, parts: 4 };
    assert_eq!(cpu.takes(reduce, at(20_000)), Span(6_400));
}
