//! The moving average of the committed parameters, as a node keeps it and as its checkpoints hold it.
//!
//! It is not part of the committed state: nothing that is trained depends on it, and it would make a joiner fetch half as much again.
//! Who has come the same way through the ledger has the same bits; who took over a whole state begins anew there, and says how many
//! states are in its average.

use shoal_protocol::math::Average;
use shoal_protocol::run::RunSpec;

/// Its name among what a checkpoint can do without.
pub const AVERAGE: &str = "average";

/// The average that a run's spec asks for, as it was in a checkpoint (`kept`: states as 8 little-endian bytes, then f32), if that is
/// of this model; else of nothing yet.
pub fn begin(spec: &RunSpec, kept: Option<&[u8]>) -> Option<Average> {
    let decay = spec.stop.filter(|stop| stop.ema > 0.0)?.ema;
    let resumed = || {
        let (states, params) = read(kept?)?;
        (params.len() as u64 == spec.elems()).then(|| Average::resume(decay, states, params))
    };
    Some(resumed().unwrap_or_else(|| Average::new(decay)))
}

/// As a checkpoint holds it.
pub fn bytes(average: &Average) -> Vec<u8> {
    let values = average.params().iter().flat_map(|value| value.to_le_bytes());
    average.states().to_le_bytes().into_iter().chain(values).collect()
}

/// States and parameters from a checkpoint's bytes; `None` if they are none.
pub fn read(bytes: &[u8]) -> Option<(u64, Vec<f32>)> {
    let (states, values) = bytes.split_first_chunk::<8>()?;
    let (values, rest) = values.as_chunks::<4>();
    let params = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    rest.is_empty().then(|| (u64::from_le_bytes(*states), params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_a_checkpoint_and_what_is_torn_is_none() {
        let mut average = Average::new(0.5);
        average.take(&[1.0, -2.0]);
        let kept = bytes(&average);
        assert_eq!(read(&kept), Some((1, vec![1.0, -2.0])));
        assert_eq!(read(&kept[..kept.len() - 1]), None);
        assert_eq!(read(&kept[..7]), None);
    }
}
