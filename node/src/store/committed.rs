//! The committed state of a checkpoint: the vectors that peers exchange, as their digest names them. Behind the model they go on with
//! what pruning measures. A checkpoint's own vectors are the model's, and what lies behind the parameters is an extra of its own.

use super::checkpoint::Checkpoint;
use super::floats::{bytes_of, floats_of};
use shoal_protocol::run::RunSpec;

/// Name of what pruning has measured among a checkpoint's extras: f32 little-endian, as the parameters would go on.
pub const MEASURED: &str = "measured";

/// A state of `spec` as a checkpoint has it: the parameters and the outer optimiser's vectors, `[params]` each, and [`MEASURED`], if
/// the run measures.
pub fn split(
    spec: &RunSpec,
    mut params: Vec<f32>,
    mut vectors: Vec<f32>,
) -> (Vec<f32>, Vec<f32>, Option<Vec<u8>>) {
    let (model, elems) = lengths(spec);
    if model == elems {
        return (params, vectors, None);
    }
    // What is measured has no momentum.
    vectors = vectors.chunks(elems).flat_map(|vector| &vector[..model]).copied().collect();
    let measured = bytes_of(&params[model..]).to_vec();
    params.truncate(model);
    (params, vectors, Some(measured))
}

/// Takes a checkpoint's state out of it: the parameters, `[elems]`, and the outer optimiser's vectors one after the other, `[elems]`
/// each, zeros if they are not kept. Shorter if something that was measured is missing: then it is not what its digest names.
pub fn take(checkpoint: &mut Checkpoint) -> (Vec<f32>, Vec<f32>) {
    let mut params = std::mem::take(&mut checkpoint.params);
    let vectors = std::mem::take(&mut checkpoint.momentum);
    let (model, elems) = lengths(&checkpoint.spec);
    if let Some(bytes) = checkpoint.extras.get(MEASURED) {
        params.extend(floats_of(bytes));
    }
    if vectors.is_empty() {
        return (params, vec![0.0; elems * checkpoint.spec.outer_states()]);
    }
    if model == elems {
        return (params, vectors);
    }
    let behind = || std::iter::repeat_n(0.0, elems - model);
    let longer = vectors.chunks(model).flat_map(|vector| vector.iter().copied().chain(behind()));
    (params, longer.collect())
}

/// Elements of the model, and of the vector that is exchanged.
fn lengths(spec: &RunSpec) -> (usize, usize) {
    (spec.model.params() as usize, spec.elems() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::trainer::test_spec;
    use shoal_protocol::id::Digest;
    use shoal_protocol::run::{OuterKind, PruneKind, PruneMethod, PruneSpec};
    use std::collections::BTreeMap;

    #[test]
    fn what_is_split_comes_together_again() {
        for method in [PruneMethod::Magnitude, PruneMethod::Wanda] {
            for kind in [OuterKind::Nesterov, OuterKind::Inner] {
                let mut spec = test_spec();
                let share = PruneKind::Share { sparsity: 0.5 };
                spec.prune = Some(PruneSpec { kind: share, from: 2, until: 2, method });
                spec.outer.kind = kind;
                let (model, elems) = lengths(&spec);
                let params: Vec<f32> = (0..elems).map(|i| i as f32).collect();
                let vector = |i| if i % elems < model { i as f32 } else { 0.0 };
                let vectors: Vec<f32> = (0..elems * spec.outer_states()).map(vector).collect();
                let (own, momentum, measured) = split(&spec, params.clone(), vectors.clone());
                assert_eq!((own.len(), momentum.len()), (model, model * spec.outer_states()));
                assert_eq!(measured.is_some(), method == PruneMethod::Wanda);
                let extras = measured.into_iter().map(|bytes| (MEASURED.to_owned(), bytes));
                let mut checkpoint = Checkpoint {
                    round: 1,
                    digest: Digest::default(),
                    spec,
                    params: own,
                    momentum,
                    extras: extras.collect(),
                    local: BTreeMap::new(),
                    losses: vec![],
                };
                assert_eq!(take(&mut checkpoint.clone()), (params.clone(), vectors.clone()));
                checkpoint.momentum.clear();
                assert_eq!(take(&mut checkpoint), (params, vec![0.0; vectors.len()]));
            }
        }
    }
}
