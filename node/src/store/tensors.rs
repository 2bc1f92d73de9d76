//! Flat vectors as safetensors files with Hugging Face's names, and back.

use super::disk;
use super::error::StoreError;
use super::floats::{bytes_of, bytes_of_mut, from_bf16, from_f16};
use crate::model::{Layout, Slot};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::path::Path;

/// Writes `flat`, `[params]` in the layout's order, as one f32 tensor a weight, flushed to the disk.
pub(super) fn write(path: &Path, layout: &Layout, flat: &[f32]) -> Result<(), StoreError> {
    let views = layout
        .slots
        .iter()
        .map(|slot| {
            let bytes = bytes_of(&flat[slot.range()]);
            let view = TensorView::new(Dtype::F32, slot.shape.clone(), bytes);
            view.map(|view| (slot.name.as_str(), view))
                .map_err(|e| StoreError::torn(path, e.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    // `format` is what transformers asks of a file.
    let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(notes), path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => StoreError::io("writing", path)(source),
        other => StoreError::torn(path, other.to_string()),
    })?;
    disk::flush_file(path)
}

/// Reads a file that [`write`] made.
pub(super) fn read(path: &Path, layout: &Layout) -> Result<Vec<f32>, StoreError> {
    let map = disk::map(path)?;
    let tensors = parse(path, &map)?;
    let mut flat = vec![0.0; layout.len()];
    for slot in &layout.slots {
        copy(path, &tensors, slot, &mut flat[slot.range()])?;
    }
    Ok(flat)
}

/// The tensors of a mapped file.
pub(super) fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>, StoreError> {
    SafeTensors::deserialize(bytes)
        .map_err(|error| StoreError::torn(path, format!("it is no safetensors file: {error}")))
}

/// Copies one weight, as f32, from a file's tensors.
pub(super) fn copy(
    path: &Path,
    tensors: &SafeTensors,
    slot: &Slot,
    into: &mut [f32],
) -> Result<(), StoreError> {
    let view = tensors
        .tensor(&slot.name)
        .map_err(|_| StoreError::unsupported(path, format!("it has no tensor {}", slot.name)))?;
    if view.shape() != slot.shape {
        let reason = format!(
            "{} has shape {:?} where the model has {:?}",
            slot.name,
            view.shape(),
            slot.shape
        );
        return Err(StoreError::unsupported(path, reason));
    }
    let halves = || view.data().as_chunks::<2>().0.iter().map(|two| u16::from_le_bytes(*two));
    match view.dtype() {
        Dtype::F32 => bytes_of_mut(into).copy_from_slice(view.data()),
        Dtype::BF16 => into.iter_mut().zip(halves()).for_each(|(x, bits)| *x = from_bf16(bits)),
        Dtype::F16 => into.iter_mut().zip(halves()).for_each(|(x, bits)| *x = from_f16(bits)),
        other => {
            let reason = format!("{} is {other:?}; f32, bf16 and f16 are understood", slot.name);
            return Err(StoreError::unsupported(path, reason));
        }
    }
    Ok(())
}
