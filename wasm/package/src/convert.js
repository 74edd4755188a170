// From a checkpoint's files to a model, in the worker's half.

import { KingletError } from './errors.js';
import { Progress } from './progress.js';
import { FileSource } from './source.js';

const LARGEST = 2 ** 31 - 1; // bytes that WebAssembly can address as one piece
const WEIGHTS = ['model.safetensors', 'pytorch_model.bin']; // in a folder, the first that is there
const BESIDE = /\.(json|jinja|md)$/; // what describes weights

/**
 * Converts a checkpoint.
 *
 * @param {{name: string, files: [string, {blob?: Blob, path?: string}][], type?: string, group?: string}} job
 * @param {{glue: object, memory: WebAssembly.Memory}} quantizer
 * @param {AbortSignal} signal
 * @param {(progress: object) => void} emit
 * @returns {Promise<Blob>} the model's file
 */
export async function convert({ name, files, type, group }, { glue, memory }, signal, emit) {
  const conversion = new glue.Conversion(name);
  const reading = new Progress(emit);
  for (const [file, { blob, path }] of needed(files)) {
    const source = blob ? FileSource.ofBlob(blob, file) : await FileSource.ofPath(path);
    try {
      const { total, pieces } = await source.open(0, signal);
      if (total > LARGEST) {
        const message = `${file} has ${total} bytes; at most ${LARGEST} fit into WebAssembly's memory`;
        throw new KingletError('too-large', `${message}: convert it with the command, kinglet quantize`);
      }
      const place = conversion.add(file, total);
      let loaded = 0;
      for await (const piece of pieces) {
        // A view of the memory is valid until it grows.
        new Uint8Array(memory.buffer, place + loaded, piece.length).set(piece);
        loaded += piece.length;
        reading.update({ phase: 'read', loaded, total });
      }
      if (loaded < total) throw new KingletError('unreadable', `${file} was cut short while it was read`);
    } finally {
      source.close();
    }
  }

  // As blobs, pieces leave the worker's memory while the next ones are made.
  const pieces = [];
  const write = (at, bytes) => pieces.push({ at, blob: new Blob([bytes]) });
  const phases = { hash: new Progress(emit), convert: new Progress(emit) };
  conversion.run(type, group, write, (phase, done, all) => {
    phases[phase].update({ phase, loaded: done, total: all });
  });
  pieces.sort((a, b) => a.at - b.at);
  return new Blob(pieces.map(({ blob }) => blob), { type: 'application/octet-stream' });
}

/** Without what a folder may hold besides: weights in other forms, pictures. */
function needed(files) {
  const weights = WEIGHTS.find((name) => files.some(([file]) => file === name));
  const isNeeded = (file) => BESIDE.test(file) || (weights ? file === weights : !file.includes('/'));
  return files.length === 1 ? files : files.filter(([file]) => isNeeded(file));
}
