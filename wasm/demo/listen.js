// Speech to text: what the microphone hears, or a file, as captions with times.

import { factsOf } from './facts.js';
import { openMicrophone } from './microphone.js';
import { clock, srt } from './srt.js';
import { nameOf } from './translate.js';

const $ = (id) => document.getElementById(id);

export class ListenPanel {
  #model = null;
  #label = '';
  #segments = [];
  #name = 'captions';
  #speed = null;
  /** What goes on: `stop()` ends it; only the last one shows anything. */
  #work = null;
  #onFacts;
  #announce;

  constructor({ onFacts, announce }) {
    this.#onFacts = onFacts;
    this.#announce = announce;
    $('microphone').onclick = () => (this.#work?.live ? this.#work.stop() : this.#live());
    $('sound').onchange = ({ target }) => {
      const [file] = target.files;
      target.value = ''; // so that the same file can be chosen again
      if (file) this.open(file);
    };
    $('hush').onclick = () => this.#work?.stop();
    $('srt').onclick = () => this.#save();
  }

  /** Listens with this model from now on; `label` is its name for people. */
  async use(model, label) {
    this.#end();
    await this.#model?.dispose();
    this.#model = model;
    this.#label = label;
    const { languages: { from, to } } = await model.info();
    const options = from.map((code) => new Option(nameOf(code), code)).sort((a, b) => a.text.localeCompare(b.text));
    $('spoken-language').replaceChildren(new Option('Any language', 'auto'), ...options);
    $('spoken-language').hidden = from.length < 2;
    $('in-english').parentElement.hidden = to.length === 0;
    $('listener').hidden = false;
    this.#show();
    $('microphone').focus();
    await this.facts();
  }

  async facts() {
    if (!this.#model) return this.#onFacts({});
    const facts = await factsOf(this.#model, this.#label);
    if (this.#speed !== null) facts.speed = `${this.#speed.toFixed(1)}x real time`;
    this.#onFacts(facts);
  }

  get #options() {
    const { hidden, value } = $('spoken-language');
    return { language: hidden ? undefined : value, task: $('in-english').checked ? 'translate' : 'transcribe' };
  }

  /** Writes down a file. */
  async open(file) {
    const stop = new AbortController();
    const work = this.#begin({ stop: () => stop.abort() });
    this.#name = file.name.replace(/\.[^.]*$/, '') || 'captions';
    this.#say(`Reading ${file.name}`);
    const start = performance.now();
    let seconds = 0;
    try {
      await this.#model.transcribe(file, {
        ...this.#options,
        signal: stop.signal,
        onSegment: (segment) => work === this.#work && this.#add([segment]),
        onProgress: ({ done, total }) => {
          if (work !== this.#work) return;
          seconds = total;
          $('heard').value = done / total;
          this.#say(`${clock(done)} of ${clock(total)}`);
        },
      });
      if (work !== this.#work) return;
      const took = (performance.now() - start) / 1000;
      this.#speed = seconds / took;
      this.#done(work, this.#segments.length ? `${clock(seconds)} heard in ${took.toFixed(1)} s` : 'Nobody speaks in it.');
    } catch (error) {
      this.#done(work, stop.signal.aborted ? 'Stopped' : error.message);
    }
  }

  /** Writes down what the microphone hears until it is stopped. */
  async #live() {
    let microphone;
    let listening;
    const work = this.#begin({ live: true });
    this.#name = 'captions';
    let over;
    const stopped = new Promise((resolve) => (over = resolve));
    work.stop = over;
    try {
      this.#say('The browser asks whether it may listen');
      listening = this.#model.listen({
        ...this.#options,
        onHeard: ({ segments, stable, tentative }) => {
          if (work !== this.#work) return;
          this.#add(segments);
          this.#going(stable, tentative);
        },
      });
      let n = 0;
      microphone = await openMicrophone((samples) => {
        if (work !== this.#work) return;
        listening.push(samples);
        n += samples.length;
        $('level').style.setProperty('--level', loudness(samples));
        this.#say(`Listening, ${clock(n / 16_000)}`);
      });
      if (work !== this.#work) over();
      await stopped;
      await microphone.close();
      microphone = null;
      if (work === this.#work) this.#say('Writing down the rest');
      await listening.finish();
      this.#done(work, this.#segments.length ? `${clock(n / 16_000)} heard` : 'Nothing was said.');
    } catch (error) {
      this.#done(work, error.name === 'NotAllowedError' ? 'The microphone may not be used: allow it in the address bar.' : error.message);
    } finally {
      await microphone?.close().catch(() => {});
      await listening?.dispose().catch(() => {});
    }
  }

  #begin(work) {
    this.#end();
    this.#work = work;
    this.#segments = [];
    $('captions').replaceChildren();
    this.#show();
    return work;
  }

  /** Ends what goes on; nothing of it is shown any more. */
  #end() {
    const work = this.#work;
    this.#work = null;
    work?.stop();
  }

  #done(work, note) {
    if (work !== this.#work) return;
    this.#work = null;
    this.#going('', '');
    this.#show();
    this.#say(note);
    this.#announce(this.#segments.map(({ text }) => text).join(''));
    this.facts().catch(() => {});
  }

  /** What can be done now. */
  #show() {
    const [busy, live] = [this.#work !== null, Boolean(this.#work?.live)];
    $('microphone').textContent = live ? 'Stop' : 'Listen';
    $('microphone').classList.toggle('stopping', live);
    $('microphone').disabled = busy && !live;
    $('level').hidden = !live;
    $('heard').hidden = $('hush').hidden = !busy || live;
    $('heard').removeAttribute('value');
    for (const id of ['sound', 'spoken-language', 'in-english']) $(id).disabled = busy;
    $('srt').disabled = this.#segments.length === 0;
    if (!busy) this.#say('');
  }

  #say(text) {
    $('noticed').textContent = text;
  }

  #add(segments) {
    if (segments.length === 0) return;
    this.#segments.push(...segments);
    $('going')?.remove();
    $('captions').append(...segments.map(({ start, text }) => caption(clock(start), text.trim())));
    $('srt').disabled = false;
    this.#scroll();
  }

  /** The words that follow the last caption. */
  #going(stable, tentative) {
    $('going')?.remove();
    if (!(stable + tentative).trim()) return;
    const item = caption('…', stable.trimStart());
    item.id = 'going';
    const maybe = document.createElement('span');
    maybe.className = 'maybe';
    maybe.textContent = tentative;
    item.lastElementChild.append(maybe);
    $('captions').append(item);
    this.#scroll();
  }

  #scroll() {
    $('captions').lastElementChild?.scrollIntoView({ block: 'nearest' });
  }

  #save() {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([srt(this.#segments)], { type: 'application/x-subrip' }));
    link.download = `${this.#name}.srt`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

function caption(time, text) {
  const item = document.createElement('li');
  const when = document.createElement('time');
  when.textContent = time;
  const words = document.createElement('span');
  words.textContent = text;
  item.append(when, words);
  return item;
}

/** From 0, silence, to 1. */
function loudness(samples) {
  const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
  return Math.min(1, Math.max(0, 1 + Math.log10(power + 1e-10) / 5));
}
