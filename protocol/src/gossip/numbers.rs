//! The numbers of one peer: its outer parameters, what it brings to groups, and what of it the codec has left out so far.

use super::step;
use crate::math::codec::{Codec, CodecError, all_finite};
use crate::run::gossip::GossipSpec;
use std::sync::Arc;

/// A peer's numbers; all vectors have the model's length.
#[derive(Clone, Debug)]
pub struct Numbers {
    spec: GossipSpec,
    /// Up and down.
    codecs: (Codec, Codec),
    outer: Arc<Vec<f32>>,
    momentum: Arc<Vec<f32>>,
    /// What it brings to its group; alone, what it steps with.
    x: Vec<f32>,
    residual: Vec<f32>,
}

/// Why a group's mean came to less than it might.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsound {
    /// The part's or the mean's place in the list that was given.
    pub place: usize,
    /// What is wrong with it.
    pub cause: CodecError,
}

impl Numbers {
    /// At these outer parameters, without momentum. `codecs` are those of parts and of means.
    pub fn new(spec: GossipSpec, codecs: (Codec, Codec), outer: Vec<f32>) -> Numbers {
        let zeros = || vec![0.0; outer.len()];
        let (momentum, x, residual) = (Arc::new(zeros()), zeros(), zeros());
        Numbers { spec, codecs, momentum, x, residual, outer: Arc::new(outer) }
    }

    /// Where an earlier life was.
    ///
    /// # Panics
    /// If the vectors differ in length: a caller's fault that no peer can provoke.
    pub fn resumed(self, momentum: Vec<f32>, residual: Vec<f32>) -> Numbers {
        let len = self.outer.len();
        assert!(momentum.len() == len && residual.len() == len, "vectors of one model differ");
        Numbers { momentum: Arc::new(momentum), residual, ..self }
    }

    /// Outer parameters, those that are compared.
    pub fn outer(&self) -> &Arc<Vec<f32>> {
        &self.outer
    }

    /// The outer step's momentum.
    pub fn momentum(&self) -> &Arc<Vec<f32>> {
        &self.momentum
    }

    /// What its parts did not carry yet.
    pub fn residual(&self) -> &[f32] {
        &self.residual
    }

    /// What it brings to its group.
    pub fn brings(&self) -> &[f32] {
        &self.x
    }

    /// Local work has led from the outer parameters to these, which are brought to the round's group. Work that has diverged is left out;
    /// whether it was taken.
    ///
    /// # Panics
    /// As [`step::brings`].
    pub fn learned(&mut self, local: &[f32]) -> bool {
        let sound = all_finite(local);
        let local = if sound { local } else { &self.outer };
        step::brings(&self.spec, &self.outer, local, &mut self.x);
        sound
    }

    /// This peer's part of a slice, encoded; what the codec leaves out goes into the next.
    pub fn part(&mut self, slices: u64, slice: u64) -> Vec<u8> {
        let codec = self.codecs.0;
        let at = step::slice(self.x.len(), slices, slice);
        let (x, residual) = (&self.x[at.clone()], &mut self.residual[at]);
        residual.iter_mut().zip(x).for_each(|(rest, x)| *rest += x);
        let mut bytes = Vec::new();
        codec.encode(residual, &mut bytes);
        codec.accumulate(&bytes, -1.0, residual).expect("an encoder's bytes");
        bytes
    }

    /// The mean of this peer's slice, encoded; `parts` in the group's order, its own as `None`.
    ///
    /// # Errors
    /// The first part that does not decode.
    pub fn average(
        &self,
        slices: u64,
        slice: u64,
        parts: &[Option<&[u8]>],
    ) -> Result<Vec<u8>, Unsound> {
        let own = &self.x[step::slice(self.x.len(), slices, slice)];
        step::average(self.codecs, own, parts).map_err(|(place, cause)| Unsound { place, cause })
    }

    /// How far those of a group are apart before it averages: root of the mean squared distance of what its members bring from their
    /// mean, over the mean's norm, in this peer's slice. With equal `beta` and `gamma` that is the consensus distance of their local
    /// parameters. `parts` as in [`average`](Self::average); those that do not decode are left out. `None` of fewer than two, or of zeros.
    pub fn distance(&self, slices: u64, slice: u64, parts: &[Option<&[u8]>]) -> Option<f64> {
        let own = &self.x[step::slice(self.x.len(), slices, slice)];
        let decode = |part: &Option<&[u8]>| match part {
            None => Some(own.to_vec()),
            Some(bytes) => {
                let mut values = vec![0.0; own.len()];
                self.codecs.0.decode(bytes, &mut values).ok().map(|()| values)
            }
        };
        let all: Vec<Vec<f32>> = parts.iter().filter_map(decode).collect();
        let (mut apart, mut norm) = (0.0, 0.0);
        for i in 0..own.len() {
            let at = || all.iter().map(|values| f64::from(values[i]));
            let mean = at().sum::<f64>() / all.len() as f64;
            apart += at().map(|x| (x - mean) * (x - mean)).sum::<f64>() / all.len() as f64;
            norm += mean * mean;
        }
        (all.len() > 1 && norm > 0.0).then(|| (apart / norm).sqrt())
    }

    /// The outer step with these slices' means, and for the rest alone. Means that do not decode are left out; which, and why.
    pub fn step(&mut self, slices: u64, means: &[(u64, &[u8])]) -> Vec<Unsound> {
        let mut unsound = Vec::new();
        for (place, (slice, bytes)) in means.iter().enumerate() {
            let at = step::slice(self.x.len(), slices, *slice);
            if let Err(cause) = self.codecs.1.decode(bytes, &mut self.x[at]) {
                unsound.push(Unsound { place, cause });
            }
        }
        let (outer, momentum) = (Arc::make_mut(&mut self.outer), Arc::make_mut(&mut self.momentum));
        step::take(&self.spec, outer, momentum, &self.x);
        unsound
    }

    /// The outer step with the mean of all, `[elems]`, whatever it came to.
    pub fn step_with(&mut self, mean: &[f32]) {
        let (outer, momentum) = (Arc::make_mut(&mut self.outer), Arc::make_mut(&mut self.momentum));
        step::take(&self.spec, outer, momentum, mean);
    }

    /// Takes over a neighbour's parameters.
    ///
    /// # Panics
    /// If it has another length: a caller's fault that no peer can provoke.
    pub fn load(&mut self, outer: Vec<f32>) {
        assert_eq!(outer.len(), self.outer.len(), "vectors of one model differ");
        self.outer = Arc::new(outer);
        Arc::make_mut(&mut self.momentum).fill(0.0);
        self.residual.fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(spec: GossipSpec, outer: [f32; 2]) -> Numbers {
        Numbers::new(spec, (Codec::F32, Codec::F32), outer.to_vec())
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn a_pair_that_averages_plainly_is_of_one_mind() {
        let spec = GossipSpec::moshpit(1, 2);
        let mut a = numbers(spec, [1.0, 2.0]);
        let mut b = numbers(spec, [1.0, 2.0]);
        assert!(a.learned(&[2.0, 4.0]) && b.learned(&[4.0, 0.0]));
        // One block: the first slice is empty.
        let part = b.part(2, 1);
        assert_eq!((part.clone(), a.part(2, 0)), (bytes(&[4.0, 0.0]), vec![]));
        let mean = a.average(2, 1, &[None, Some(&part)]).unwrap();
        assert_eq!(mean, bytes(&[3.0, 2.0]));
        // Apart by (1, 2) each from a mean of (3, 2): the root of 5 / 13.
        let distance = a.distance(2, 1, &[None, Some(&part)]).unwrap();
        assert!((distance - (5.0_f64 / 13.0).sqrt()).abs() < 1e-9);
        let means: [(u64, &[u8]); 2] = [(0, &[]), (1, &mean)];
        assert_eq!((a.step(2, &means), b.step(2, &means)), (vec![], vec![]));
        assert_eq!(
            (a.outer().as_slice(), b.outer().as_slice()),
            (&[3.0, 2.0][..], &[3.0, 2.0][..])
        );
    }

    #[test]
    fn what_does_not_decode_is_named_and_left_out() {
        let mut a = numbers(GossipSpec::moshpit(1, 2), [1.0, 1.0]);
        assert!(a.learned(&[2.0, 2.0]));
        let torn = bytes(&[1.0]);
        assert_eq!(a.average(2, 1, &[None, Some(&torn)]).unwrap_err().place, 1);
        assert_eq!(a.distance(2, 1, &[None, Some(&torn)]), None);
        let unsound = a.step(2, &[(1, &torn)]);
        assert_eq!((unsound.len(), unsound[0].place), (1, 0));
        assert_eq!(a.outer().as_slice(), [2.0, 2.0]);
    }

    #[test]
    fn work_that_diverged_is_left_out() {
        let mut a = numbers(GossipSpec::moshpit(1, 2), [1.0, 2.0]);
        assert!(!a.learned(&[f32::NAN, 0.0]));
        a.step(0, &[]);
        assert_eq!(a.outer().as_slice(), [1.0, 2.0]);
    }

    #[test]
    fn what_a_codec_leaves_out_comes_with_the_next_part() {
        let spec = GossipSpec::moshpit(1, 2);
        let mut a = Numbers::new(spec, (Codec::Bf16, Codec::F32), vec![0.0]);
        let fine = 1.0 + 1.0 / 1024.0;
        assert!(a.learned(&[fine]));
        a.part(1, 0);
        assert_eq!(a.residual(), [fine - 1.0]);
        let mut sum = a.residual()[0];
        for _ in 0..15 {
            let bytes = a.part(1, 0);
            let mut part = [0.0];
            Codec::Bf16.decode(&bytes, &mut part).unwrap();
            sum += fine - part[0];
            assert!((a.residual()[0] - sum).abs() < 1e-5, "{:?} {sum}", a.residual());
        }
        a.load(vec![5.0]);
        assert_eq!((a.outer().as_slice(), a.residual()), (&[5.0][..], &[0.0][..]));
    }
}
