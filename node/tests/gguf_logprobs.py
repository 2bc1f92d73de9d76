#!/usr/bin/env python3
"""The other side of exports.rs: what llama.cpp makes of a file.

  python gguf_logprobs.py FILE TEXT OUT   writes log-probabilities of the token after TEXT, [vocab] f32 little-endian, to OUT
  python gguf_logprobs.py FILE --speed N  prints JSON: tokens a second of N tokens made one by one, on one core

Needs xllamacpp, which is llama.cpp with its own wheels, and numpy.
"""
import json
import sys

import numpy
import xllamacpp


def server(file):
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_parallel = 1
    params.warmup = False
    params.cpuparams.n_threads = 1
    # Keys and values in full, as ours are.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(params)


def logprobs(file, text, out):
    vocab = 256
    wanted = {"prompt": text, "n_predict": 1, "logprobs": vocab, "temperature": 0, "cache_prompt": False}
    answer = server(file).handle_completions(wanted)
    assert answer["usage"]["prompt_tokens"] == len(text.encode()), "each byte is its own token"
    table = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    result = numpy.full(vocab, numpy.nan, numpy.float32)
    for entry in table:
        result[entry["id"]] = entry["logprob"]
    open(out, "wb").write(result.astype("<f4").tobytes())


def speed(file, tokens):
    wanted = {"prompt": "Once", "n_predict": int(tokens), "temperature": 0.7, "ignore_eos": True}
    timings = server(file).handle_completions(wanted)["timings"]
    print(json.dumps({"file": file, "tokens": timings["predicted_n"], "per_s": timings["predicted_per_second"]}))


if sys.argv[2] == "--speed":
    speed(sys.argv[1], sys.argv[3])
else:
    logprobs(*sys.argv[1:])
