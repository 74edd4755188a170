// Kinglet in a page.

import { load } from './model.js';
import { quantize } from './quantize.js';
import { spawn } from './spawn.js';
import { stored } from './store.js';

const file = (script, wasm) => ({ script: script.href, wasm: wasm.href });

// Written out, so that bundlers find the files and bring them along.
const files = {
  'relaxed-threads': file(
    new URL('./relaxed-threads.js', import.meta.url),
    new URL('./relaxed-threads.wasm', import.meta.url),
  ),
  'simd128-threads': file(
    new URL('./simd128-threads.js', import.meta.url),
    new URL('./simd128-threads.wasm', import.meta.url),
  ),
  relaxed: file(
    new URL('./relaxed.js', import.meta.url),
    new URL('./relaxed.wasm', import.meta.url),
  ),
  simd128: file(
    new URL('./simd128.js', import.meta.url),
    new URL('./simd128.wasm', import.meta.url),
  ),
};
const quantizer = file(
  new URL('./quantize.js', import.meta.url),
  new URL('./quantize.wasm', import.meta.url),
);
const script = new URL('./worker.js', import.meta.url).href;

const platform = {
  files,
  quantizer,
  source(given) {
    if (given instanceof Blob) return { blob: given };
    if (given instanceof ArrayBuffer || ArrayBuffer.isView(given)) return { blob: new Blob([given]) };
    return { url: new URL(given, document.baseURI).href };
  },
  startWorker() {
    const worker = spawn(script, 'kinglet');
    return {
      post: (message) => worker.postMessage(message),
      listen(onMessage, onFailure) {
        worker.onmessage = ({ data }) => onMessage(data);
        worker.onmessageerror = () => onFailure('a message could not be read');
        worker.onerror = (event) => {
          event.preventDefault();
          onFailure(event.message ?? 'its script could not be loaded');
        };
      },
      keepAlive() {},
      terminate: () => worker.terminate(),
    };
  },
};

export const Kinglet = {
  load: (source, options) => load(platform, source, options),
  quantize: (checkpoint, options) => quantize(platform, checkpoint, options),
  stored,
};
export { KingletError } from './errors.js';
