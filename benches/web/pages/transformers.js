import { env, pipeline } from '/transformers/transformers.min.js';

/** As kinglet.js, with onnxruntime in WebAssembly; `model` is a folder of the neighbours' models. */
export async function embedding({ threads, texts, repeats, model }) {
  const start = performance.now();
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.useBrowserCache = false;
  env.localModelPath = '/peers/';
  env.backends.onnx.wasm.wasmPaths = '/ort/';
  env.backends.onnx.wasm.numThreads = threads;
  const extract = await pipeline('feature-extraction', model, { dtype: 'q8', device: 'wasm' });
  const embed = (text) => extract(text, { pooling: 'mean', normalize: true });
  await embed(texts[0]);
  const firstVector = performance.now() - start;
  const times = [];
  for (const text of texts) {
    await embed(text);
    const start = performance.now();
    for (let i = 0; i < repeats; i++) await embed(text);
    times.push((performance.now() - start) / repeats);
  }
  const tokens = texts.map((text) => extract.tokenizer(text).input_ids.dims.at(-1));
  return { firstVector, times, tokens };
}
