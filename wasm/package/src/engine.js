// The worker's half: owns the engine and serves requests one after the other.

import { convert } from './convert.js';
import { KingletError, isFatal, pack } from './errors.js';
import { assemble } from './loader.js';
import { Progress } from './progress.js';
import { FileSource, UrlSource } from './source.js';
import { FolderFile, OpfsFile, storageError } from './store.js';
import { tasks } from './tasks.js';
import { candidates, defaultThreads } from './variant.js';

/** Serves requests; `host` brings `post`, `tick` and `loadVariant`. */
export class Engine {
  #host;
  #aborts = new Map();
  #queue = Promise.resolve();
  #glue;
  #memory;
  #model;
  #chats = new Map();
  #listenings = new Map();
  #facts = {};
  #last = null;

  constructor(host) {
    this.#host = host;
  }

  /** Takes a message from the page. */
  receive({ id, method, args, abort }) {
    if (abort) {
      this.#aborts.get(id)?.abort();
      return;
    }
    const controller = new AbortController();
    this.#aborts.set(id, controller);
    this.#queue = this.#queue.then(() => this.#serve(id, method, args, controller.signal));
  }

  async #serve(id, method, args, signal) {
    try {
      signal.throwIfAborted();
      const emit = (event) => this.#host.post({ id, event });
      const { value, transfer } = (await this[`$${method}`](args, signal, emit)) ?? {};
      this.#host.post({ id, value }, transfer);
    } catch (error) {
      const fatal = isFatal(error);
      this.#host.post({ id, error: pack(fatal ? crash(error) : error), fatal });
    } finally {
      this.#aborts.delete(id);
    }
  }

  async $load({ source, threads, cache, variant, retries, kv, context, files }, signal, emit) {
    const start = performance.now();
    const from = await openSource(source);
    const progress = new Progress(emit);
    const { store, storeError } = await openStore(from, cache);
    const engine = this.#start(candidates(variant, threads), files, threads);
    engine.catch(() => {});
    let loaded;
    try {
      loaded = await assemble({
        source: from, store, engine, retries, signal,
        onProgress: (state) => progress.update(state),
      });
    } finally {
      from.close();
      try {
        store?.close();
      } catch {
        // a full disk shows itself here too; what was written is checked when it is read
      }
    }
    const { assembly, fromStore } = loaded;
    const error = assembly.storeError ?? storeError;
    if (error && cache === 'required') throw error;
    this.#model = assembly.finish(this.#facts.threads, kv, context);
    const stored = store !== null && error === null;
    this.#facts = {
      ...this.#facts, stored, fromStore, storeError: error?.message ?? null,
      loadSeconds: (performance.now() - start) / 1000,
    };
  }

  /** Starts the first build that works here. */
  async #start(names, files, threads) {
    const failures = [];
    let last;
    for (const name of names) {
      try {
        await this.#startVariant(name, files, threads);
        return { glue: this.#glue, memory: this.#memory };
      } catch (error) {
        failures.push(`${name}: ${error.message ?? error}`);
        last = error;
      }
    }
    // The last one asks for the least memory.
    if (pack(last).code === 'out-of-memory') throw last;
    throw new KingletError('unsupported', `the engine cannot start here (${failures.join('; ')})`);
  }

  async #startVariant(name, files, threads) {
    const { glue, memory } = await this.#host.loadVariant(files[name]);
    const n = name.endsWith('-threads') ? threads ?? defaultThreads() : 1;
    // The worker itself is one of the threads.
    if (n > 1) await glue.initThreadPool(n - 1);
    this.#glue = glue;
    this.#memory = memory;
    this.#facts = { variant: name, threads: n };
  }

  async $generate({ prompt, chat, system, context, content, options }, signal, emit) {
    const start = performance.now();
    const speaker = chat === undefined ? null : this.#chat(chat, system, context);
    const generation = speaker ? speaker.say(content, options) : this.#model.generate(prompt, options);
    let first = 0;
    try {
      await this.#prefill(generation, signal, emit);
      for (let piece; (piece = generation.next()) !== undefined; ) {
        if (generation.generatedTokens > 0) first ||= performance.now();
        if (piece !== '') emit(piece);
        await this.#host.tick();
        signal.throwIfAborted();
      }
      first ||= performance.now();
      const { finishReason, promptTokens, generatedTokens } = generation;
      const prefill = (first - start) / 1000;
      const decode = (performance.now() - first) / 1000;
      const rate = decode > 0 && generatedTokens > 1 ? (generatedTokens - 1) / decode : null;
      this.#last = {
        finishReason, promptTokens, generatedTokens,
        secondsToFirstToken: prefill, tokensPerSecond: rate,
      };
      return { value: this.#last };
    } finally {
      generation.free();
    }
  }

  /** Reads the prompt, and lets messages in after each batch. */
  async #prefill(generation, signal, emit) {
    const total = generation.promptTokens;
    let due = total;
    while (due > 0) {
      emit({ done: total - due, total });
      due = generation.prefill();
      await this.#host.tick();
      signal.throwIfAborted();
    }
    emit({ done: total, total });
  }

  async $task({ task, ...args }, signal, emit) {
    const pause = async () => {
      await this.#host.tick();
      signal.throwIfAborted();
    };
    return tasks[task](this.#model, args, pause, emit);
  }

  async $listen({ id, step, samples, options }) {
    let transcriber = this.#listenings.get(id);
    if (!transcriber) {
      transcriber = this.#model.transcriber(options);
      this.#listenings.set(id, transcriber);
    }
    const heard = transcriber.push(samples);
    if (step === 'finish') {
      const { segments } = heard;
      Object.assign(heard, transcriber.finish());
      heard.segments.unshift(...segments);
    }
    return { value: { heard, language: transcriber.language ?? null } };
  }

  async $freeListening({ id }) {
    this.#listenings.get(id)?.free();
    this.#listenings.delete(id);
  }

  async $quantize({ module, ...job }, signal, emit) {
    return { value: await convert(job, await this.#host.loadVariant(module), signal, emit) };
  }

  /** Whether a model is kept whole under a name. */
  async $kept({ key, cache }) {
    const { store } = await openStore({ url: key }, cache === 'required' || cache);
    try {
      const note = await store?.readNote();
      return { value: note?.url === key && store.size === note.length };
    } finally {
      store?.close();
    }
  }

  async $info() {
    const memoryBytes = this.#memory.buffer.byteLength;
    return { value: { ...this.#facts, ...this.#model.info(), memoryBytes, last: this.#last } };
  }

  async $messages({ chat, system }) {
    const known = this.#chats.get(chat)?.messages();
    return { value: known ?? (system === undefined ? [] : [{ role: 'system', content: system }]) };
  }

  async $freeChat({ chat }) {
    this.#chats.get(chat)?.free();
    this.#chats.delete(chat);
  }

  #chat(id, system, context) {
    let chat = this.#chats.get(id);
    if (!chat) {
      chat = this.#model.chat(context);
      if (system !== undefined) chat.setSystem(system);
      this.#chats.set(id, chat);
    }
    return chat;
  }
}

async function openSource({ url, token, key, blob, path }) {
  if (key !== undefined && !blob) return new Kept(key);
  if (url !== undefined) return new UrlSource(url, token);
  return blob ? FileSource.ofBlob(blob, key ?? blob.name, key ?? null) : FileSource.ofPath(path);
}

/** A model of which nothing is known but that it is kept under a name. */
class Kept {
  etag = null;

  constructor(key) {
    this.url = this.name = key;
  }

  open() {
    throw new KingletError('not-kept', `${this.name} is not kept on this device, or damaged`);
  }

  close() {}
}

async function openStore(source, cache) {
  if (cache === false || source.url === null) return { store: null, storeError: null };
  try {
    const store = typeof cache === 'object'
      ? await FolderFile.open(source.url, cache.folder)
      : await OpfsFile.open(source.url);
    // Of another conversion, nothing is of use.
    if (cache === 'refresh' || source.converted) store.truncate(0);
    return { store, storeError: null };
  } catch (error) {
    const storeError = error instanceof KingletError ? error : storageError(error);
    if (cache === 'required') throw storeError;
    return { store: null, storeError };
  }
}

/** What a trap means to a caller: the engine's memory is lost. */
function crash(error) {
  const message = `the engine stopped (${error.message}); load the model again`;
  return new KingletError('crashed', message);
}
