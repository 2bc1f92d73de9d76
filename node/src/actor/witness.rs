//! What a debug build looks at besides: the promises that can be told from one node's own outputs, by the simulator's predicates.

use shoal_protocol::event::Output;
use shoal_protocol::id::{PeerId, Round};
use shoal_protocol::invariant::{self, Verdict};
use shoal_protocol::ledger::Record;
use shoal_protocol::wire::{Message, Plan};

/// Sees every output before it is performed.
pub struct Witness {
    me: PeerId,
    /// Chunks that a plan of a round gives out.
    chunks_in: Box<dyn Fn(Round) -> u32>,
    committed: Record,
}

impl Witness {
    /// Of a machine that stands on this record.
    pub fn new(me: PeerId, chunks_in: Box<dyn Fn(Round) -> u32>, committed: Record) -> Witness {
        Witness { me, chunks_in, committed }
    }

    /// Which promise this output breaks, in words.
    ///
    /// # Errors
    /// The promise, and what is wrong.
    pub fn see(&mut self, output: &Output) -> Verdict {
        match output {
            Output::Reduce { parts, .. } => named("S1", invariant::counted_once(parts)),
            Output::Send { message: Message::Plan(signed), .. } => self.plan(&signed.plan),
            Output::Commit { record, .. } => self.commit(record),
            _ => Ok(()),
        }
    }

    /// Others' plans are what they are.
    fn plan(&self, plan: &Plan) -> Verdict {
        if plan.convener != self.me {
            return Ok(());
        }
        named("plan", invariant::plan_is_sound(plan, (self.chunks_in)(plan.round)))
    }

    /// A record that was taken over from others need not follow the one before.
    fn commit(&mut self, record: &Record) -> Verdict {
        let before = std::mem::replace(&mut self.committed, record.clone());
        named("S6", invariant::cursor_is_sound(&record.cursor))?;
        if record.parent == before.digest() {
            named("S2, S4 or S6", invariant::record_follows(&before, record))?;
        }
        Ok(())
    }
}

fn named(promise: &str, verdict: Verdict) -> Verdict {
    verdict.map_err(|why| format!("{promise} is broken: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::event::Part;
    use shoal_protocol::id::{Digest, RunId};
    use shoal_protocol::ledger::Contribution;

    fn genesis() -> Record {
        Record::genesis(RunId([1; 32]), Digest::default())
    }

    fn commit(record: Record) -> Output {
        Output::Commit { record, settle: Vec::new() }
    }

    #[test]
    fn a_sum_with_a_member_twice_is_told() {
        let part = Part { member: 0, peer: PeerId([1; 32]), weight: 1 };
        let reduce = |parts| Output::Reduce { plan: Digest::default(), index: 0, parts };
        let mut witness = Witness::new(PeerId([9; 32]), Box::new(|_| 1), genesis());
        assert_eq!(witness.see(&reduce(vec![part])), Ok(()));
        let told = witness.see(&reduce(vec![part, part])).unwrap_err();
        assert!(told.starts_with("S1 is broken"), "{told}");
    }

    #[test]
    fn a_record_must_follow_the_one_before_unless_it_was_taken_over() {
        let mut witness = Witness::new(PeerId([9; 32]), Box::new(|_| 1), genesis());
        let next = Record { round: 1, parent: genesis().digest(), ..genesis() };
        assert_eq!(witness.see(&commit(next.clone())), Ok(()));
        let given = vec![Contribution { peer: PeerId([1; 32]), tokens: 5 }];
        let wrong = Record { round: 2, parent: next.digest(), contributions: given, ..genesis() };
        let told = witness.see(&commit(wrong)).unwrap_err();
        assert!(told.contains("0 + 5 tokens are not 0"), "{told}");
        let elsewhere = Record { round: 9, tokens: 7, ..genesis() };
        assert_eq!(witness.see(&commit(elsewhere)), Ok(()));
    }
}
