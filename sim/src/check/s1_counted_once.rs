//! S1: a contribution is counted at most once in a committed result (PROTOCOL, Promises).

use crate::check::hold;
use shoal_protocol::event::Part;
use shoal_protocol::invariant;
use shoal_protocol::wire::Plan;

/// The parts of a sum are members of the plan, each once, in order, with the plan's weights.
pub fn parts(parts: &[Part], plan: Option<&Plan>) {
    hold("S1", "parts", invariant::counted_once(parts));
    // The plan of a peer that is alone is never said aloud.
    let Some(plan) = plan else { return };
    let fits = |part: &Part| {
        let member = plan.members.get(usize::from(part.member));
        member.is_some_and(|m| m.peer == part.peer && m.tokens == part.weight)
    };
    let verdict =
        if parts.iter().all(fits) { Ok(()) } else { Err(format!("{parts:?} of {plan:?}")) };
    hold("S1", "parts are the plan's members", verdict);
}
