// The conversation.

import { factsOf } from './facts.js';

const $ = (id) => document.getElementById(id);

export class ChatPanel {
  #model = null;
  #label = '';
  #chat = null;
  #stop = null;
  #atEnd = true;
  #onFacts;
  #announce;

  constructor({ onFacts, announce }) {
    this.#onFacts = onFacts;
    this.#announce = announce;
    $('composer').onsubmit = (event) => {
      event.preventDefault();
      this.#say($('words').value.trim());
    };
    $('words').onkeydown = (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      $('composer').requestSubmit();
    };
    $('stop').onclick = () => this.#stop?.abort();
    $('fresh').onclick = () => this.#startOver();
    $('ideas').onclick = ({ target }) => target.closest('button') && this.#say(target.textContent);
    new ResizeObserver(() => this.#atEnd && this.#scroll()).observe($('log'));
    $('log').onscroll = () => (this.#atEnd = distanceToEnd() < 40);
    document.addEventListener('keydown', ({ key }) => key === 'Escape' && this.#stop?.abort());
  }

  /** Talks with this model from now on; `label` is its name for people. */
  async use(model, label) {
    await this.#model?.dispose();
    this.#model = model;
    this.#label = label;
    this.#chat = model.chat();
    $('log').replaceChildren();
    for (const id of ['log', 'composer', 'ideas']) $(id).hidden = false;
    $('words').focus();
    await this.facts();
  }

  async facts() {
    if (!this.#model) return this.#onFacts({});
    this.#onFacts(await factsOf(this.#model, this.#label));
  }

  async #startOver() {
    this.#stop?.abort();
    $('log').replaceChildren();
    await this.#chat.reset();
    $('ideas').hidden = false;
    $('words').focus();
  }

  async #say(words) {
    if (!words || this.#stop) return;
    const stop = new AbortController();
    this.#stop = stop;
    $('words').value = '';
    $('ideas').hidden = true;
    this.#busy(true);
    this.#add('user', words);
    const answer = this.#add('model', '');
    answer.classList.add('busy');
    const start = performance.now();
    let pieces = 0;
    try {
      const onPrompt = (progress) => this.#reading(answer, progress);
      const generation = this.#chat.say(words, { signal: stop.signal, maxTokens: 512, onPrompt });
      for await (const piece of generation) {
        this.#whileAtEnd(() => answer.append(piece));
        pieces += 1;
      }
      this.#speed(generation.stats);
      this.#announce(`Kinglet: ${answer.textContent}`);
    } catch (error) {
      if (stop.signal.aborted) {
        const seconds = (performance.now() - start) / 1000;
        this.#note(`Stopped after ${pieces} pieces in ${seconds.toFixed(1)} s`);
      } else {
        const failure = document.createElement('span');
        failure.className = 'failure';
        failure.setAttribute('role', 'alert');
        failure.textContent = error.message;
        answer.append(failure);
      }
    } finally {
      answer.classList.remove('busy');
      delete answer.dataset.read;
      this.#stop = null;
      this.#busy(false);
    }
    await this.facts().catch(() => {});
  }

  /** Tells how far a prompt of several batches is. */
  #reading(answer, { done, total }) {
    if (done > 0 && done < total) answer.dataset.read = `${Math.round((100 * done) / total)} %`;
    else delete answer.dataset.read;
  }

  #speed({ generatedTokens, tokensPerSecond, secondsToFirstToken }) {
    const parts = [`${generatedTokens} tokens`];
    if (tokensPerSecond) parts.push(`${tokensPerSecond.toFixed(0)} per second`);
    parts.push(`the first after ${secondsToFirstToken.toFixed(2)} s`);
    this.#note(parts.join(', '));
  }

  #note(text) {
    const note = document.createElement('p');
    note.className = 'speed';
    note.textContent = text;
    this.#whileAtEnd(() => $('log').append(note));
  }

  #add(who, text) {
    const message = document.createElement('div');
    message.className = `message ${who}`;
    message.textContent = text;
    $('log').append(message);
    this.#scroll();
    return message;
  }

  /** Changes the log and keeps its end in sight, unless the reader has scrolled away. */
  #whileAtEnd(change) {
    change();
    if (this.#atEnd) this.#scroll();
  }

  #scroll() {
    $('log').scrollTop = $('log').scrollHeight;
  }

  #busy(yes) {
    const focused = document.activeElement === $(yes ? 'send' : 'stop');
    $('send').hidden = yes;
    $('stop').hidden = !yes;
    if (focused) $(yes ? 'stop' : 'words').focus();
  }
}

function distanceToEnd() {
  const { scrollHeight, scrollTop, clientHeight } = $('log');
  return scrollHeight - scrollTop - clientHeight;
}
