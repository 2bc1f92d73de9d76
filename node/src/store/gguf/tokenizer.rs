//! A tokenizer in llama.cpp's words: tokens by number, their kinds, merges, and the name of the way text is cut beforehand.
//!
//! Byte-level BPE alone (GPT-2's and what followed): llama.cpp knows no general `tokenizer.json`, only ways of cutting by name.

use super::file::Value;
use crate::store::error::StoreError;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;

/// Keys and values.
pub(super) type Keys = Vec<(&'static str, Value)>;

/// `llama_token_type`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Letters of the byte 0xff, which no text in UTF-8 holds.
const NEVER: &str = "\u{ff}";

/// What ends a text in the vocabularies of others.
const ENDS: [&str; 5] = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>"];

/// Patterns by which text is cut before it is merged, as `tokenizer.json` has them, and llama.cpp's names.
const PATTERNS: [(&str, &str); 3] = [
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "llama-bpe",
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "qwen2",
    ),
    (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", "gpt-2"),
];

/// The keys of a `tokenizer.json` from `path`, for a model of `vocab` tokens.
///
/// # Errors
/// It is not byte-level BPE, or cuts text in a way that llama.cpp has no name for here.
pub(super) fn keys(path: &Path, json: &Json, vocab: u32) -> Result<Keys, StoreError> {
    let refuse = |reason: String| Err(StoreError::unsupported(path, reason));
    if json["model"]["type"] != "BPE" {
        return refuse(format!(
            "its model is {}; llama.cpp gets byte-level BPE or bytes from here",
            json["model"]["type"]
        ));
    }
    let whole = |merges: usize| merges == 0;
    let merges = merges(&json["model"]["merges"]);
    let Some(cut) = cut(&json["pre_tokenizer"], whole(merges.len())) else {
        return refuse(format!(
            "it cuts text by {}, for which no name in llama.cpp is known here",
            json["pre_tokenizer"]
        ));
    };
    if !json["normalizer"].is_null() && json["normalizer"]["type"] != "NFC" {
        return refuse(format!(
            "it normalises text by {}, which llama.cpp does not",
            json["normalizer"]["type"]
        ));
    }
    let (tokens, kinds) = tokens(path, json, vocab)?;
    let number = |name: &str| tokens.iter().position(|token| token == name);
    let end = ENDS.iter().find_map(|name| number(name)).or_else(|| number(NEVER));
    let mut keys = vec![
        ("tokenizer.ggml.model", Value::Text("gpt2".into())),
        ("tokenizer.ggml.pre", Value::Text(cut.into())),
    ];
    // Without it llama.cpp would take token 11, whatever that is.
    if let Some(end) = end {
        keys.push(("tokenizer.ggml.bos_token_id", Value::Whole(end as u32)));
        keys.push(("tokenizer.ggml.eos_token_id", Value::Whole(end as u32)));
    }
    keys.extend([
        ("tokenizer.ggml.tokens", Value::Texts(tokens)),
        ("tokenizer.ggml.token_type", Value::Wholes(kinds)),
        ("tokenizer.ggml.merges", Value::Texts(merges)),
        // Training text has none, so prompts have none.
        ("tokenizer.ggml.add_bos_token", Value::Switch(false)),
        ("tokenizer.ggml.add_eos_token", Value::Switch(false)),
    ]);
    Ok(keys)
}

/// Merges as `a b`; newer files have pairs.
fn merges(json: &Json) -> Vec<String> {
    let text = |merge: &Json| match merge {
        Json::String(both) => both.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap_or(""), pair[1].as_str().unwrap_or("")),
    };
    json.as_array().into_iter().flatten().map(text).collect()
}

/// llama.cpp's name for the way in which text is cut. Where nothing is merged it makes no difference.
fn cut(pre: &Json, never_merges: bool) -> Option<&'static str> {
    let steps: Vec<&Json> = match &pre["pretokenizers"] {
        Json::Array(steps) => steps.iter().collect(),
        _ => vec![pre],
    };
    let last = steps.last().filter(|last| last["type"] == "ByteLevel")?;
    if last["add_prefix_space"] == true {
        return None;
    }
    // Absent is true.
    let own = last["use_regex"] != false;
    match steps.as_slice() {
        [_] if own || never_merges => Some("gpt-2"),
        [split, _] if split["type"] == "Split" && !own => {
            let pattern = split["pattern"]["Regex"].as_str()?;
            PATTERNS.iter().find(|(known, _)| *known == pattern).map(|(_, name)| *name)
        }
        _ => None,
    }
}

/// Tokens by number, and their kinds; numbers that nobody has are filled up, as llama.cpp's converter does.
fn tokens(path: &Path, json: &Json, vocab: u32) -> Result<(Vec<String>, Vec<i32>), StoreError> {
    let number = |json: &Json| json.as_u64().filter(|id| *id < u64::from(vocab));
    let mut by_number: BTreeMap<u64, (String, i32)> = BTreeMap::new();
    for (token, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
        let id = number(id).ok_or_else(|| {
            StoreError::unsupported(
                path,
                format!("token {token:?} has number {id}; the model has {vocab} tokens"),
            )
        })?;
        by_number.insert(id, (token.clone(), NORMAL));
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = if added["special"] == true { CONTROL } else { USER_DEFINED };
        if let (Some(id), Some(text)) = (number(&added["id"]), added["content"].as_str()) {
            by_number.insert(id, (text.to_owned(), kind));
        }
    }
    let all = (0..u64::from(vocab))
        .map(|id| by_number.remove(&id).unwrap_or_else(|| (format!("[PAD{id}]"), UNUSED)));
    Ok(all.unzip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bpe(pre: &Json, merges: &Json) -> Json {
        json!({
            "normalizer": null,
            "pre_tokenizer": pre,
            "added_tokens": [{"id": 3, "content": "<|endoftext|>", "special": true}],
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": merges},
        })
    }

    fn text<'a>(keys: &'a Keys, key: &str) -> Option<&'a Value> {
        keys.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    #[test]
    fn tokens_kinds_and_merges_are_those_of_the_file() {
        let own = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
        for merges in [json!(["a b"]), json!([["a", "b"]])] {
            let keys = keys(Path::new("t"), &bpe(&own, &merges), 5).unwrap();
            let Some(Value::Texts(tokens)) = text(&keys, "tokenizer.ggml.tokens") else { panic!() };
            assert_eq!(tokens, &["a", "b", "ab", "<|endoftext|>", "[PAD4]"]);
            let Some(Value::Wholes(kinds)) = text(&keys, "tokenizer.ggml.token_type") else {
                panic!()
            };
            assert_eq!(kinds, &[NORMAL, NORMAL, NORMAL, CONTROL, UNUSED]);
            let Some(Value::Texts(merges)) = text(&keys, "tokenizer.ggml.merges") else { panic!() };
            assert_eq!(merges, &["a b"]);
            let Some(Value::Whole(end)) = text(&keys, "tokenizer.ggml.eos_token_id") else {
                panic!()
            };
            assert_eq!(*end, 3);
        }
    }

    #[test]
    fn ways_of_cutting_have_names() {
        let byte_level =
            |own: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": own});
        let split = |pattern: &str| {
            let split = json!({"type": "Split", "pattern": {"Regex": pattern}});
            json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
        };
        assert_eq!(cut(&byte_level(true), false), Some("gpt-2"));
        assert_eq!(
            (cut(&byte_level(false), true), cut(&byte_level(false), false)),
            (Some("gpt-2"), None)
        );
        for (pattern, name) in PATTERNS {
            assert_eq!(cut(&split(pattern), false), Some(name));
        }
        assert_eq!(cut(&split("[0-9]"), false), None);
        assert_eq!(cut(&json!({"type": "Whitespace"}), true), None);
    }

    #[test]
    fn what_llama_cpp_cannot_be_told_is_refused() {
        let own = json!({"type": "ByteLevel", "add_prefix_space": false});
        let rows = [
            (json!({"model": {"type": "WordLevel"}}), "byte-level BPE"),
            (bpe(&json!({"type": "Whitespace"}), &json!([])), "cuts text"),
            (
                {
                    let mut lower = bpe(&own, &json!([]));
                    lower["normalizer"] = json!({"type": "Lowercase"});
                    lower
                },
                "Lowercase",
            ),
        ];
        for (json, reason) in rows {
            let error = keys(Path::new("t"), &json, 5).err().unwrap().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let error = keys(Path::new("t"), &bpe(&own, &json!([])), 2).err().unwrap().to_string();
        assert!(error.contains("has number 2"), "{error}");
    }
}
