// The demo: tabs, the models' cards, the facts below, and files that are dropped.

import { ChatPanel } from './chat.js';
import { ModelCard } from './card.js';
import { SearchPanel } from './search.js';

const $ = (id) => document.getElementById(id);

const chat = new ChatPanel({ onFacts: showFacts, announce });
const search = new SearchPanel({ onFacts: showFacts });
const tabs = [$('chat-tab'), $('search-tab')];
const cards = {
  chat: new ModelCard($('chat-card'), {
    title: 'Talk with SmolLM2',
    about: 'A small language model with 135 million parameters, made by Hugging Face. It knows a little of everything and is often wrong, quickly.',
    url: 'models/smollm2-135m.kinglet',
    size: '141 MB',
    onModel: (model) => adopt('chat', model),
  }),
  search: new ModelCard($('search-card'), {
    title: 'Search by meaning',
    about: 'all-MiniLM-L6-v2 turns each passage into a vector; what means the same lies close together, whatever its words.',
    url: 'models/all-minilm-l6-v2.kinglet',
    size: '24 MB',
    onModel: (model) => adopt('search', model),
  }),
};

async function adopt(kind, model, label = kind === 'chat' ? 'SmolLM2 135M' : 'MiniLM L6') {
  cards[kind].hide();
  await (kind === 'chat' ? chat : search).use(model, label);
}

function select(tab) {
  for (const each of tabs) {
    const selected = each === tab;
    each.setAttribute('aria-selected', selected);
    each.tabIndex = selected ? 0 : -1;
    $(each.getAttribute('aria-controls')).hidden = !selected;
  }
  // A model may be replaced meanwhile; the next one tells its own facts.
  (tab === tabs[0] ? chat : search).facts().catch(() => {});
  cards[tab.getAttribute('aria-controls')].resume();
}

for (const [i, tab] of tabs.entries()) {
  tab.onclick = () => select(tab);
  tab.onkeydown = ({ key }) => {
    if (key !== 'ArrowRight' && key !== 'ArrowLeft') return;
    const other = tabs[1 - i];
    select(other);
    other.focus();
  };
}

function showFacts(facts) {
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

/** Says something to screen readers alone. */
function announce(text) {
  $('spoken').textContent = text;
}

async function openFile(file) {
  const shown = tabs.find((tab) => tab.getAttribute('aria-selected') === 'true');
  const card = cards[shown.getAttribute('aria-controls')];
  const model = await card.load(file);
  if (!model) return;
  const { generative } = await model.info();
  const kind = generative ? 'chat' : 'search';
  card.hide();
  select(tabs[kind === 'chat' ? 0 : 1]);
  await adopt(kind, model, file.name);
}

$('own').onchange = ({ target }) => {
  const [file] = target.files;
  target.value = ''; // so that the same file can be chosen again
  if (file) openFile(file);
};
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add('dropping');
};
document.ondragleave = () => document.body.classList.remove('dropping');
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove('dropping');
  const [file] = event.dataTransfer.files;
  if (file) openFile(file);
};

// The page itself works offline too, once visited.
navigator.serviceWorker?.register('offline.js').catch(() => {});
select(location.hash === '#search' ? tabs[1] : tabs[0]);

