//! What gossip is compared with: the same peers on the same samples, whose mean is exact in every round, whatever that would cost.

use super::numbers::Numbers;
use crate::keys;
use crate::learn::Lesson;
use crate::scenario::Scenario;
use shoal_protocol::id::Round;
use shoal_protocol::run::RunSpec;
use std::rc::Rc;

/// The held-out loss after so many rounds of exact averaging; `None` for a learner of sizes alone.
pub fn loss(scenario: &Scenario, spec: &Rc<RunSpec>, peers: usize, rounds: Round) -> Option<f64> {
    let setup = scenario.lesson.clone()?;
    let lesson = Lesson::new(Box::new(setup));
    let one = |p| Numbers::initial(scenario, Some(&lesson), spec, &keys::peer_id(p));
    let mut all = (0..peers).map(one).collect::<Option<Vec<Numbers>>>()?;
    for round in 1..=rounds {
        let mut mean = vec![0.0; all.first()?.outer().len()];
        for numbers in &mut all {
            numbers.train(round);
            numbers.add_to(&mut mean, 1.0 / peers as f32);
        }
        all.iter_mut().for_each(|numbers| numbers.step_with(&mean));
    }
    lesson.loss(rounds, all.first()?.outer())
}
