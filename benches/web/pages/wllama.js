import { Wllama } from '/wllama/index.js';

/** As kinglet.js, with llama.cpp in WebAssembly; times are taken from the stream. */
export async function generation({ threads, prompt, long, decode }) {
  const start = performance.now();
  const wllama = new Wllama({ default: '/wllama/wasm/wllama.wasm' }, { suppressNativeLog: true });
  await wllama.loadModelFromUrl(`${location.origin}/peers/smollm2.q8_0.gguf`, {
    n_threads: threads, n_ctx: 1024, n_gpu_layers: 0, useCache: false,
  });
  const run = async (prompt, max_tokens) => {
    const start = performance.now();
    const stream = await wllama.createCompletion({
      prompt, max_tokens, temperature: 0, ignore_eos: true, cache_prompt: false, stream: true, timings_per_token: true,
    });
    let timings;
    let first;
    let pieces = 0;
    for await (const chunk of stream) {
      if (chunk.choices?.[0]?.text) {
        first ??= performance.now();
        pieces += 1;
      }
      timings = chunk.timings ?? timings;
    }
    const end = performance.now();
    return { first: first - start, rest: end - first, pieces, timings };
  };
  await run(prompt, 1);
  const firstToken = performance.now() - start;
  const prefilled = await run(long, 1);
  const decoded = await run(prompt, decode);
  return {
    firstToken, prefill: (prefilled.timings?.prompt_n ?? NaN) / (prefilled.first / 1000),
    promptTokens: prefilled.timings?.prompt_n,
    decode: (decoded.pieces - 1) / (decoded.rest / 1000), generated: decoded.pieces,
    own: decoded.timings, threads: wllama.getNumThreads(),
  };
}
