#!/usr/bin/env python3
"""The other side of hf_export.rs: what transformers makes of a folder.

  python hf_logits.py logits DIR TEXT OUT   writes the logits of TEXT, [tokens, vocab] f32 little-endian, to OUT
  python hf_logits.py make DIR TIED DTYPE   writes a small random Llama (sharded) in DTYPE to DIR

Needs torch, transformers and safetensors.
"""
import sys
import warnings

warnings.filterwarnings("ignore")
import torch
import transformers

transformers.logging.set_verbosity_error()


def logits(folder, text, out):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(text, return_tensors="pt").input_ids
    assert tokens[0].tolist() == list(text.encode()), "each byte is its own token"
    assert tokenizer.decode(tokens[0]) == text, "tokens decode to the text"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert type(model).__name__ == "LlamaForCausalLM", type(model)
    with torch.no_grad():
        result = model(tokens).logits[0]
    open(out, "wb").write(result.float().contiguous().numpy().tobytes())


def make(folder, tied, dtype):
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-6, tie_word_embeddings=tied == "tied",
        initializer_range=0.3, bos_token_id=None, eos_token_id=None,
    )
    model = transformers.LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size="20KB")


{"logits": logits, "make": make}[sys.argv[1]](*sys.argv[2:])
