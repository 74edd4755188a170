// The card that stands where a model will be: what it is, its download, and what went wrong.

import { Kinglet } from './kinglet/index.js';

const MB = 1e6;

export class ModelCard {
  #root;
  #about;
  #stop = null;
  #done = false;

  constructor(root, about) {
    this.#root = root;
    this.#about = about;
    this.#offer();
  }

  hide() {
    this.#done = true;
    this.#root.hidden = true;
  }

  /** Loads at once if the model is on this device already. */
  async resume() {
    if (this.#done || this.#stop) return;
    const kept = await Kinglet.stored.list().catch(() => []);
    const url = new URL(this.#about.url, document.baseURI).href;
    if (kept.some((model) => model.url === url && model.complete)) this.#fetch();
  }

  /** Loads a model with progress; returns nothing if that fails, and says why. */
  load(source) {
    return this.#work(this.#about.title, (show, signal) => this.#load(source, show, signal));
  }

  /**
   * Opens files that are a model, or a checkpoint, which is converted first: the model, and the
   * converted file if there is one. Returns nothing if that fails, and says why.
   */
  open({ name, files }) {
    return this.#work(name, async (show, signal) => {
      const [file] = Object.values(files);
      if (await isModel(file)) return { model: await this.#load(file, show, signal) };
      const converted = await Kinglet.quantize(files, { name, signal, onProgress: show });
      return { model: await this.#load(converted, show, signal), converted };
    });
  }

  #load(source, onProgress, signal) {
    const query = new URLSearchParams(location.search);
    const threads = Number(query.get('threads')) || undefined;
    const variant = query.get('variant') ?? undefined;
    return Kinglet.load(source, { signal, threads, variant, onProgress });
  }

  /** Shows how far some work is, or why it failed. */
  async #work(title, work) {
    this.#stop?.abort();
    const stop = new AbortController();
    this.#stop = stop;
    this.#root.hidden = false;
    const { bar, numbers } = this.#showProgress(title, stop);
    const show = (progress) => {
      bar.value = progress.loaded / progress.total;
      numbers.textContent = describe(progress);
    };
    try {
      return await work(show, stop.signal);
    } catch (error) {
      this.#root.hidden = this.#done;
      if (stop.signal.aborted) this.#offer();
      else this.#offer(error.message, this.#done);
    } finally {
      if (this.#stop === stop) this.#stop = null;
    }
  }

  async #fetch() {
    const model = await this.load(this.#about.url);
    if (model) this.#about.onModel(model);
  }

  #offer(failure) {
    const { title, about, size } = this.#about;
    const button = element('button', failure ? 'Try again' : `Load the model (${size})`);
    button.onclick = () => this.#fetch();
    const text = failure ? element('p', failure, 'failure') : element('p', about);
    if (failure) text.setAttribute('role', 'alert');
    this.#root.replaceChildren(element('h2', title), text, button);
    if (failure) this.#root.hidden = false;
  }

  #showProgress(title, stop) {
    const bar = element('progress');
    bar.setAttribute('aria-label', 'Loading the model');
    const numbers = element('p', 'Starting', 'numbers');
    const cancel = element('button', 'Cancel', 'quiet');
    cancel.onclick = () => stop.abort();
    this.#root.replaceChildren(element('h2', title), bar, numbers, cancel);
    return { bar, numbers };
  }
}

/** Every model begins like this. */
async function isModel(file) {
  const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  return String.fromCharCode(...start) === '\x89KGL';
}

/** What is done where it is not plain loading. */
const PHASES = { hash: 'Checking', convert: 'Converting' };

function describe({ phase, loaded, total, bytesPerSecond, secondsLeft }) {
  const megabytes = `${(loaded / MB).toFixed(0)} of ${(total / MB).toFixed(0)} MB`;
  const amount = PHASES[phase] ? `${PHASES[phase]}: ${megabytes}` : megabytes;
  if (phase !== 'download') return amount;
  const speed = `${(bytesPerSecond / MB).toFixed(1)} MB/s`;
  if (secondsLeft === null) return amount;
  const left = secondsLeft < 90 ? `${Math.ceil(secondsLeft)} s` : `${Math.ceil(secondsLeft / 60)} min`;
  return `${amount}, ${speed}, ${left} left`;
}

function element(name, text = '', className = '') {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  if (name === 'button') made.type = 'button';
  return made;
}
