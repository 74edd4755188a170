// What a page holds: a model, its conversations, and answers in the making.

import { KingletError } from './errors.js';
import { Link } from './link.js';
import { Listening } from './listening.js';
import { checkCount, checkOptions, text, texts } from './options.js';
import { checkpointOf, convertFiles } from './quantize.js';
import { samplesOf } from './sound.js';

const disposed = (what) => new KingletError('disposed', `the ${what} has been disposed of`);

/** Loads a model; `platform` brings workers and the package's files. See `index.d.ts`. */
export async function load(platform, source, options = {}) {
  const { signal, threads, cache = true, variant, retries = 5, kv, context } = options;
  checkCount('threads', threads);
  checkCount('context', context);
  if (kv !== undefined && kv !== 'f16' && kv !== 'int8') {
    throw new KingletError('invalid-option', `kv is ${kv}, but must be f16 or int8`);
  }
  signal?.throwIfAborted();
  const settings = { threads, cache, variant, retries, kv, context };
  const checkpoint = checkpointOf(platform, source, options);
  if (checkpoint) return loadCheckpoint(platform, checkpoint, settings, options);
  return start(platform, platform.source(source), settings, options);
}

/** Loads what is no model yet: from what is kept of an earlier time, or converted now. */
async function loadCheckpoint(platform, checkpoint, settings, options) {
  const { key } = checkpoint;
  if (settings.cache !== false && settings.cache !== 'refresh' && (await isKept(platform, key, settings, options))) {
    try {
      return await start(platform, { key }, settings, options);
    } catch (error) {
      if (error.code !== 'not-kept') throw error;
    }
  }
  const { name, files } = await checkpoint.files();
  // A file that is a model already.
  if (files.length === 1 && files[0][0].endsWith('.kinglet')) return start(platform, files[0][1], settings, options);
  const blob = await convertFiles(platform, name, files, options);
  return start(platform, { key, blob }, settings, options);
}

async function isKept(platform, key, { cache }, { signal }) {
  const link = new Link(platform.startWorker());
  try {
    return await link.call('kept', { key, cache }, { signal });
  } finally {
    link.close(disposed('worker'));
  }
}

/** Starts a worker with a model. */
async function start(platform, from, settings, { onProgress, signal }) {
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
  async embed(given, { signal, onTruncated, ...options } = {}) {
    return this.#perText('embed', given, options, { signal, onEvent: onTruncated });
  }

  /** Labels with scores for each text, in order: the model's own, or those that are given. */
  async classify(given, { signal, ...options } = {}) {
    for (const name of ['pairs', 'labels']) {
      if (options[name] !== undefined) options[name] = texts(name, options[name]);
    }
    return this.#perText('classify', given, options, { signal });
  }

  /** The labelled parts of each text, in order. */
  async tag(given, { signal, ...options } = {}) {
    return this.#perText('tag', given, options, { signal });
  }

  /** The likeliest tokens for each mask of a text. */
  async fillMask(given, { signal, ...options } = {}) {
    return this.#task('fillMask', { text: text('text', given) }, options, { signal });
  }

  /** The parts of a text that answer a question, the best first. */
  async answer(question, context, { signal, ...options } = {}) {
    const args = { question: text('question', question), context: text('context', context) };
    return this.#task('answer', args, options, { signal });
  }

  /** Documents' numbers in the order in which they answer a query. */
  async rerank(query, docs, { signal, ...options } = {}) {
    return this.#task('rerank', { query: text('query', query), docs: texts('docs', docs) }, options, { signal });
  }

  /** Each text in another language: sentence by sentence, however long it is. */
  async translate(given, { signal, onProgress, ...options } = {}) {
    return this.#perText('translate', given, options, { signal, onEvent: onProgress });
  }

  /** An answer to each text, such as a summary. */
  async textToText(given, { signal, onProgress, ...options } = {}) {
    return this.#perText('textToText', given, options, { signal, onEvent: onProgress });
  }

  /** What is said in a sound, with times. */
  async transcribe(given, { signal, onProgress, onSegment, ...options } = {}) {
    checkOptions('transcribe', options);
    signal?.throwIfAborted();
    const samples = await samplesOf(given);
    const onEvent = ({ segment, progress }) => {
      if (segment) onSegment?.(segment);
      onProgress?.(progress);
    };
    return this.#task('transcribe', { samples }, options, { signal, onEvent });
  }

  /** Writes down speech while it is spoken. */
  listen({ onHeard, ...options } = {}) {
    return new Listening(this.#link, checkOptions('listen', options), onHeard);
  }

  async #perText(task, given, options, how) {
    const made = await this.#task(task, { texts: texts('texts', given) }, options, how);
    return typeof given === 'string' ? made[0] : made;
  }

  #task(task, args, options, how) {
    return this.#link.call('task', { task, ...args, options: checkOptions(task, options) }, how);
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
    const { signal, onPrompt, stop, ...settings } = options;
    if (stop !== undefined) settings.stop = typeof stop === 'string' ? [stop] : stop;
    const any = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
    const onEvent = (event) => (typeof event === 'string' ? this.#push(event) : onPrompt?.(event));
    const request = { ...args, options: checkOptions('generate', settings) };
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
