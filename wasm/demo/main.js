// The demo: tabs, the models' cards, the facts below, and files that are dropped.

import { ChatPanel } from './chat.js';
import { ModelCard } from './card.js';
import { chosenFiles, droppedFiles } from './dropped.js';
import { ListenPanel } from './listen.js';
import { ReadPanel, reads } from './read.js';
import { SearchPanel } from './search.js';
import { TranslatePanel } from './translate.js';

const $ = (id) => document.getElementById(id);

/** Says something to screen readers alone. */
const announce = (text) => ($('spoken').textContent = text);

/** Directions in which the page's own models translate. */
const PAIRS = [
  { from: 'en', to: 'pt', url: 'models/firefox-en-pt.kinglet' },
  { from: 'pt', to: 'en', url: 'models/firefox-pt-en.kinglet' },
];

const panels = {
  chat: new ChatPanel({ onFacts: (facts) => showFacts('chat', facts), announce }),
  search: new SearchPanel({ onFacts: (facts) => showFacts('search', facts) }),
  read: new ReadPanel({ onFacts: (facts) => showFacts('read', facts) }),
  translate: new TranslatePanel({
    onFacts: (facts) => showFacts('translate', facts),
    pairs: PAIRS,
    fetch: ({ url }) => cards.translate.fetch(url),
  }),
  listen: new ListenPanel({ onFacts: (facts) => showFacts('listen', facts), announce }),
};
const tabs = Object.keys(panels).map((room) => $(`${room}-tab`));
const cards = {
  chat: new ModelCard($('chat-card'), {
    title: 'Talk with SmolLM2',
    about: 'A small language model with 135 million parameters, made by Hugging Face. It knows a little of everything and is often wrong, quickly.',
    url: 'models/smollm2-135m.kinglet',
    size: '141 MB',
    onModel: (model) => adopt('chat', model, 'SmolLM2 135M'),
  }),
  search: new ModelCard($('search-card'), {
    title: 'Search by meaning',
    about: 'all-MiniLM-L6-v2 turns each passage into a vector; what means the same lies close together, whatever its words.',
    url: 'models/all-minilm-l6-v2.kinglet',
    size: '24 MB',
    onModel: (model) => adopt('search', model, 'MiniLM L6'),
  }),
  read: new ModelCard($('read-card'), {
    title: 'Read a text',
    about: 'Models that label texts, find names in them, answer questions from them, fill their gaps or sort passages. Name one of the Hugging Face hub: it is fetched from there once (these have some 260 MB), converted here and kept on this device. Or drop its files.',
    examples: [
      ['Find names', 'dslim/distilbert-NER'],
      ['Praise or blame', 'distilbert/distilbert-base-uncased-finetuned-sst-2-english'],
      ['Answer questions', 'distilbert/distilbert-base-cased-distilled-squad'],
    ],
    onModel: (model, name) => adopt('read', model, name),
  }),
  translate: new ModelCard($('translate-card'), {
    title: 'Translate as you type',
    about: 'A model of Firefox Translations turns English into Portuguese, and its twin Portuguese into English. What you write stays here.',
    url: PAIRS[0].url,
    size: '19 MB',
    onModel: (model) => adopt('translate', model, 'Firefox Translations'),
  }),
  listen: new ModelCard($('listen-card'), {
    title: 'Write down what is said',
    about: 'Whisper tiny.en by OpenAI hears English, from the microphone or a file, and writes captions with times. For other languages, drop a model that knows them.',
    url: 'models/whisper-tiny.en.kinglet',
    size: '42 MB',
    onModel: (model) => adopt('listen', model, 'Whisper tiny.en'),
  }),
};

async function adopt(room, model, label) {
  cards[room].hide();
  await panels[room].use(model, label);
}

const roomOf = (tab) => tab.getAttribute('aria-controls');

function select(tab) {
  for (const each of tabs) {
    const selected = each === tab;
    each.setAttribute('aria-selected', selected);
    each.tabIndex = selected ? 0 : -1;
    $(roomOf(each)).hidden = !selected;
  }
  // A model may be replaced meanwhile; the next one tells its own facts.
  panels[roomOf(tab)].facts().catch(() => {});
  cards[roomOf(tab)].resume();
}

for (const [i, tab] of tabs.entries()) {
  tab.onclick = () => select(tab);
  tab.onkeydown = ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const other = tabs.at((i + step) % tabs.length);
    select(other);
    other.focus();
  };
}

/** Facts may come late: those of a panel that is hidden by then are not shown. */
function showFacts(panel, facts) {
  if ($(panel).hidden) return;
  const entries = Object.entries(facts).map(([name, value]) => {
    const row = document.createElement('div');
    const term = document.createElement('dt');
    const detail = document.createElement('dd');
    term.textContent = name;
    detail.textContent = value;
    row.append(term, detail);
    return row;
  });
  $('facts').replaceChildren(...entries);
}

async function open(given) {
  const shown = roomOf(tabs.find((tab) => tab.getAttribute('aria-selected') === 'true'));
  const opened = await cards[shown].open(given);
  if (!opened) return;
  const { model, converted } = opened;
  const room = roomFor(await model.info(), shown);
  cards[shown].hide();
  select($(`${room}-tab`));
  await adopt(room, model, given.name);
  offerToKeep(converted, given.name);
}

/** The room that is shown if the model is for it, or the first that it is for. */
function roomFor({ tasks }, shown) {
  const fits = {
    chat: tasks.includes('generate'),
    read: reads(tasks),
    translate: tasks.includes('translate'),
    listen: tasks.includes('transcribe'),
    search: tasks.includes('embed'),
  };
  return fits[shown] ? shown : Object.keys(fits).find((room) => fits[room]) ?? 'search';
}

/** A converted model can be kept as a file. */
function offerToKeep(converted, name) {
  const link = $('keep');
  if (link.href) URL.revokeObjectURL(link.href);
  link.hidden = !converted;
  if (!converted) return;
  link.href = URL.createObjectURL(converted);
  link.download = `${name.replace(/\.[a-z]+$/i, '')}.kinglet`;
}

$('own').onchange = ({ target }) => {
  const given = chosenFiles([...target.files]);
  target.value = ''; // so that the same file can be chosen again
  if (Object.keys(given.files).length) open(given);
};
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add('dropping');
};
document.ondragleave = () => document.body.classList.remove('dropping');
document.ondrop = async (event) => {
  event.preventDefault();
  document.body.classList.remove('dropping');
  const given = await droppedFiles(event.dataTransfer);
  if (Object.keys(given.files).length) open(given);
};

// The page itself works offline too, once visited.
navigator.serviceWorker?.register('offline.js').catch(() => {});
select(tabs.find((tab) => location.hash === `#${roomOf(tab)}`) ?? tabs[0]);

