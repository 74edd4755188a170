// Reading: what a model of labels, names, answers, gaps or documents makes of a text.

import { factsOf } from './facts.js';
import { rows } from './rows.js';

const $ = (id) => document.getElementById(id);

const BIOGRAPHY = `Ada Lovelace was born in London in 1815, the daughter of Lord Byron and Annabella Milbanke. In 1843 she translated an article from Turin on the Analytical Engine of Charles Babbage; her notes, longer than the article, contain what many call the first program.`;
const REVIEW = 'A delight from start to end: the songs stay with you for days, and the birds steal every scene.';
const PASSAGES = `To reset your password, open the settings, choose Account and follow the link in the mail.
The tide follows the Moon, because its gravity pulls the sea into two bulges.
When the battery is empty, connect the charger and wait until the lamp turns green.
The invoice is due within thirty days; after that a reminder fee is charged.`;

/**
 * What each call needs (a text, perhaps a line beside it, each with the words that ask for it and an
 * example) and how what it finds is shown: nodes, and a line about them; in the
 * order in which they are offered.
 */
const READINGS = {
  tag: {
    name: 'Find names',
    text: ['Text to read', () => BIOGRAPHY],
    async read(model, { text, info, signal }) {
      // Whole words: pieces of them mean nothing to a reader.
      const entities = await model.tag(text, { aggregation: 'first', signal });
      return { nodes: [marked(text, entities, kinds(info.labels))], note: counted(entities.length, 'name') };
    },
  },
  answer: {
    name: 'Answer a question',
    line: ['Question', 'Where was Ada Lovelace born?'],
    text: ['Text that answers', () => BIOGRAPHY],
    async read(model, { text, line, signal }) {
      const all = await model.answer(line, text, { top: 3, noAnswer: true, signal });
      const [best] = all;
      const places = best.text === '' ? [] : [{ ...best, label: 'answer' }];
      const entries = all.map(({ text, score }) => ({ text: text || 'No answer', score }));
      return { nodes: [rows(entries, 'probability'), marked(text, places, ['answer'])] };
    },
  },
  rerank: {
    name: 'Sort passages',
    line: ['Question', 'How do I change my login?'],
    text: ['Passages, one on each line', () => PASSAGES],
    async read(model, { text, line, info, signal }) {
      const passages = text.split('\n').map((each) => each.trim()).filter(Boolean);
      const ranked = await model.rerank(line, passages, { top: 10, signal });
      const entries = ranked.map(({ index, score }) => ({ text: passages[index], score }));
      const cut = ranked.filter(({ truncated }) => truncated);
      const note = cut.length ? `${counted(cut.length, 'passage')} cut: the model takes ${info.embeddingTokens} tokens.` : '';
      return { nodes: [rows(entries, 'score')], note };
    },
  },
  classify: {
    name: 'Label',
    text: ['Text to label', () => REVIEW],
    read: (model, { text, info, signal }) => labelled(model, text, info, { top: 5, signal }),
  },
  choose: {
    name: 'Label with words of your own',
    call: 'classify',
    line: ['Labels to choose from, with commas between', 'film, cooking, travel, politics'],
    text: ['Text to label', () => REVIEW],
    read(model, { text, line, info, signal }) {
      const labels = line.split(',').map((label) => label.trim()).filter(Boolean);
      return labelled(model, text, info, { labels, signal });
    },
  },
  fillMask: {
    name: 'Fill gaps',
    text: ['Text with gaps', ({ mask }) => `The capital of France is ${mask}, and its ${mask} is famous.`],
    async read(model, { text, signal }) {
      const masks = await model.fillMask(text, { k: 5, signal });
      const shown = masks.flatMap((fills, i) => [heading(`Gap ${i + 1}`), rows(fills.map(filled), 'probability')]);
      return { nodes: masks.length > 1 ? shown : shown.slice(1) };
    },
  },
};

/** Whether some of a model's calls are for this room. */
export const reads = (tasks) => readingsFor({ tasks, labels: [] }).length > 0;

function readingsFor({ tasks, labels }) {
  // A model of natural language inference: its own labels are about two texts, but it takes any.
  const infers = labels.some((label) => /^entail/i.test(label));
  return Object.keys(READINGS).filter((name) => {
    if (name === 'classify') return tasks.includes(name) && !infers;
    if (name === 'choose') return tasks.includes('classify') && infers;
    return tasks.includes(name);
  });
}

export class ReadPanel {
  #model = null;
  #label = '';
  #info = null;
  #reading = null;
  #stop = null;
  #milliseconds = null;
  /** What the page wrote into the fields: it may be replaced, the reader's own words may not. */
  #written = { line: '', passage: '' };
  #onFacts;

  constructor({ onFacts }) {
    this.#onFacts = onFacts;
    $('reader').onsubmit = (event) => event.preventDefault();
    $('reading').onchange = () => this.#choose($('reading').value);
    let timer;
    for (const id of ['line', 'passage']) {
      $(id).oninput = () => {
        clearTimeout(timer);
        timer = setTimeout(() => this.#read(), 250);
      };
    }
  }

  /** Reads with this model from now on; `label` is its name for people. */
  async use(model, label) {
    this.#stop?.abort();
    await this.#model?.dispose();
    this.#model = model;
    this.#label = label;
    this.#milliseconds = null;
    this.#info = await model.info();
    const names = readingsFor(this.#info);
    $('reading').replaceChildren(...names.map((name) => new Option(READINGS[name].name, name)));
    for (const element of [$('reading'), $('reading').labels[0]]) element.hidden = names.length < 2;
    $('reader').hidden = false;
    await this.#choose(names[0]);
    $('passage').focus();
    await this.facts();
  }

  async facts() {
    if (!this.#model) return this.#onFacts({});
    const facts = await factsOf(this.#model, this.#label);
    if (this.#milliseconds !== null) facts.reading = `${this.#milliseconds.toFixed(0)} ms`;
    this.#onFacts(facts);
  }

  async #choose(name) {
    this.#reading = READINGS[name];
    const { line = null, text: [words, example] } = this.#reading;
    for (const element of [$('line'), $('line').labels[0]]) element.hidden = line === null;
    if (line) this.#offer('line', ...line);
    this.#offer('passage', words, example(this.#info));
    await this.#read();
  }

  #offer(id, words, example) {
    const field = $(id);
    field.labels[0].textContent = words;
    if (field.value !== '' && field.value !== this.#written[id]) return;
    field.value = this.#written[id] = example;
  }

  async #read() {
    this.#stop?.abort();
    const stop = new AbortController();
    this.#stop = stop;
    const [text, line] = [$('passage').value, $('line').value.trim()];
    if (text.trim() === '' || (this.#reading.line && line === '')) return this.#show([]);
    $('findings').setAttribute('aria-busy', true);
    const start = performance.now();
    try {
      const { nodes, note = '' } = await this.#reading.read(this.#model, { text, line, info: this.#info, signal: stop.signal });
      if (stop.signal.aborted) return;
      this.#milliseconds = performance.now() - start;
      this.#show(nodes, note);
      await this.facts();
    } catch (error) {
      if (!stop.signal.aborted && error.code !== 'disposed') this.#show([], error.message);
    }
  }

  #show(nodes, note = '') {
    $('findings').removeAttribute('aria-busy');
    $('findings').replaceChildren(...nodes);
    $('noted').textContent = note;
  }
}

async function labelled(model, text, { embeddingTokens }, options) {
  const { results, tokens, truncated } = await model.classify(text, options);
  const entries = results.map(({ label, score }) => ({ text: label, score }));
  const note = truncated ? `The text has ${tokens} tokens; the model read the first ${embeddingTokens}.` : '';
  return { nodes: [rows(entries, 'score')], note };
}

/** The text with its parts marked, each in the colour of its kind. */
function marked(text, parts, kinds) {
  const whole = document.createElement('p');
  whole.className = 'marked';
  let at = 0;
  for (const { start, end, label } of parts) {
    const mark = document.createElement('mark');
    mark.style.setProperty('--hue', (75 + 137 * kinds.indexOf(label)) % 360);
    const kind = document.createElement('small');
    kind.textContent = label;
    mark.append(text.slice(start, end), '\u00a0', kind); // the kind stays beside the last word
    whole.append(text.slice(at, start), mark);
    at = end;
  }
  whole.append(text.slice(at));
  return whole;
}

/** Labels without what begins them: `B-PER` and `I-PER` are of one kind. */
function kinds(labels) {
  return [...new Set(labels.filter((label) => label !== 'O').map((label) => label.replace(/^[^-]*-/, '')))];
}

const filled = ({ token, score }) => ({ text: token.trim(), score });

function heading(text) {
  const made = document.createElement('h3');
  made.textContent = text;
  return made;
}

const counted = (n, what) => (n === 1 ? `1 ${what}` : `${n} ${what}s`);
