//! S2, where runs end early: two peers never disagree about where (PROTOCOL, Promises).

use crate::check::hold;
use shoal_protocol::invariant;
use shoal_protocol::ledger::Record;
use shoal_protocol::run::RunSpec;
use shoal_protocol::wire::Plan;

/// A new record continues a run that is not over, and says of losses what its plan leads to.
pub fn follows(spec: &RunSpec, parent: &Record, plan: Option<&Plan>, record: &Record) {
    let who = format!("round {}", record.round);
    hold("S2", &who, invariant::goes_on(spec, parent));
    if let Some(plan) = plan {
        hold("S2", &who, invariant::plateau_follows(parent, plan, record));
    }
}

/// A peer says that the run is over: it is, with what it stands on.
pub fn is_over(spec: &RunSpec, p: usize, record: &Record) {
    let over = if spec.is_over(record) { Ok(()) } else { Err(format!("{:?}", record.plateau)) };
    hold("S2", &format!("p{p} ends in round {}", record.round), over);
}
