// From a source to a file in the engine's memory, checked chunk by chunk.

import { KingletError } from './errors.js';
import { pause } from './source.js';
import { storageError } from './store.js';

const HEADER = 128; // bytes
const CHUNK = 4 << 20; // bytes that share a hash
const MAGIC = 0x4c474b89; // how every model begins
const GGUF = 0x46554747; // how a checkpoint of that kind does
const LARGEST = 2n ** 31n - 1n; // bytes that WebAssembly can address as one piece

/** A model's file in the making: in the engine's memory and, if there is one, in a store. */
class Assembly {
  #glue;
  #memory;
  #head = new Uint8Array(HEADER);
  #download = null;
  #store;
  #stored = 0;
  /** Bytes in place, of them checked. */
  received = 0;
  verified = 0;
  /** Why nothing is kept any more, if so. */
  storeError = null;

  constructor(glue, memory, store) {
    this.#glue = glue;
    this.#memory = memory;
    this.#store = store;
  }

  /** Bytes of the whole file, once its header is there. */
  get length() {
    return this.#download?.length ?? null;
  }

  get complete() {
    return this.#download !== null && this.verified === this.length;
  }

  /** Takes the next bytes. */
  accept(bytes) {
    let rest = bytes;
    if (!this.#download) {
      const n = Math.min(HEADER - this.received, rest.length);
      this.#head.set(rest.subarray(0, n), this.received);
      this.received += n;
      if (this.received < HEADER) return;
      this.#begin();
      rest = rest.subarray(n);
    }
    if (this.received + rest.length > this.length) {
      throw new KingletError('not-kinglet', `the file has more than the ${this.length} bytes it should have`);
    }
    this.#view(this.received, rest.length).set(rest);
    this.#advance(rest.length);
  }

  /** Fills the place of the next bytes from the store. */
  restore(size) {
    this.#store.read(this.#head, 0);
    this.#begin();
    this.received = HEADER;
    const known = Math.min(size, this.length);
    this.#stored = known;
    try {
      while (this.received < known) {
        const n = Math.min(CHUNK, known - this.received);
        this.#store.read(this.#view(this.received, n), this.received);
        this.#advance(n);
      }
    } finally {
      this.rewind();
      this.#stored = this.verified;
      if (size > this.verified) this.#store.truncate(this.verified);
    }
  }

  /** Goes back to the last checked byte. */
  rewind() {
    this.verified = this.#download?.verified ?? 0;
    this.received = this.verified;
    if (this.#download && this.received === 0) this.received = HEADER;
  }

  /** Forgets everything: the file at the source is another one. */
  restart() {
    this.#download?.free();
    this.#download = null;
    this.received = this.verified = this.#stored = 0;
    this.#keep(() => this.#store.truncate(0));
  }

  /** The model; the memory is its own from now on. */
  finish(threads, kv, context) {
    const download = this.#download;
    this.#download = null;
    return download.finish(threads, kv, context);
  }

  #begin() {
    const view = new DataView(this.#head.buffer);
    const length = view.getBigUint64(16, true);
    const magic = view.getUint32(0, true);
    if (magic === GGUF) {
      throw new KingletError('not-kinglet', 'this is a GGUF checkpoint: Kinglet.quantize(file) makes a model of it');
    }
    if (magic === MAGIC && length > LARGEST) {
      const message = `the model has ${length} bytes; at most ${LARGEST} fit into WebAssembly's memory`;
      throw new KingletError('too-large', message);
    }
    this.#download = new this.#glue.Download(this.#head);
    this.#view(0, HEADER).set(this.#head);
    this.verified = 0;
  }

  #advance(n) {
    this.received += n;
    const due = this.verified === 0 ? this.#download.headLength : this.verified + CHUNK;
    if (this.received < Math.min(due, this.length)) return;
    this.verified = this.#download.verify(this.received);
    if (this.verified <= this.#stored) return;
    const from = this.#stored;
    this.#keep(() => this.#store.write(this.#view(from, this.verified - from), from));
    this.#stored = this.verified;
  }

  /** Storing may fail; loading goes on. */
  #keep(action) {
    if (!this.#store || this.storeError) return;
    try {
      action();
    } catch (error) {
      this.storeError = storageError(error);
    }
  }

  /** A place in the file; valid until the engine's memory grows. */
  #view(at, length) {
    return new Uint8Array(this.#memory.buffer, this.#download.pointer() + at, length);
  }
}

/**
 * Brings a model into memory.
 *
 * @param {object} job
 * @param {object} job.source see source.js
 * @param {object|null} job.store see store.js
 * @param {Promise<{glue: object, memory: WebAssembly.Memory}>} job.engine
 * @param {number} job.retries connections to try again after the first without any progress
 * @param {AbortSignal} job.signal
 * @param {(state: object) => void} job.onProgress
 * @returns {Promise<{assembly: Assembly, fromStore: boolean}>}
 */
export async function assemble({ source, store, engine, retries, signal, onProgress }) {
  const note = await store?.readNote();
  const kept = store && note?.url === source.url ? store.size : 0;
  if (note && kept > 0) source.etag = note.etag;
  else if (kept === 0) store?.truncate(0);
  // The first bytes travel while the engine is compiled.
  let opening = kept > 0 ? null : open(source, 0, signal);
  opening?.catch(() => {});
  const { glue, memory } = await engine;
  const assembly = new Assembly(glue, memory, store);
  if (kept >= HEADER) tryRestore(assembly, kept);
  const fromStore = assembly.complete;
  if (fromStore) {
    onProgress({ phase: 'cache', loaded: assembly.length, total: assembly.length });
    return { assembly, fromStore };
  }

  let failures = 0;
  let best = assembly.verified;
  let corruptAt = -1;
  while (!assembly.complete) {
    signal.throwIfAborted();
    try {
      await receive(assembly, source, await (opening ?? open(source, assembly.received, signal)), onProgress, store);
      if (assembly.complete) break;
      throw cutShort(source, assembly);
    } catch (error) {
      opening = null;
      signal.throwIfAborted();
      assembly.rewind();
      if (error.code === 'corrupt' && corruptAt !== assembly.verified) {
        corruptAt = assembly.verified; // damaged on the way, perhaps: once more
        continue;
      }
      if (!error.retryable) throw error;
      failures = assembly.verified > best ? 0 : failures + 1;
      best = Math.max(best, assembly.verified);
      const limit = assembly.received > 0 ? retries : Math.min(retries, 1);
      if (failures > limit) throw error;
      await pause(Math.min(8000, 250 * 2 ** failures), signal);
    }
  }
  return { assembly, fromStore };
}

function tryRestore(assembly, kept) {
  try {
    assembly.restore(kept);
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError || error.code === 'out-of-memory') throw error;
    if (assembly.verified === 0) assembly.restart(); // of a damaged head nothing is believed
  }
}

async function open(source, offset, signal) {
  return source.open(offset, signal);
}

async function receive(assembly, source, { start, total, changed, pieces }, onProgress, store) {
  if (changed && assembly.received > 0) {
    assembly.restart();
    if (start > 0) {
      await pieces.return?.();
      throw new KingletError('network', `${source.name} changed during the download`, { retryable: true });
    }
  }
  let skip = assembly.received - start;
  let noted = false;
  for await (const piece of pieces) {
    const n = Math.min(skip, piece.length);
    skip -= n;
    if (n === piece.length) continue;
    assembly.accept(n > 0 ? piece.subarray(n) : piece);
    const { length } = assembly;
    if (length === null) continue;
    if (total !== null && total < length) {
      const message = `${source.name} has ${total} of the ${length} bytes it should have: it is cut short`;
      throw new KingletError('truncated', message, { expected: length, found: total });
    }
    if (!noted) {
      noted = true;
      const { url, etag } = source;
      await store?.writeNote({ url, etag, length }).catch(() => {});
    }
    onProgress({ phase: source.phase, loaded: assembly.received, total: length });
  }
}

/** The source ended before the file did. */
function cutShort(source, { received, length }) {
  if (length === null) {
    return new KingletError('not-kinglet', `${source.name} is not a model: it has ${received} bytes`);
  }
  const message = `${source.name} ended after ${received} of ${length} bytes`;
  return source.url === null
    ? new KingletError('truncated', message, { expected: length, found: received })
    : new KingletError('network', message, { retryable: true });
}
