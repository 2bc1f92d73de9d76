//! Single weights become zero: a share of each matrix, or all but N of M neighbours.

use super::calibrate::Calibration;
use crate::model::{Layout, Slot};
use shoal_protocol::math::prune::{Which, matrix};
use shoal_protocol::run::ModelSpec;
use shoal_protocol::run::prune::is_pruned;
use tch::TchError;

/// By what a weight is judged.
pub enum Method {
    /// Its magnitude, against the others of its matrix.
    Magnitude,
    /// Its magnitude times the norm of what goes into it, against the others of its output row, layer after layer, each with the
    /// layers before it pruned (Wanda, arXiv 2306.11695, section 3).
    Wanda(Box<Calibration>),
}

/// Prunes `params`, `[params]`, in place. `told` hears of each layer that is done.
///
/// # Errors
/// The device failed.
pub fn prune(
    spec: &ModelSpec,
    params: &mut [f32],
    which: Which,
    mut method: Method,
    mut told: impl FnMut(usize),
) -> Result<(), TchError> {
    let layout = Layout::new(spec);
    for layer in 0..spec.layers as usize {
        let of_layer = format!("model.layers.{layer}.");
        let slots = layout.slots.iter();
        let slots = slots.filter(|slot| slot.name.starts_with(&of_layer) && is_pruned(slot));
        match &mut method {
            Method::Magnitude => {
                slots.for_each(|slot| matrix(&mut params[slot.range()], &[], which))
            }
            Method::Wanda(calibration) => {
                let inputs = calibration.look()?.inputs;
                slots.for_each(|slot| by_wanda(slot, params, which, inputs.of(&slot.name)));
                calibration.step(params)?;
            }
        }
        told(layer);
    }
    Ok(())
}

/// `squares`: `[in]`, sums of squares of what goes in.
fn by_wanda(slot: &Slot, params: &mut [f32], which: Which, squares: &[f64]) {
    let norms: Vec<f32> = squares.iter().map(|sum| sum.sqrt() as f32).collect();
    matrix(&mut params[slot.range()], &norms, which);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Batch;
    use crate::model::{Role, initial_params};
    use crate::train::trainer::test_spec;
    use tch::Device;

    #[test]
    fn wanda_weighs_by_what_comes_in() {
        let slot = Slot { name: "x".into(), shape: vec![2, 4], role: Role::Inner, offset: 0 };
        let from = [1.0, 2.0, 3.0, 4.0, -4.0, 3.0, -2.0, 1.0];
        let prune = |which, squares: &[f64]| {
            let mut params = from;
            by_wanda(&slot, &mut params, which, squares);
            params
        };
        // Norms 10, 1, 1, 1: each row loses the two of the smallest products.
        let squares = [100.0, 1.0, 1.0, 1.0];
        assert_eq!(prune(Which::Share(0.5), &squares), [1.0, 0.0, 0.0, 4.0, -4.0, 3.0, 0.0, 0.0]);
        let two = Which::Pattern { keep: 1, of: 2 };
        assert_eq!(prune(two, &squares), [1.0, 0.0, 0.0, 4.0, -4.0, 0.0, -2.0, 0.0]);
        let mut params = from;
        matrix(&mut params, &[], Which::Share(0.5));
        assert_eq!(params, [0.0, 0.0, 3.0, 4.0, -4.0, 3.0, 0.0, 0.0]);
    }

    #[test]
    fn a_model_loses_the_share_that_was_asked_and_nothing_else() {
        let spec = test_spec().model;
        let before = initial_params(&spec, 1);
        let tokens = (0..2 * 9).map(|i| i * 7 % 256).collect();
        let batch = Batch { tokens, rows: 2, ..Batch::default() };
        let wanda = || Calibration::new(&spec, &before, &batch, 1, Device::Cpu).unwrap();
        let layout = Layout::new(&spec);
        for method in [Method::Magnitude, Method::Wanda(Box::new(wanda()))] {
            let (mut after, mut layers) = (before.clone(), 0);
            prune(&spec, &mut after, Which::Share(0.5), method, |_| layers += 1).unwrap();
            assert_eq!(layers, spec.layers);
            for slot in &layout.slots {
                let (old, new) = (&before[slot.range()], &after[slot.range()]);
                let zeros = new.iter().filter(|w| **w == 0.0).count();
                let wanted = if is_pruned(slot) { slot.len() / 2 } else { 0 };
                assert_eq!(zeros, wanted, "{}", slot.name);
                assert!(old.iter().zip(new).all(|(old, new)| *new == 0.0 || old == new));
            }
        }
    }
}
