//! What a node tells of early stopping: the loss that all agreed on, the best round, the average, and why the run has stopped.

use serde::{Deserialize, Serialize};
use shoal_protocol::ledger::Record;
use shoal_protocol::plateau::{Heldout, Plateau};
use shoal_protocol::run::{RunSpec, StopSpec};
use std::path::PathBuf;

/// Where the rule stands, for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoppingStatus {
    /// The last round whose loss was agreed on, and that loss, nats per token.
    pub last: Option<(u64, f64)>,
    /// The round of the lowest loss so far, and that loss.
    pub best: Option<(u64, f64)>,
    /// Evaluations since the last gain.
    pub idle: u32,
    /// How many of them end the run; 0: none do.
    pub patience: u32,
    /// The last evaluated round of the averaged parameters, and their loss as this node measured it.
    pub average: Option<(u64, f64)>,
    /// States that are in the average.
    pub average_states: u64,
    /// The best round's checkpoint, if this node has it.
    pub best_checkpoint: Option<PathBuf>,
    /// Why the run has stopped before its last round, if it has.
    pub stopped: Option<String>,
}

impl StoppingStatus {
    /// Takes in what a record says.
    pub fn follow(&mut self, spec: &RunSpec, record: &Record) {
        let Some(stop) = &spec.stop else { return };
        let pair = |heldout: Heldout| (heldout.round, heldout.loss.nats());
        self.patience = stop.patience;
        self.last = record.plateau.map(|plateau| pair(plateau.last));
        self.best = record.plateau.map(|plateau| pair(plateau.best));
        self.idle = record.plateau.map_or(0, |plateau| plateau.idle);
        self.stopped = stopped(spec, record);
    }

    /// How it stands, in one line.
    pub fn line(&self) -> Option<String> {
        let average = self.average.map_or(String::new(), |(round, loss)| {
            format!("; average of {} states {loss:.4} in round {round}", self.average_states)
        });
        if let Some(stopped) = &self.stopped {
            return Some(format!("{stopped}{average}"));
        }
        let ((round, loss), (best_round, best)) = (self.last?, self.best?);
        let idle = match (self.idle, self.patience) {
            (0, _) => String::new(),
            (idle, 0) => format!("; {idle} evaluations without gain"),
            (idle, patience) => format!("; {idle} of {patience} evaluations without gain"),
        };
        Some(format!(
            "held-out loss {loss:.4} in round {round}; best {best:.4} in round {best_round}{idle}{average}"
        ))
    }
}

/// Why the run is over with this record before its last round; `None` if it is not.
pub fn stopped(spec: &RunSpec, record: &Record) -> Option<String> {
    let (stop, plateau) = (spec.stop.as_ref()?, record.plateau.as_ref()?);
    spec.has_stopped(record).then(|| reason(stop, plateau, record.round))
}

fn reason(stop: &StopSpec, plateau: &Plateau, round: u64) -> String {
    let (best, gain) = (plateau.best, stop.min_gain);
    let by = if gain > 0.0 { format!(" by {gain}") } else { String::new() };
    let evaluations = if plateau.idle == 1 { "evaluation" } else { "evaluations" };
    format!(
        "stopped in round {round}: held-out loss has not improved{by} in {} {evaluations}; best {} in round {}",
        plateau.idle, best.loss, best.round
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::trainer::test_spec;
    use shoal_protocol::id::Digest;
    use shoal_protocol::plateau::Loss;

    fn record(idle: u32) -> (RunSpec, Record) {
        let stop = StopSpec { every: 1, patience: 2, min_gain: 0.01, sequences: 8, ema: 0.0 };
        let spec = RunSpec { stop: Some(stop), ..test_spec() };
        let of = |round, loss| Heldout { round, of: Digest::default(), loss: Loss(loss) };
        let (last, best) = (of(8, 1_600_000), of(6, 1_500_000));
        let plateau = Some(Plateau { last, decided: 9, best, mark: best.loss, idle });
        let record = Record { round: 9, plateau, ..Record::genesis(spec.id(), Digest::default()) };
        (spec, record)
    }

    fn line(idle: u32, average: Option<(u64, f64)>) -> Option<String> {
        let (spec, record) = record(idle);
        let mut status = StoppingStatus { average, average_states: 3, ..StoppingStatus::default() };
        status.follow(&spec, &record);
        status.line()
    }

    #[test]
    fn how_it_stands_and_why_it_has_stopped() {
        let going = "held-out loss 1.6000 in round 8; best 1.5000 in round 6; 1 of 2 evaluations without gain";
        assert_eq!(line(1, None).as_deref(), Some(going));
        let averaged = format!("{going}; average of 3 states 1.4000 in round 8");
        assert_eq!(line(1, Some((8, 1.4))), Some(averaged));
        let over = "stopped in round 9: held-out loss has not improved by 0.01 in 2 evaluations; best 1.5000 in round 6";
        assert_eq!(line(2, None).as_deref(), Some(over));
        let (spec, record) = record(2);
        let mut status = StoppingStatus::default();
        status.follow(&RunSpec { stop: None, ..spec }, &record);
        assert_eq!(status.line(), None);
    }
}
