// What a page calls to turn a checkpoint into a model, in a worker of its own.

import { KingletError } from './errors.js';
import { Link } from './link.js';

const OPTIONS = ['type', 'group', 'name', 'onProgress', 'signal'];

/** Converts a checkpoint; `platform` brings workers and the package's files. See `index.d.ts`. */
export async function quantize(platform, checkpoint, options = {}) {
  const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name));
  if (unknown !== undefined) {
    const known = OPTIONS.join(', ');
    throw new KingletError('invalid-option', `there is no option ${unknown}; there are ${known}`);
  }
  const { type, group, onProgress, signal } = options;
  signal?.throwIfAborted();
  const files = filesOf(checkpoint).map(([name, file]) => [name, sourceOf(platform, file)]);
  const name = options.name ?? nameOf(checkpoint, files);
  const link = new Link(platform.startWorker());
  try {
    const words = { type: wordOf(type), group: wordOf(group) };
    const job = { module: platform.quantizer, name: String(name), files, ...words };
    return await link.call('quantize', job, { signal, onEvent: onProgress });
  } finally {
    link.close(new KingletError('disposed', 'the conversion is over'));
  }
}

const wordOf = (value) => (value === undefined ? undefined : String(value));

const isFile = (given) => given instanceof Blob || given instanceof URL || typeof given === 'string';

/** Each file with its name below the checkpoint's folder. */
function filesOf(checkpoint) {
  if (isFile(checkpoint)) return [[fileName(checkpoint), checkpoint]];
  const many = typeof checkpoint?.[Symbol.iterator] === 'function'
    ? [...checkpoint].map((file) => [fileName(file), file])
    : Object.entries(checkpoint ?? {});
  if (many.length > 0) return many;
  throw new KingletError('invalid-option', 'the checkpoint has no files');
}

/** What a worker can read; it may be a file of any size, so that bytes must be in a `Blob`. */
function sourceOf(platform, file) {
  const source = isFile(file) ? platform.source(file) : {};
  if (source.blob || source.path) return source;
  const expected = platform.paths ? 'files must be paths or Blobs' : 'files must be Files or Blobs';
  throw new KingletError('invalid-option', `the checkpoint's ${expected}`);
}

function fileName(file) {
  const below = file?.webkitRelativePath?.split('/').slice(1).join('/');
  const base = file instanceof Blob ? file.name : String(file).split(/[\\/]/).at(-1);
  return below || base || 'checkpoint';
}

/** The folder of files that were chosen with it, or the name of a file alone. */
function nameOf(checkpoint, files) {
  const folder = checkpoint?.[0]?.webkitRelativePath?.split('/')[0];
  return folder || (files.length === 1 ? files[0][0] : 'checkpoint');
}
