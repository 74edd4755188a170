// What a page calls to turn a checkpoint into a model, in a worker of its own.

import { KingletError } from './errors.js';
import { ENDPOINT, filesAt, filesOf as filesOfRepository, isCheckpoint, nameOf as nameOfRepository, parse } from './hub.js';
import { Link } from './link.js';
import { checkNames } from './options.js';

const OPTIONS = ['type', 'group', 'name', 'onProgress', 'signal'];

/** Converts a checkpoint; `platform` brings workers and the package's files. See `index.d.ts`. */
export async function quantize(platform, checkpoint, options = {}) {
  checkNames(options, OPTIONS);
  const { type, group, onProgress, signal } = options;
  signal?.throwIfAborted();
  const files = filesOf(checkpoint).map(([name, file]) => [name, sourceOf(platform, file)]);
  const name = options.name ?? nameOf(checkpoint, files);
  return convertFiles(platform, String(name), files, { type, group, onProgress, signal });
}

/** Converts files, each with its name and where it is, in a worker of its own. */
export async function convertFiles(platform, name, files, { type, group, retries, onProgress, signal }) {
  const link = new Link(platform.startWorker());
  try {
    const words = { type: wordOf(type), group: wordOf(group) };
    const job = { module: platform.quantizer, name, files, retries, ...words };
    return await link.call('quantize', job, { signal, onEvent: onProgress });
  } finally {
    link.close(new KingletError('disposed', 'the conversion is over'));
  }
}

/**
 * What `load` is given, if it is a checkpoint in the network: the name under which its conversion is
 * kept, and what brings its files; null if it is none.
 */
export function checkpointOf(platform, source, options) {
  if (typeof source !== 'string' && !(source instanceof URL)) return null;
  const { type = 'auto', group, signal } = options;
  const how = type === 'auto' && group === undefined ? '' : `#${[type, group].filter((word) => word !== undefined).join('-')}`;
  const repository = parse(String(source));
  if (repository) {
    const endpoint = (options.endpoint ?? platform.hub?.endpoint ?? ENDPOINT).replace(/\/+$/, '');
    const token = options.token ?? platform.hub?.token;
    const files = () => filesOfRepository(repository, { endpoint, token, signal });
    return { key: nameOfRepository(repository) + how, files };
  }
  const { url } = platform.source(source);
  if (url === undefined || !isCheckpoint(url)) return null;
  return { key: url + how, files: async () => filesAt(url) };
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
