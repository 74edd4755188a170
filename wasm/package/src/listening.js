// Speech that is written down while it is spoken.

import { KingletError } from './errors.js';

let listenings = 0;

/** Takes sound as it comes. What comes while the engine is busy waits and is heard together. */
export class Listening {
  #link;
  #id = ++listenings;
  #options;
  #onHeard;
  #waiting = [];
  #work = Promise.resolve();
  #busy = false;
  #failed = false;
  #segments = [];
  #language = null;
  #ended = null;

  constructor(link, options, onHeard) {
    this.#link = link;
    this.#options = options;
    this.#onHeard = onHeard;
  }

  /** Takes more sound, mono, 16,000 samples a second. What goes wrong is told by `finish`. */
  push(samples) {
    if (this.#ended) throw this.#ended;
    if (!(samples instanceof Float32Array)) {
      throw new KingletError('invalid-option', `samples must be a Float32Array, not ${typeof samples}`);
    }
    if (this.#failed) return;
    this.#waiting.push(samples.slice());
    if (this.#busy) return;
    this.#busy = true;
    this.#work = this.#work.then(() => this.#hear());
    this.#work.catch(() => {
      this.#failed = true;
      this.#waiting = [];
    });
  }

  /** Writes down what is left: all that was said. */
  async finish() {
    if (this.#ended) throw this.#ended;
    this.#ended = over();
    await this.#work;
    await this.#call('finish', joined(this.#waiting.splice(0)));
    await this.#free();
    const text = this.#segments.map((segment) => segment.text).join('').trim();
    return { text, language: this.#language, segments: this.#segments };
  }

  /** Stops listening; what is not written down is forgotten. */
  async dispose() {
    const first = this.#ended === null;
    this.#ended ??= over();
    this.#waiting = [];
    if (first) await this.#free();
  }

  async #hear() {
    try {
      while (this.#waiting.length) await this.#call('push', joined(this.#waiting.splice(0)));
    } finally {
      this.#busy = false;
    }
  }

  async #call(step, samples) {
    const args = { id: this.#id, step, samples, options: this.#options };
    const { heard, language } = await this.#link.call('listen', args);
    this.#language = language;
    this.#segments.push(...heard.segments);
    this.#onHeard?.(heard);
  }

  async #free() {
    if (!this.#link.closed) await this.#link.call('freeListening', { id: this.#id });
  }
}

const over = () => new KingletError('disposed', 'the listening is over');

function joined(parts) {
  if (parts.length === 1) return parts[0];
  const all = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
