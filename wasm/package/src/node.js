// Kinglet in Node.

import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

import { KingletError } from './errors.js';
import { load } from './model.js';
import { quantize } from './quantize.js';
import { VARIANTS } from './variant.js';

const address = (name) => new URL(name, import.meta.url);
const module = (name) => ({ script: address(`./${name}.js`).href, wasm: address(`./${name}.wasm`).href });
const files = Object.fromEntries(VARIANTS.map((name) => [name, module(name)]));

const platform = {
  files,
  quantizer: module('quantize'),
  paths: true,
  hub: { endpoint: process.env.HF_ENDPOINT, token: process.env.HF_TOKEN },
  source(given) {
    if (given instanceof Blob) return { blob: given };
    if (given instanceof ArrayBuffer || ArrayBuffer.isView(given)) return { blob: new Blob([given]) };
    if (/^https?:/.test(given)) return { url: new URL(given).href };
    return { path: given instanceof URL || /^file:/.test(given) ? fileURLToPath(given) : given };
  },
  startWorker() {
    // The program's own flags, such as `-e`, are not for a worker.
    const worker = new Worker(address('./worker.js'), { name: 'kinglet', execArgv: [] });
    return {
      post: (message) => worker.postMessage(message),
      listen(onMessage, onFailure) {
        worker.on('message', onMessage);
        worker.on('messageerror', () => onFailure('a message could not be read'));
        worker.on('error', (error) => onFailure(error.message));
        worker.on('exit', (code) => onFailure(`it ended with code ${code}`));
      },
      // A model that is idle keeps no program from ending.
      keepAlive: (yes) => (yes ? worker.ref() : worker.unref()),
      terminate: () => worker.terminate(),
    };
  },
};

export const Kinglet = {
  /** In Node, `cache` is `false` (the default) or `{ folder }`. */
  load: (source, options = {}) => load(platform, source, { cache: false, ...options }),
  quantize: (checkpoint, options) => quantize(platform, checkpoint, options),
};
export { KingletError };
