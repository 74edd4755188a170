// What a page holds: a model, its conversations, and answers in the making.

import { KingletError } from './errors.js';
import { Link } from './link.js';

const disposed = (what) => new KingletError('disposed', `the ${what} has been disposed of`);

/** Loads a model; `platform` brings workers and the package's files. See `index.d.ts`. */
export async function load(platform, source, options = {}) {
  const { onProgress, signal, threads, cache = true, variant, retries = 5, kv, context } = options;
  checkCount('threads', threads);
  checkCount('context', context);
  if (kv !== undefined && kv !== 'f16' && kv !== 'int8') {
    throw new KingletError('invalid-option', `kv is ${kv}, but must be f16 or int8`);
  }
  signal?.throwIfAborted();
  const settings = { threads, cache, variant, retries, kv, context };
  const from = platform.source(source);
  const link = new Link(platform.startWorker());
  try {
    const args = { source: from, ...settings, files: platform.files };
    await link.call('load', args, { signal, onEvent: onProgress });
    return new Model(link);
  } catch (error) {
    link.close(disposed('model'));
    throw error;
  }
}

/** A loaded model. */
export class Model {
  #link;

  constructor(link) {
    this.#link = link;
  }

  /** Continues a text. */
  generate(prompt, options = {}) {
    return new Generation(this.#link, { prompt: text('prompt', prompt) }, options);
  }

  /** Starts a conversation. */
  chat({ system, context } = {}) {
    checkCount('context', context);
    return new Chat(this.#link, system, context);
  }

  /** One vector for each text, in order. */
  async embed(texts, { signal } = {}) {
    const one = typeof texts === 'string';
    const list = one ? [texts] : [...texts];
    list.forEach((each) => text('texts', each));
    const vectors = await this.#link.call('embed', { texts: list }, { signal });
    return one ? vectors[0] : vectors;
  }

  /** What the model is and how it runs. */
  info() {
    return this.#link.call('info');
  }

  /** Ends the worker and gives its memory back. Everything that waits is rejected. */
  async dispose() {
    this.#link.close(disposed('model'));
  }

  async [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
    await this.dispose();
  }
}

let chats = 0;

/** A conversation; what earlier turns computed is used again. */
export class Chat {
  #link;
  #id = ++chats;
  #system;
  #context;
  #disposed = false;

  constructor(link, system, context) {
    this.#link = link;
    this.#context = context;
    this.#system = system === undefined ? undefined : text('system', system);
  }

  /** Says something; the answer comes piece by piece. */
  say(content, options = {}) {
    if (this.#disposed) throw disposed('chat');
    const own = { chat: this.#id, system: this.#system, context: this.#context };
    return new Generation(this.#link, { ...own, content: text('content', content) }, options);
  }

  /** The messages so far. */
  async messages() {
    if (this.#disposed) throw disposed('chat');
    return this.#link.call('messages', { chat: this.#id, system: this.#system });
  }

  /** Forgets what was said, except the system message. */
  async reset() {
    if (this.#disposed) throw disposed('chat');
    await this.#link.call('freeChat', { chat: this.#id });
  }

  /** Frees the conversation's memory; the model stays. */
  async dispose() {
    if (this.#disposed) return;
    this.#disposed = true;
    if (!this.#link.closed) await this.#link.call('freeChat', { chat: this.#id });
  }
}

/** An answer in the making: an async iterable of pieces of text. It starts when it is created. */
export class Generation {
  #pieces = [];
  #waiting = [];
  #ended = null; // {} or { error }
  #stats = null;
  #stop = new AbortController();

  constructor(link, args, options) {
    const { signal, onPrompt, ...settings } = options;
    const any = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
    const onEvent = (event) => (typeof event === 'string' ? this.#push(event) : onPrompt?.(event));
    const request = { ...args, options: checkOptions(settings) };
    link.call('generate', request, { signal: any, onEvent }).then(
      (stats) => {
        this.#stats = stats;
        this.#end({});
      },
      (error) => this.#end({ error }),
    );
  }

  /** Counts, speeds and the reason for the end; null before the end. */
  get stats() {
    return this.#stats;
  }

  /** The whole answer. */
  async text() {
    let whole = '';
    for await (const piece of this) whole += piece;
    return whole;
  }

  next() {
    if (this.#pieces.length) return Promise.resolve({ value: this.#pieces.shift(), done: false });
    if (this.#ended) return this.#last();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Stops: what a `break` in a `for await` does. */
  async return() {
    this.#stop.abort();
    this.#pieces = [];
    this.#end({});
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  #push(piece) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ value: piece, done: false });
    else this.#pieces.push(piece);
  }

  #end(how) {
    this.#ended ??= how;
    for (const { resolve, reject } of this.#waiting.splice(0)) this.#last().then(resolve, reject);
  }

  /** The end: an error is thrown once, after it the iterator is done. */
  #last() {
    const { error } = this.#ended;
    this.#ended = {};
    return error ? Promise.reject(error) : Promise.resolve({ value: undefined, done: true });
  }
}

const RANGES = {
  maxTokens: (x) => Number.isInteger(x) && x >= 0,
  temperature: (x) => x >= 0 && x < Infinity,
  topK: (x) => Number.isInteger(x) && x >= 0,
  topP: (x) => x >= 0 && x <= 1,
  minP: (x) => x >= 0 && x <= 1,
  repeatPenalty: (x) => x > 0 && x < Infinity,
  repeatLastN: (x) => Number.isInteger(x) && x >= 0,
  seed: (x) => Number.isSafeInteger(x) && x >= 0,
  stop: (x) => Array.isArray(x) && x.every((each) => typeof each === 'string'),
};

function checkOptions(options) {
  const checked = {};
  for (const [name, given] of Object.entries(options)) {
    if (given === undefined) continue;
    const value = name === 'stop' && typeof given === 'string' ? [given] : given;
    if (!RANGES[name]) {
      const known = Object.keys(RANGES).join(', ');
      throw new KingletError('invalid-option', `there is no option ${name}; there are ${known}`);
    }
    if ((name !== 'stop' && typeof value !== 'number') || !RANGES[name](value)) {
      throw new KingletError('invalid-option', `${name} is ${given}, which is out of its range`);
    }
    checked[name] = value;
  }
  return checked;
}

function checkCount(name, value) {
  if (value === undefined || (Number.isInteger(value) && value > 0)) return;
  throw new KingletError('invalid-option', `${name} is ${value}, but must be 1 or more`);
}

function text(name, value) {
  if (typeof value === 'string') return value;
  throw new KingletError('invalid-option', `${name} must be text, not ${typeof value}`);
}
