// What models make of texts and sound: some at a time, so that the worker hears of a stop between two.

import { KingletError } from './errors.js';

// Texts between two looks at the abort signal, and code units of them: long ones are read in many windows.
const BATCH = 16;
const BATCH_LENGTH = 1 << 15;
// The same where each text is answered by one: many sentences are written at a time.
const ANSWERED = 32;
const ANSWERED_LENGTH = 1 << 12;

/**
 * Each serves a call. `model` is the engine's; `pause` lets messages in, and throws if one was that
 * nobody waits any more.
 */
export const tasks = {
  async embed(model, { texts, options }, pause, emit) {
    const vectors = [];
    for await (const [some] of batches(texts, BATCH, pause)) {
      for (const { vector, tokens, truncated } of model.embed(some, options)) {
        if (truncated) emit({ index: vectors.length, tokens });
        vectors.push(vector);
      }
    }
    return { value: vectors, transfer: vectors.map((vector) => vector.buffer) };
  },

  async classify(model, { texts, options }, pause) {
    const { pairs, labels = [] } = options;
    if (pairs && pairs.length !== texts.length) {
      throw new KingletError('invalid-option', `${texts.length} texts have ${pairs.length} pairs; there must be one for each`);
    }
    const found = [];
    // With labels that are given, each of them is read with each text.
    const size = Math.max(1, Math.floor(BATCH / Math.max(1, labels.length)));
    for await (const [some, at] of batches(texts, size, pause)) {
      found.push(...model.classify(some, { ...options, pairs: pairs?.slice(at, at + some.length) }));
    }
    return { value: found };
  },

  async tag(model, { texts, options }, pause) {
    const found = [];
    for await (const [some] of batches(texts, BATCH, pause)) found.push(...model.tag(some, options));
    return { value: found };
  },

  async fillMask(model, { text, options }) {
    return { value: model.fillMask(text, options) };
  },

  async answer(model, { question, context, options }) {
    return { value: model.answer(question, context, options) };
  },

  async rerank(model, { query, docs, options: { top = Infinity } }, pause) {
    const found = [];
    for await (const [some, at] of batches(docs, BATCH, pause)) {
      for (const each of model.rerank(query, some)) found.push({ ...each, index: each.index + at });
    }
    found.sort((a, b) => b.score - a.score || a.index - b.index);
    return { value: found.slice(0, top) };
  },

  translate: (model, args, pause, emit) => answered('translate', model, args, pause, emit),
  textToText: (model, args, pause, emit) => answered('textToText', model, args, pause, emit),

  async transcribe(model, { samples, options }, pause, emit) {
    const transcription = model.transcribe(samples, options);
    try {
      const segments = [];
      const total = transcription.seconds;
      emit({ progress: { done: 0, total } });
      for (let segment; (segment = transcription.next()) !== undefined; ) {
        segments.push(segment);
        emit({ segment, progress: { done: transcription.heard, total } });
        await pause();
      }
      emit({ progress: { done: total, total } });
      const text = segments.map((segment) => segment.text).join('').trim();
      return { value: { text, language: transcription.language ?? null, segments } };
    } finally {
      transcription.free();
    }
  },
};

/** Texts for texts. */
async function answered(call, model, { texts, options }, pause, emit) {
  const found = [];
  for await (const [some] of batches(texts, ANSWERED, pause, ANSWERED_LENGTH)) {
    found.push(...model[call](some, options));
    emit({ done: found.length, total: texts.length });
  }
  return { value: found };
}

/** Texts in batches, each with the number of its first one; of no texts, one batch without any. */
async function* batches(texts, size, pause, most = BATCH_LENGTH) {
  let [some, at, length] = [[], 0, 0];
  for (const text of texts) {
    const full = some.length === size || length + text.length > most;
    if (full && some.length > 0) {
      yield [some, at];
      await pause();
      at += some.length;
      [some, length] = [[], 0];
    }
    some.push(text);
    length += text.length;
  }
  yield [some, at];
}
