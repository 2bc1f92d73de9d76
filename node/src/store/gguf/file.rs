//! The file itself: a header, keys and values, a table of tensors, then their bytes, each at a multiple of 32.
//!
//! Source: ggml's `docs/gguf.md`, version 3, little-endian.

use super::blocks::Encoding;

/// Tensors' bytes begin at multiples of this.
pub(super) const ALIGNMENT: usize = 32;

/// A value of a key.
pub(super) enum Value {
    /// A whole number.
    Whole(u32),
    /// A number.
    Number(f32),
    /// Yes or no.
    Switch(bool),
    /// Text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
    /// Whole numbers.
    Wholes(Vec<i32>),
}

impl Value {
    /// `gguf_metadata_value_type`.
    fn kind(&self) -> u32 {
        match self {
            Value::Whole(_) => 4,
            Value::Number(_) => 6,
            Value::Switch(_) => 7,
            Value::Text(_) => 8,
            Value::Texts(_) | Value::Wholes(_) => 9,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Whole(whole) => out.extend(whole.to_le_bytes()),
            Value::Number(number) => out.extend(number.to_le_bytes()),
            Value::Switch(switch) => out.push(u8::from(*switch)),
            Value::Text(text) => write_text(text, out),
            Value::Texts(texts) => {
                write_array(8, texts.len(), out);
                texts.iter().for_each(|text| write_text(text, out));
            }
            Value::Wholes(wholes) => {
                write_array(5, wholes.len(), out);
                wholes.iter().for_each(|whole| out.extend(whole.to_le_bytes()));
            }
        }
    }
}

fn write_array(kind: u32, len: usize, out: &mut Vec<u8>) {
    out.extend(kind.to_le_bytes());
    out.extend((len as u64).to_le_bytes());
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A tensor of the table.
pub(super) struct Entry {
    /// Its name.
    pub name: String,
    /// `[out, in]` or `[dim]`.
    pub shape: Vec<usize>,
    /// How its rows are written.
    pub encoding: Encoding,
}

impl Entry {
    /// Bytes of its elements.
    pub fn bytes(&self) -> usize {
        self.encoding.bytes(self.shape.iter().product())
    }
}

/// All that comes before the tensors' bytes, padded.
pub(super) fn head(values: &[(&str, Value)], tensors: &[Entry]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((values.len() as u64).to_le_bytes());
    for (key, value) in values {
        write_text(key, &mut out);
        out.extend(value.kind().to_le_bytes());
        value.write(&mut out);
    }
    let mut offset = 0;
    for tensor in tensors {
        write_text(&tensor.name, &mut out);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        // The side whose elements are neighbours comes first.
        tensor.shape.iter().rev().for_each(|side| out.extend((*side as u64).to_le_bytes()));
        out.extend(tensor.encoding.tensor_type().to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    pad(&mut out);
    out
}

/// Zeros up to the next multiple of [`ALIGNMENT`].
pub(super) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_specification() {
        let tensor = |name: &str, shape: &[usize]| Entry {
            name: name.into(),
            shape: shape.to_vec(),
            encoding: Encoding::F16,
        };
        let values = [("k", Value::Whole(7)), ("t", Value::Texts(vec!["ab".into()]))];
        let head = head(&values, &[tensor("x", &[3, 5]), tensor("y", &[2])]);
        let mut expected = b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        expected.extend(b"\x01\0\0\0\0\0\0\0k\x04\0\0\0\x07\0\0\0");
        expected.extend(
            b"\x01\0\0\0\0\0\0\0t\x09\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0ab",
        );
        expected
            .extend(b"\x01\0\0\0\0\0\0\0x\x02\0\0\0\x05\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0");
        expected.extend(b"\0\0\0\0\0\0\0\0");
        // 30 bytes of x are padded to 32.
        expected
            .extend(b"\x01\0\0\0\0\0\0\0y\x01\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\x20\0\0\0\0\0\0\0");
        expected.resize(expected.len().next_multiple_of(32), 0);
        assert_eq!(head, expected);
    }
}
