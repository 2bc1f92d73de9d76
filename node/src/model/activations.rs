//! What goes into each matrix of a layer: the model run layer by layer, for pruning.

use super::Llama;
use super::linear::linear;
use super::ready::ReadyLayer;
use tch::{Kind, TchError, Tensor, no_grad};

/// Sums of squares over tokens of what goes into a layer's matrices, by input feature, f64 on the CPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Into q, k and v, `[dim]`.
    pub attention: Vec<f64>,
    /// Into the attention's output matrix, `[heads * head_dim]`.
    pub out: Vec<f64>,
    /// Into gate and up, `[dim]`.
    pub mlp: Vec<f64>,
    /// Into down, `[hidden]`.
    pub down: Vec<f64>,
}

impl Llama {
    /// The residual stream before the first layer, `[B, T, dim]`. `inputs`: `[B, T]` i64.
    ///
    /// # Errors
    /// Shapes do not fit, or the device failed.
    pub fn embed(&self, inputs: &Tensor) -> Result<Tensor, TchError> {
        let embedding = &self.weights.embedding;
        no_grad(|| Tensor::f_embedding(embedding, inputs, -1, false, false)?.f_to_kind(Kind::Float))
    }

    /// What goes into the matrices of each layer, of a text. `inputs`: `[B, T]` i64.
    ///
    /// # Errors
    /// Shapes do not fit, or the device failed.
    pub fn inputs(&self, inputs: &Tensor) -> Result<Vec<Inputs>, TchError> {
        let mut x = self.embed(inputs)?;
        let layers = 0..self.spec.layers as usize;
        let through = layers.map(|layer| {
            let (after, inputs) = self.through_layer(layer, &x)?;
            x = after;
            Ok(inputs)
        });
        through.collect()
    }

    /// The residual stream after a layer, `[B, T, dim]`, and the sums of squares on the way. `x`: what came before it.
    ///
    /// # Errors
    /// Shapes do not fit, or the device failed.
    pub fn through_layer(&self, layer: usize, x: &Tensor) -> Result<(Tensor, Inputs), TchError> {
        no_grad(|| self.through(layer, x))
    }

    fn through(&self, index: usize, x: &Tensor) -> Result<(Tensor, Inputs), TchError> {
        let weights = &self.weights.layers[index];
        let layer = ReadyLayer::new(&self.spec, weights)?;
        let turns = self.turns.f_narrow(0, 0, x.size()[1])?;
        // With the identity in the place of its last matrix, a block gives what goes into that.
        let bare = with_identities(&layer)?;
        let into_attention = self.unit(x)?.f_mul(&weights.attention_norm)?;
        let mixed = self.attention(&bare, x, &turns, None, None)?;
        let x = x.f_add(&linear(&mixed, &layer.out)?)?;
        let into_mlp = self.unit(&x)?.f_mul(&weights.mlp_norm)?;
        let gated = self.mlp(&bare, &x)?;
        let x = x.f_add(&linear(&gated, &layer.down)?)?;
        let inputs = Inputs {
            attention: squares(&into_attention)?,
            out: squares(&mixed)?,
            mlp: squares(&into_mlp)?,
            down: squares(&gated)?,
        };
        Ok((x, inputs))
    }
}

fn with_identities(layer: &ReadyLayer) -> Result<ReadyLayer, TchError> {
    let eye = |of: &Tensor| Tensor::f_eye(of.size()[1], (of.kind(), of.device()));
    Ok(ReadyLayer {
        q: layer.q.shallow_clone(),
        k: layer.k.shallow_clone(),
        v: layer.v.shallow_clone(),
        out: eye(&layer.out)?,
        gate: layer.gate.shallow_clone(),
        up: layer.up.shallow_clone(),
        down: eye(&layer.down)?,
    })
}

/// `x`: `[.., n]` -> `[n]`
fn squares(x: &Tensor) -> Result<Vec<f64>, TchError> {
    let width = x.size().last().copied().unwrap_or(1);
    let sums = x.f_to_kind(Kind::Double)?.f_square()?.f_reshape([-1, width])?;
    Vec::try_from(sums.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Double)?)
}

impl Inputs {
    /// Adds another batch's.
    pub fn add(&mut self, other: &Inputs) {
        let pairs = [
            (&mut self.attention, &other.attention),
            (&mut self.out, &other.out),
            (&mut self.mlp, &other.mlp),
            (&mut self.down, &other.down),
        ];
        for (sum, new) in pairs {
            sum.resize(new.len(), 0.0);
            sum.iter_mut().zip(new).for_each(|(sum, new)| *sum += new);
        }
    }

    /// What goes into a layer's matrix, by the end of its name.
    pub fn of(&self, name: &str) -> &[f64] {
        match name {
            name if name.contains("o_proj") => &self.out,
            name if name.contains("down_proj") => &self.down,
            name if name.contains("mlp.") => &self.mlp,
            _ => &self.attention,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Layout, initial_params};
    use crate::train::trainer::test_spec;
    use tch::Device;

    /// Layer by layer the model is the model, and a matrix times what goes into it is what comes out.
    #[test]
    fn layer_by_layer_it_is_the_same_model() {
        let spec = test_spec().model;
        let params: Vec<f32> = initial_params(&spec, 1).iter().map(|w| w * 3.0).collect();
        let mut model = Llama::new(&spec, Device::Cpu).unwrap();
        model.load_flat(&params).unwrap();
        let tokens = Tensor::from_slice(&[1i64, 2, 3, 4]).view([1, 4]);
        let mut x = model.embed(&tokens).unwrap();
        let mut first = Inputs::default();
        for layer in 0..spec.layers as usize {
            let (after, inputs) = model.through_layer(layer, &x).unwrap();
            x = after;
            if layer == 0 {
                first = inputs;
            }
        }
        let (hidden, _) = no_grad(|| model.hidden_and_logits(&tokens)).unwrap();
        let off = (no_grad(|| model.unit(&x)).unwrap() - hidden).abs().max().double_value(&[]);
        assert!(off < 1e-5, "{off}");
        // Into the first layer's q: unit rows of the embedding times the gain, which is 3 here.
        let sum: f64 = first.attention.iter().sum();
        let rows = 4.0 * f64::from(spec.dim) * 9.0;
        assert!((sum / rows - 1.0).abs() < 0.1, "{sum} is not about {rows}");
        let down =
            Layout::new(&spec).slots.iter().find(|s| s.name.contains("down")).unwrap().shape[1];
        assert_eq!(
            (first.down.len(), first.of("model.layers.0.mlp.down_proj.weight")),
            (down, &first.down[..])
        );
    }
}
