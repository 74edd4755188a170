// Semantic search over lines of text.

import { factsOf } from './facts.js';
import { row } from './rows.js';

const $ = (id) => document.getElementById(id);

const HITS = 5;
const SAMPLE = `The goldcrest, the smallest bird of Europe, weighs five grams and winters in spruce woods.
Honeybees tell their sisters where the flowers are by dancing in the dark of the hive.
To make bread, mix flour, water, salt and yeast, let it rise for an hour and bake it.
The tide follows the Moon, because its gravity pulls the sea into two bulges.
A bicycle stays upright mostly because its front wheel steers into a fall.
The first printed books in Europe came out of Johannes Gutenberg's workshop in Mainz.
When the battery is empty, connect the charger and wait until the lamp turns green.
Vaccines show the immune system a harmless piece of a germ, so that it knows it later.
Whales sing under water, and their songs can be heard hundreds of kilometres away.
To reset your password, open the settings, choose Account and follow the link in the mail.
Glaciers carve valleys in the shape of a U, rivers in the shape of a V.
The invoice is due within thirty days; after that a reminder fee is charged.`;

export class SearchPanel {
  #model = null;
  #label = '';
  #known = new Map(); // passage -> vector
  #turn = 0;
  #onFacts;
  #milliseconds = null;

  constructor({ onFacts }) {
    this.#onFacts = onFacts;
    $('corpus').value = SAMPLE;
    $('finder').onsubmit = (event) => event.preventDefault();
    for (const id of ['query', 'corpus']) {
      let timer;
      $(id).oninput = () => {
        clearTimeout(timer);
        timer = setTimeout(() => this.#search(), id === 'query' ? 60 : 400);
      };
    }
  }

  /** Searches with this model from now on; `label` is its name for people. */
  async use(model, label) {
    await this.#model?.dispose();
    this.#model = model;
    this.#label = label;
    this.#known.clear();
    $('finder').hidden = false;
    if (!$('query').value) $('query').value = 'How do I change my login?';
    $('query').focus();
    await this.#search();
    await this.facts();
  }

  async facts() {
    if (!this.#model) return this.#onFacts({});
    const facts = await factsOf(this.#model, this.#label);
    if (this.#milliseconds !== null) facts.query = `${this.#milliseconds.toFixed(0)} ms`;
    this.#onFacts(facts);
  }

  async #search() {
    const turn = ++this.#turn;
    const passages = [...new Set($('corpus').value.split('\n').map((line) => line.trim()))].filter(Boolean);
    const query = $('query').value.trim();
    try {
      await this.#index(passages, turn);
      if (turn !== this.#turn || !query) return;
      const start = performance.now();
      const wanted = await this.#model.embed(query);
      this.#milliseconds = performance.now() - start;
      if (turn !== this.#turn) return;
      const scored = passages.map((text) => ({ text, score: dot(wanted, this.#known.get(text)) }));
      scored.sort((a, b) => b.score - a.score);
      $('hits').replaceChildren(...scored.slice(0, HITS).map((hit) => row(hit, 'nearness')));
      await this.facts();
    } catch (error) {
      if (error.code !== 'disposed') $('indexed').textContent = error.message;
    }
  }

  async #index(passages, turn) {
    const fresh = passages.filter((text) => !this.#known.has(text));
    const start = performance.now();
    for (let at = 0; at < fresh.length && turn === this.#turn; at += 32) {
      const some = fresh.slice(at, at + 32);
      const vectors = await this.#model.embed(some);
      some.forEach((text, i) => this.#known.set(text, vectors[i]));
      $('indexed').textContent = `${at + some.length} of ${fresh.length} new passages read`;
    }
    if (fresh.length === 0 || turn !== this.#turn) return;
    const milliseconds = (performance.now() - start).toFixed(0);
    $('indexed').textContent = `${fresh.length} passages read in ${milliseconds} ms`;
  }
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
