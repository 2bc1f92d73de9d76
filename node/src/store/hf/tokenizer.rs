//! The byte tokenizer as a `tokenizer.json`: each byte is the token of its own number, and no two are merged.
//!
//! Byte-level BPE (GPT-2) writes bytes as printable characters; a vocabulary of just those 256 is the byte tokenizer.

use super::import::read_json;
use crate::store::error::StoreError;
use serde_json::{Map, Value, json};
use shoal_protocol::run::TokenizerSpec;
use std::path::Path;

/// The character that byte-level BPE writes for a byte (GPT-2's `bytes_to_unicode`).
fn letter(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    // The others follow from 256 on, in order.
    let before = (0..byte).filter(|other| !printable(*other)).count() as u32;
    char::from_u32(256 + before).unwrap_or('\u{fffd}')
}

/// The `tokenizer.json` of a run: made if it is bytes, read from `file` if it is one.
///
/// # Errors
/// The file was not given, cannot be read or is no JSON.
pub fn json(tokenizer: &TokenizerSpec, file: Option<&Path>) -> Result<Value, StoreError> {
    match (tokenizer, file) {
        (TokenizerSpec::Bytes, _) => Ok(byte_tokenizer()),
        (TokenizerSpec::File { .. }, Some(file)) => read_json(file),
        (TokenizerSpec::File { .. }, None) => Err(StoreError::Invalid(
            "the run's tokenizer is a file: name it with --tokenizer".into(),
        )),
    }
}

/// The tokenizer's file.
pub(super) fn byte_tokenizer() -> Value {
    let vocab: Map<String, Value> =
        (0..=255u8).map(|byte| (letter(byte).to_string(), json!(byte))).collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": [],
        },
    })
}

/// What `AutoTokenizer` needs beside it.
pub(super) fn tokenizer_config(context: u32) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_its_own_token() {
        let text = serde_json::to_vec(&byte_tokenizer()).unwrap();
        let tokenizer = tokenizers::Tokenizer::from_bytes(text).unwrap();
        assert_eq!(tokenizer.get_vocab_size(true), 256);
        for text in
            ["Once upon a time,\n\tthere was  a fox. ", "h\u{e9}llo \u{20ac} \u{1f41f}", "\0\x7f"]
        {
            let ids = tokenizer.encode(text, true).unwrap().get_ids().to_vec();
            let bytes: Vec<u32> = text.bytes().map(u32::from).collect();
            assert_eq!(ids, bytes);
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
    }

    #[test]
    fn letters_are_256_different_ones() {
        let letters: std::collections::BTreeSet<char> = (0..=255).map(letter).collect();
        assert_eq!(letters.len(), 256);
        assert_eq!((letter(b' '), letter(b'\n'), letter(b'a')), ('\u{120}', '\u{10a}', 'a'));
    }
}
