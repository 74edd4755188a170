// From a checkpoint's files to a model, in the worker's half.

import { KingletError } from './errors.js';
import { Progress } from './progress.js';
import { FileSource, UrlSource, pause, resumed } from './source.js';

const LARGEST = 2 ** 31 - 1; // bytes that WebAssembly can address as one piece
const WEIGHTS = ['model.safetensors', 'pytorch_model.bin']; // in a folder, the first that is there
const BESIDE = /\.(json|jinja|md|txt|model|spm)$/; // what describes weights

/**
 * Converts a checkpoint.
 *
 * @param {{name: string, files: [string, object][], type?: string, group?: string, retries?: number}} job
 *   each file with its name and where it is: a `blob`, a `path` or a `url`
 * @param {{glue: object, memory: WebAssembly.Memory}} quantizer
 * @param {AbortSignal} signal
 * @param {(progress: object) => void} emit
 * @returns {Promise<Blob>} the model's file
 */
export async function convert({ name, files, type, group, retries = 5 }, { glue, memory }, signal, emit) {
  const conversion = new glue.Conversion(name);
  for (const [file, place] of needed(files, glue)) {
    const source = await sourceOf(place, file);
    try {
      const opened = await open(source, retries, signal);
      const progress = new Progress(emit);
      const tell = (loaded, total) => progress.update({ phase: source.phase, loaded, total });
      const pieces = resumed(source, opened, retries, signal);
      await (opened.total === null ? gather : stream)(pieces, opened.total, file, conversion, memory, tell);
    } catch (error) {
      // Not there, or a page that says so.
      if (!place.optional || !['http', 'not-kinglet'].includes(error.code)) throw error;
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

async function sourceOf({ url, token, blob, path }, file) {
  if (url !== undefined) return new UrlSource(url, token);
  return blob ? FileSource.ofBlob(blob, file) : FileSource.ofPath(path);
}

/** Opens a source; one that cannot be reached is tried again. */
async function open(source, retries, signal) {
  for (let failures = 1; ; failures++) {
    try {
      return await source.open(0, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!error.retryable || failures > Math.min(retries, 2)) throw error;
      await pause(250 * 2 ** failures, signal);
    }
  }
}

/** Puts a file into the module's memory as it arrives. */
async function stream(pieces, total, file, conversion, memory, tell) {
  checkSize(file, total);
  const place = conversion.add(file, total);
  let loaded = 0;
  for await (const piece of pieces) {
    if (loaded + piece.length > total) {
      throw new KingletError('corrupt', `${file} has more than the ${total} bytes it should have`);
    }
    // A view of the memory is valid until it grows.
    new Uint8Array(memory.buffer, place + loaded, piece.length).set(piece);
    loaded += piece.length;
    tell(loaded, total);
  }
  if (loaded < total) throw new KingletError('unreadable', `${file} was cut short while it was read`);
}

/** Puts a file of unknown length into the module's memory: a small one, that a server compresses. */
async function gather(pieces, _, file, conversion, memory, tell) {
  const parts = [];
  let loaded = 0;
  for await (const piece of pieces) {
    loaded += piece.length;
    checkSize(file, loaded);
    parts.push(piece);
  }
  await stream(parts, loaded, file, conversion, memory, tell);
}

function checkSize(file, bytes) {
  if (bytes <= LARGEST) return;
  const message = `${file} has ${bytes} bytes; at most ${LARGEST} fit into WebAssembly's memory`;
  throw new KingletError('too-large', `${message}: convert it with the command, kinglet quantize`);
}

/** Without what a folder may hold besides: weights in other forms, pictures. */
function needed(files, glue) {
  const usual = WEIGHTS.filter((name) => files.some(([file]) => file === name)).slice(0, 1);
  const weights = usual.length ? usual : glue.onnxFiles(files.map(([file]) => file));
  // An ONNX model may have data in files that are named after it.
  const isWeights = (file) => weights.some((name) => file.startsWith(name));
  const isNeeded = (file) => BESIDE.test(file) || (weights.length ? isWeights(file) : !file.includes('/'));
  return files.length === 1 ? files : files.filter(([file]) => isNeeded(file));
}
