//! A text that goes through the model layer by layer, so that it is known how much goes into each weight.

use crate::data::Batch;
use crate::model::Llama;
use crate::model::activations::Inputs;
use shoal_protocol::run::ModelSpec;
use tch::{Device, Kind, TchError, Tensor};

/// The residual streams of a text before a layer.
pub struct Calibration {
    model: Llama,
    /// `[rows, context, dim]` each.
    streams: Vec<Tensor>,
    layer: usize,
}

/// What a layer does to the text.
pub struct Passage {
    /// Sums of squares of what goes into its matrices.
    pub inputs: Inputs,
    /// Mean cosine of the residual stream before and after it, over tokens: near 1 it does little (ShortGPT, arXiv 2403.03853,
    /// equation 1, has 1 minus it).
    pub cosine: f64,
}

impl Calibration {
    /// Before the first layer of a model with these parameters. `batch`: `rows` sequences go through at once.
    ///
    /// # Errors
    /// Parameters of another length, or the device failed.
    pub fn new(
        spec: &ModelSpec,
        params: &[f32],
        batch: &Batch,
        rows: usize,
        device: Device,
    ) -> Result<Calibration, TchError> {
        let mut model = Llama::new(spec, device)?;
        model.load_flat(params)?;
        let width = batch.tokens.len() / batch.rows.max(1);
        let streams = batch
            .tokens
            .chunks(rows.max(1) * width)
            .map(|part| {
                let rows = Tensor::f_from_slice(part)?.f_view([-1, width as i64])?.f_to(device)?;
                model.embed(&rows.f_narrow(1, 0, width as i64 - 1)?)
            })
            .collect::<Result<_, _>>()?;
        Ok(Calibration { model, streams, layer: 0 })
    }

    /// What goes into the next layer's matrices, with the weights that it has; it stays the next.
    ///
    /// # Errors
    /// The device failed.
    pub fn look(&self) -> Result<Passage, TchError> {
        let (mut inputs, mut cosine) = (Inputs::default(), 0.0);
        for stream in &self.streams {
            let (after, new) = self.model.through_layer(self.layer, stream)?;
            inputs.add(&new);
            let near = Tensor::f_cosine_similarity(stream, &after, -1, 1e-8)?;
            cosine += near.f_mean(Kind::Float)?.f_double_value(&[])? / self.streams.len() as f64;
        }
        Ok(Passage { inputs, cosine })
    }

    /// Goes through the next layer, with `params` in the place of what the model had.
    ///
    /// # Errors
    /// Parameters of another length, or the device failed.
    pub fn step(&mut self, params: &[f32]) -> Result<(), TchError> {
        self.model.load_flat(params)?;
        for stream in &mut self.streams {
            *stream = self.model.through_layer(self.layer, stream)?.0;
        }
        self.layer += 1;
        Ok(())
    }
}
