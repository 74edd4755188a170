// Where a model's bytes come from: an address, a file, or memory.

import { KingletError } from './errors.js';

const STALL = 30_000; // ms without a byte after which a connection counts as cut
const PIECE = 4 << 20; // bytes read from a file at a time
const RETRYABLE = new Set([408, 425, 429, 500, 502, 503, 504]);

/** A failure that may pass: worth another try. */
function passing(code, message, details) {
  return new KingletError(code, message, { ...details, retryable: true });
}

/** An address. */
export class UrlSource {
  phase = 'download';
  /** The entity tag of the file, as far as it is known; a change means another file. */
  etag = null;

  #token;

  /** @param {string|null} [token] who asks, for the server of the address alone */
  constructor(url, token = null) {
    this.url = url;
    this.name = url;
    this.#token = token;
  }

  /**
   * Opens the file at `offset`.
   *
   * @returns {Promise<{start: number, total: number|null, changed: boolean, pieces: AsyncIterable<Uint8Array>}>}
   *   `start` is where the pieces begin, 0 if the server does not know ranges
   */
  async open(offset, signal) {
    const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
    if (offset > 0) {
      headers.Range = `bytes=${offset}-`;
      if (this.etag && !this.etag.startsWith('W/')) headers['If-Range'] = this.etag;
    }
    const stall = new AbortController();
    const watch = AbortSignal.any([signal, stall.signal]);
    const timer = setTimeout(() => stall.abort(), STALL);
    let response;
    try {
      response = await fetch(this.url, { headers, signal: watch });
    } catch (error) {
      signal.throwIfAborted();
      throw this.#cut(offset, stall.signal.aborted ? 'no answer' : error.message);
    } finally {
      clearTimeout(timer);
    }
    if (!response.ok) {
      await response.body?.cancel();
      throw this.#refused(response, offset);
    }
    const type = response.headers.get('content-type') ?? '';
    if (/\bhtml\b/.test(type)) {
      await response.body?.cancel();
      throw new KingletError('not-kinglet', `${this.url} is a web page, not a model`, { url: this.url });
    }
    const etag = response.headers.get('etag');
    const changed = this.etag !== null && etag !== null && etag !== this.etag;
    this.etag = etag ?? this.etag;
    const start = response.status === 206 ? rangeStart(response) ?? offset : 0;
    return { start, total: totalOf(response, start), changed, pieces: this.#pieces(response, start, signal) };
  }

  close() {}

  async *#pieces(response, position, signal) {
    const reader = response.body.getReader();
    const cancel = () => reader.cancel().catch(() => {});
    signal.addEventListener('abort', cancel);
    try {
      for (;;) {
        let timer;
        const stalled = new Promise((_, reject) => {
          timer = setTimeout(() => reject(new Error(`no data for ${STALL / 1000} s`)), STALL);
        });
        let next;
        try {
          next = await Promise.race([reader.read(), stalled]);
        } catch (error) {
          signal.throwIfAborted();
          throw this.#cut(position, error.message);
        } finally {
          clearTimeout(timer);
        }
        signal.throwIfAborted();
        if (next.done) return;
        position += next.value.length;
        yield next.value;
      }
    } finally {
      signal.removeEventListener('abort', cancel);
      cancel();
    }
  }

  #cut(offset, why) {
    const where = offset > 0 ? ` after ${offset} bytes` : '';
    return passing('network', `${this.url}: the connection failed${where} (${why})`, { url: this.url });
  }

  #refused({ status, statusText }, offset) {
    const details = { url: this.url, status };
    if (status === 416) {
      const message = `${this.url} ends before byte ${offset}: the file is cut short`;
      return new KingletError('truncated', message, details);
    }
    const message = `${this.url} answers ${status} ${statusText}`.trimEnd();
    return RETRYABLE.has(status)
      ? passing('http', message, details)
      : new KingletError('http', message, details);
  }
}

function rangeStart(response) {
  const match = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '');
  return match ? Number(match[1]) : null;
}

/** Bytes of the whole file as the server tells them; a compressed answer tells nothing. */
function totalOf(response, start) {
  const match = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '');
  if (match) return Number(match[1]);
  const length = response.headers.get('content-length');
  return length === null || response.headers.has('content-encoding') ? null : start + Number(length);
}

/**
 * The pieces of a file from where it was `opened` on; a connection that is cut is opened again while
 * that brings anything.
 */
export async function* resumed(source, opened, retries, signal) {
  let { total, pieces } = opened;
  let at = 0;
  for (let failures = 0; ; ) {
    const before = at;
    try {
      for await (const piece of pieces) {
        at += piece.length;
        yield piece;
      }
      if (total === null || at >= total) return;
      throw passing('network', `${source.name} ended after ${at} of ${total} bytes`, { url: source.url });
    } catch (error) {
      signal.throwIfAborted();
      failures = at > before ? 1 : failures + 1;
      if (!error.retryable || failures > retries) throw error;
      await pause(Math.min(8000, 250 * 2 ** failures), signal);
      pieces = rest(source, at, signal);
    }
  }
}

/** What follows byte `at` of a file that has not changed. */
async function* rest(source, at, signal) {
  const { start, changed, pieces } = await source.open(at, signal);
  if (changed) throw new KingletError('network', `${source.name} changed during the download; load it again`);
  let skip = at - start;
  for await (const piece of pieces) {
    const n = Math.min(skip, piece.length);
    skip -= n;
    if (n < piece.length) yield piece.subarray(n);
  }
}

/** Waits, unless the signal aborts. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => (clearTimeout(timer), reject(signal.reason));
    const timer = setTimeout(() => (signal.removeEventListener('abort', abort), resolve()), ms);
    signal.addEventListener('abort', abort, { once: true });
  });
}

/** A file on this machine: a `Blob`, or in Node a path. */
export class FileSource {
  phase = 'read';
  etag = null;
  url = null;
  #read;
  #size;

  /** @param {string|null} [key] the name under which the file is kept */
  static ofBlob(blob, name = blob.name ?? 'the file', key = null) {
    const read = async (at, n) => new Uint8Array(await blob.slice(at, at + n).arrayBuffer());
    const source = new FileSource(name, blob.size, read);
    source.url = key;
    source.converted = key !== null;
    return source;
  }

  static async ofPath(path) {
    const { open } = await import('node:fs/promises');
    let size;
    try {
      const file = await open(path);
      ({ size } = await file.stat());
      const buffer = new Uint8Array(PIECE);
      const read = async (at, n) => buffer.subarray(0, (await file.read(buffer, 0, n, at)).bytesRead);
      const source = new FileSource(path, size, read);
      source.close = () => file.close();
      return source;
    } catch (error) {
      throw unreadable(path, error);
    }
  }

  constructor(name, size, read) {
    this.name = name;
    this.#size = size;
    this.#read = read;
  }

  async open(offset, signal) {
    return { start: offset, total: this.#size, changed: false, pieces: this.#pieces(offset, signal) };
  }

  async *#pieces(offset, signal) {
    for (let at = offset; at < this.#size; ) {
      signal.throwIfAborted();
      let piece;
      try {
        piece = await this.#read(at, Math.min(PIECE, this.#size - at));
      } catch (error) {
        throw unreadable(this.name, error);
      }
      if (piece.length === 0) return; // shortened meanwhile
      at += piece.length;
      yield piece;
    }
  }

  close() {}
}

function unreadable(name, error) {
  return new KingletError('unreadable', `${name} cannot be read: ${error.message}`);
}
