// Translation as one types, in the directions of the models at hand.

import { factsOf } from './facts.js';

const $ = (id) => document.getElementById(id);

const SAMPLE = `The goldcrest is the smallest bird of Europe. It weighs five grams, as much as a sheet of paper.

In winter it sleeps in a ball of moss, beside its sisters.`;

/** Lines that are kept with their translations. */
const KEPT = 2000;

export class TranslatePanel {
  /** Each with its model's languages: { model, label, from, to }. */
  #translators = [];
  /** Pairs that can be fetched: { from, to, url }. */
  #pairs;
  #fetch;
  #stop = null;
  #milliseconds = null;
  /** Of one direction: line -> translation. */
  #known = new Map();
  /** What the page wrote: it may be replaced, the reader's own words may not. */
  #written = '';
  #onFacts;

  /** `fetch` brings the model of a pair, and tells `use` then. */
  constructor({ onFacts, pairs, fetch }) {
    this.#onFacts = onFacts;
    this.#pairs = pairs;
    this.#fetch = fetch;
    $('translator').onsubmit = (event) => event.preventDefault();
    $('from').onchange = () => this.#turn(this.#from, null);
    $('to').onchange = () => this.#turn(this.#from, this.#to);
    $('swap').onclick = () => this.#swap();
    $('copy').onclick = () => this.#copy();
    let timer;
    $('source').oninput = () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#translate(), 200);
    };
  }

  /** Translates with this model too from now on; `label` is its name for people. */
  async use(model, label) {
    const { languages: { from, to } } = await model.info();
    const other = this.#translators.find((each) => same(each.from, from) && same(each.to, to));
    this.#translators = this.#translators.filter((each) => each !== other);
    this.#translators.unshift({ model, label, from, to });
    await other?.model.dispose();
    if ($('source').value === this.#written) $('source').value = this.#written = from.includes('en') ? SAMPLE : '';
    $('translator').hidden = false;
    this.#known.clear();
    const wanted = from.includes(this.#from) && to.includes(this.#to);
    this.#offer(wanted ? this.#from : from[0] ?? '', wanted ? this.#to : to.find((code) => code !== from[0]) ?? to[0] ?? '');
    await this.#translate();
    await this.facts();
  }

  async facts() {
    const found = this.#translator;
    if (!found) return this.#onFacts({});
    const facts = await factsOf(found.model, found.label);
    if (this.#milliseconds !== null) facts.translation = `${this.#milliseconds.toFixed(0)} ms`;
    this.#onFacts(facts);
  }

  get #from() {
    return $('from').value;
  }

  get #to() {
    return $('to').value;
  }

  get #translator() {
    return this.#translators.find(({ from, to }) => includes(from, this.#from) && includes(to, this.#to));
  }

  /** Fills both menus, and chooses. */
  #offer(from, to) {
    const all = [...this.#translators, ...this.#pairs.map((pair) => ({ from: [pair.from], to: [pair.to] }))];
    fill($('from'), all.flatMap((each) => each.from), from);
    const reached = all.filter((each) => includes(each.from, this.#from)).flatMap((each) => each.to);
    fill($('to'), reached.filter((code) => code !== this.#from), to);
    $('swap').disabled = !all.some((each) => includes(each.from, this.#to) && includes(each.to, this.#from));
  }

  /** Goes on in another direction; its model is fetched if it is not at hand. */
  async #turn(from, to) {
    this.#stop?.abort();
    this.#known.clear();
    this.#offer(from, to ?? this.#to);
    this.#show('');
    if (this.#translator) {
      await this.#translate();
      return this.facts();
    }
    const pair = this.#pairs.find((each) => each.from === this.#from && each.to === this.#to);
    if (pair) this.#fetch(pair);
  }

  #swap() {
    const { value } = $('source');
    const translated = $('target').textContent;
    if (translated) $('source').value = translated;
    // What was the page's own stays so.
    if (value === this.#written) this.#written = $('source').value;
    this.#turn(this.#to, this.#from);
  }

  async #translate() {
    this.#stop?.abort();
    const stop = new AbortController();
    this.#stop = stop;
    const found = this.#translator;
    if (!found) return;
    const lines = $('source').value.split('\n');
    const fresh = [...new Set(lines)].filter((line) => line.trim() && !this.#known.has(line));
    $('target').setAttribute('aria-busy', fresh.length > 0);
    const start = performance.now();
    try {
      const { signal } = stop;
      const options = { from: this.#from || undefined, to: this.#to || undefined, signal };
      const made = fresh.length ? await found.model.translate(fresh, options) : [];
      if (signal.aborted) return;
      if (this.#known.size > KEPT) this.#known.clear();
      fresh.forEach((line, i) => this.#known.set(line, made[i].text));
      const whole = lines.every((line) => !line.trim() || this.#known.has(line));
      if (!whole) return this.#translate();
      if (fresh.length) this.#milliseconds = performance.now() - start;
      this.#show(lines.map((line) => this.#known.get(line) ?? line).join('\n'));
      await this.facts();
    } catch (error) {
      if (!stop.signal.aborted && error.code !== 'disposed') this.#show('', error.message);
    }
  }

  #show(text, note = '') {
    $('target').removeAttribute('aria-busy');
    $('target').textContent = text;
    $('target').lang = this.#to.slice(0, 2);
    $('source').lang = this.#from.slice(0, 2);
    $('translated').textContent = note;
    $('copy').disabled = text.trim() === '';
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText($('target').textContent);
      $('translated').textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren($('target'));
      $('translated').textContent = 'Selected: copy it with the keyboard';
    }
  }
}

/** Whether a language is one of these; a model without any takes all. */
const includes = (codes, code) => (codes.length === 0 ? true : codes.includes(code));
const same = (a, b) => a.join() === b.join();

function fill(menu, codes, chosen) {
  const unique = [...new Set(codes)].map((code) => [nameOf(code), code]);
  unique.sort(([a], [b]) => a.localeCompare(b));
  menu.replaceChildren(...unique.map(([name, code]) => new Option(name, code)));
  if (codes.includes(chosen)) menu.value = chosen;
}

const names = new Intl.DisplayNames(['en'], { type: 'language' });

/** `pt` and `por_Latn` in English. */
export function nameOf(code) {
  try {
    return names.of(code.split('_')[0]) ?? code;
  } catch {
    return code;
  }
}
