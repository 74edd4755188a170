"""Onnxruntime's half of the measurements: the counterpart of benches/src/bin/peer.rs.

Reads the same JSON request from standard input and answers on standard output. What it does is
what a user of onnxruntime writes: tokenizer, session, mean pooling.
"""

import json
import sys
import time

import numpy as np
import onnxruntime
import tokenizers


def main():
    request = json.load(sys.stdin)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(request["model"], options,
                                           providers=["CPUExecutionProvider"])
    tokenizer = tokenizers.Tokenizer.from_file(request["tokenizer"])
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()

    def embed(texts):
        encoded = tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encoded], dtype=np.int64)
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
        hidden = session.run(None, {"input_ids": ids, "attention_mask": mask,
                                    "token_type_ids": np.zeros_like(ids)})[0]
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    milliseconds = []
    for batch in request["batches"]:
        embed(batch)
        calls, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < request["seconds"]:
            embed(batch)
            calls += 1
        milliseconds.append(1000 * elapsed / calls)
    vectors = [embed([text])[0].tolist() for text in request["texts"]]
    json.dump({"ms": milliseconds, "vectors": vectors}, sys.stdout)


main()
