// The card that stands where a model will be: what it is, its download, and what went wrong.

import { Kinglet } from './kinglet/index.js';

const MB = 1e6;

export class ModelCard {
  #root;
  #about;
  #stop = null;
  #done = false;
  /** How many were begun; only the last one shows anything. */
  #works = 0;
  /** Of the hub, as it was asked for last. */
  #name = '';
  /** The page's own model that was asked for last. */
  #url;

  constructor(root, about) {
    this.#root = root;
    this.#about = about;
    this.#url = about.url;
    this.#offer();
  }

  hide() {
    this.#done = true;
    this.#root.hidden = true;
  }

  /** Loads at once if the model is on this device already. */
  async resume() {
    const works = this.#works;
    if (this.#done || this.#stop) return;
    const kept = await Kinglet.stored.list().catch(() => []);
    const source = this.#about.url ?? remembered();
    if (source === null) return;
    const key = this.#about.url ? new URL(source, document.baseURI).href : `hf:${source}`;
    if (works !== this.#works) return; // the visitor was faster
    if (kept.some((model) => model.url === key && model.complete)) this.fetch(source);
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
    const endpoint = query.get('endpoint') ?? undefined;
    return Kinglet.load(source, { signal, threads, variant, endpoint, onProgress });
  }

  /** Shows how far some work is, or why it failed. */
  async #work(title, work) {
    this.#stop?.abort();
    const number = ++this.#works;
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
      if (number !== this.#works) return;
      this.#root.hidden = this.#done;
      if (stop.signal.aborted) this.#offer();
      else this.#offer(error.message);
    } finally {
      if (number === this.#works) this.#stop = null;
    }
  }

  /** Loads a model and hands it over. */
  async fetch(source) {
    if (this.#about.url) this.#url = source;
    const model = await this.load(source);
    if (!model) return;
    if (!this.#about.url) remember(source);
    this.#about.onModel(model, source);
  }

  #offer(failure) {
    const { title, about } = this.#about;
    const text = failure ? element('p', failure, 'failure') : element('p', about);
    if (failure) text.setAttribute('role', 'alert');
    this.#root.replaceChildren(element('h2', title), text, ...this.#choices(failure));
    if (failure) this.#root.hidden = false;
  }

  /** The page's own model, or any of the hub by its name. */
  #choices(failure) {
    const { size, examples } = this.#about;
    const url = this.#url;
    if (url) return [action(failure ? 'Try again' : `Load the model (${size})`, () => this.fetch(url))];
    const form = element('form', '', 'row');
    const name = element('input');
    name.setAttribute('aria-label', 'Name of a model');
    Object.assign(name, { placeholder: 'org/name', required: true, spellcheck: false, autocapitalize: 'off' });
    name.value = this.#name;
    const load = element('button', 'Load');
    load.type = 'submit';
    form.append(name, load);
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#name = name.value.trim().replace(/^hf:/i, '');
      this.fetch(this.#name);
    };
    const chips = element('div', '', 'chips');
    chips.setAttribute('role', 'group');
    chips.setAttribute('aria-label', 'Examples');
    chips.append(...examples.map(([does, model]) => action(does, () => {
      name.value = model;
      form.requestSubmit();
    })));
    return [form, chips];
  }

  #showProgress(title, stop) {
    const bar = element('progress');
    bar.setAttribute('aria-label', 'Loading the model');
    const numbers = element('p', 'Starting', 'numbers');
    const cancel = action('Cancel', () => stop.abort(), 'quiet');
    this.#root.replaceChildren(element('h2', title), bar, numbers, cancel);
    return { bar, numbers };
  }
}

const LAST = 'kinglet-read';

/** The model that was read with last, for the next visit. */
function remembered() {
  try {
    return localStorage.getItem(LAST);
  } catch {
    return null; // storage is not allowed
  }
}

function remember(name) {
  try {
    localStorage.setItem(LAST, name);
  } catch {
    // it is named again
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
  return made;
}

function action(text, act, className = '') {
  const button = element('button', text, className);
  button.type = 'button';
  button.onclick = act;
  return button;
}
