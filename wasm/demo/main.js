// The demo: tabs, the models' cards, the facts below, and files that are dropped.

import { ChatPanel } from './chat.js';
import { ModelCard } from './card.js';
import { chosenFiles, droppedFiles } from './dropped.js';
import { SearchPanel } from './search.js';

const $ = (id) => document.getElementById(id);

const chat = new ChatPanel({ onFacts: (facts) => showFacts('chat', facts), announce });
const search = new SearchPanel({ onFacts: (facts) => showFacts('search', facts) });
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

/** Says something to screen readers alone. */
function announce(text) {
  $('spoken').textContent = text;
}

async function open(given) {
  const shown = tabs.find((tab) => tab.getAttribute('aria-selected') === 'true');
  const card = cards[shown.getAttribute('aria-controls')];
  const opened = await card.open(given);
  if (!opened) return;
  const { model, converted } = opened;
  const { generative } = await model.info();
  const kind = generative ? 'chat' : 'search';
  card.hide();
  select(tabs[kind === 'chat' ? 0 : 1]);
  await adopt(kind, model, given.name);
  offerToKeep(converted, given.name);
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
select(location.hash === '#search' ? tabs[1] : tabs[0]);

