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
  async load(source) {
    this.#stop?.abort();
    const stop = new AbortController();
    this.#stop = stop;
    this.#root.hidden = false;
    const { bar, numbers } = this.#showProgress(stop);
    try {
      return await Kinglet.load(source, {
        signal: stop.signal,
        threads: Number(new URLSearchParams(location.search).get('threads')) || undefined,
        variant: new URLSearchParams(location.search).get('variant') ?? undefined,
        onProgress(progress) {
          bar.value = progress.loaded / progress.total;
          numbers.textContent = describe(progress);
        },
      });
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

  #showProgress(stop) {
    const bar = element('progress');
    bar.setAttribute('aria-label', 'Loading the model');
    const numbers = element('p', 'Starting', 'numbers');
    const cancel = element('button', 'Cancel', 'quiet');
    cancel.onclick = () => stop.abort();
    this.#root.replaceChildren(element('h2', this.#about.title), bar, numbers, cancel);
    return { bar, numbers };
  }
}

function describe({ phase, loaded, total, bytesPerSecond, secondsLeft }) {
  const amount = `${(loaded / MB).toFixed(0)} of ${(total / MB).toFixed(0)} MB`;
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
