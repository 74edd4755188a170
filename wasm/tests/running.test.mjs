// Running models in Chromium: the same text as native, conversations, stopping, freeing, failing.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { VARIANTS } from '../package/src/variant.js';
import { openBrowser, openPage, rendererMemory } from './browser.mjs';
import { continuation, embeddings } from './native.mjs';
import { startServer } from './server.mjs';

const SMOLLM = '/models/smollm2-135m.kinglet';
const MINILM = '/models/all-minilm-l6-v2.kinglet';
const PROMPT = 'The quick brown fox jumps over the lazy dog. Meanwhile, in the forest,';
const TOKENS = 24;
const TEXTS = [
  'a small bird', 'a large ship', 'The invoice is due within thirty days.', 'Où est la gare ?',
  'Semantic search finds passages by what they mean, not by the words they use. '.repeat(6),
];

let server, browser, page, native;
before(async () => {
  native = { text: continuation(PROMPT, TOKENS), vectors: embeddings(TEXTS) };
  server = await startServer();
  browser = await openBrowser();
  page = await openPage(browser.context, server.origin);
  await page.evaluate(async (url) => {
    globalThis.model = await Kinglet.load(url);
  }, SMOLLM);
}, { timeout: 300_000 });
after(async () => {
  await browser?.close();
  await server?.close();
}, { timeout: 300_000 });

for (const variant of VARIANTS) {
  test(`${variant}: text and vectors are the native ones`, async () => {
    const found = await page.evaluate(
      async ([smollm, minilm, variant, prompt, maxTokens, texts]) => {
        const model = await Kinglet.load(smollm, { variant, threads: 2 });
        const generation = model.generate(prompt, { temperature: 0, maxTokens });
        const text = await generation.text();
        const info = await model.info();
        await model.dispose();
        const encoder = await Kinglet.load(minilm, { variant, threads: 2 });
        const vectors = (await encoder.embed(texts)).map((vector) => [...vector]);
        await encoder.dispose();
        return { text, vectors, info, stats: generation.stats };
      },
      [SMOLLM, MINILM, variant, PROMPT, TOKENS, TEXTS],
    );
    assert.equal(found.text.trim(), native.text.trim());
    assert.equal(found.info.variant, variant);
    assert.equal(found.info.threads, variant.endsWith('-threads') ? 2 : 1);
    assert.equal(found.stats.finishReason, 'max-tokens');
    assert.equal(found.stats.generatedTokens, TOKENS);
    assert.ok(found.stats.tokensPerSecond > 0);
    for (const [i, vector] of found.vectors.entries()) {
      const cosine = vector.reduce((sum, x, j) => sum + x * native.vectors[i][j], 0);
      assert.ok(cosine >= 0.9999, `text ${i}: ${cosine}`);
    }
  });
}

test('by itself the best build is chosen, with threads', async () => {
  const info = await page.evaluate(() => model.info());
  assert.equal(info.variant, 'relaxed-threads');
  assert.ok(info.threads >= 1);
  assert.notEqual(info.kernelSet, 'scalar');
});

test('a page that is not isolated runs on one thread', async () => {
  const plain = await openPage(browser.context, server.origin, { path: '/plain/' });
  const found = await plain.evaluate(async (url) => {
    const model = await Kinglet.load(url, { threads: 4 });
    const info = await model.info();
    const [vector] = await model.embed(['a small bird']);
    await model.dispose();
    const forced = await failure(Kinglet.load(url, { variant: 'simd128-threads' }));
    return { isolated: crossOriginIsolated, info, length: vector.length, forced };
  }, MINILM);
  await plain.close();
  assert.equal(found.isolated, false);
  assert.equal(found.info.variant, 'relaxed');
  assert.equal(found.info.threads, 1);
  assert.equal(found.length, 384);
  assert.equal(found.forced.code, 'unsupported');
  assert.match(found.forced.message, /isolated/);
});

test('a second turn computes only what is new', async () => {
  const { first, second, third, messages } = await page.evaluate(async () => {
    const chat = model.chat({ system: 'You are a small bird.' });
    const turn = async (words) => {
      const answer = chat.say(words, { temperature: 0, maxTokens: 12 });
      await answer.text();
      return answer.stats;
    };
    const first = await turn('Tell me at length and in detail what you see from your tree.');
    const second = await turn('And then?');
    const messages = await chat.messages();
    await chat.reset();
    const third = await turn('Hello!');
    await chat.dispose();
    return { first, second, third, messages };
  });
  assert.ok(first.promptTokens > 25, first.promptTokens);
  assert.ok(second.promptTokens < 20, second.promptTokens);
  assert.ok(third.promptTokens < first.promptTokens);
  assert.deepEqual(messages.map(({ role }) => role), ['system', 'user', 'assistant', 'user', 'assistant']);
});

test('stopping leaves the model and the conversation usable', async () => {
  const found = await page.evaluate(async (prompt) => {
    const stop = new AbortController();
    let pieces = 0;
    const generation = model.generate(prompt, { temperature: 0, signal: stop.signal });
    const stopped = await failure((async () => {
      for await (const _ of generation) if (++pieces === 3) stop.abort();
    })());
    for await (const _ of model.generate(prompt)) break;
    const chat = model.chat();
    for await (const _ of chat.say('Count to one hundred.', { temperature: 0 })) break;
    const again = await chat.say('Go on.', { temperature: 0, maxTokens: 4 }).text();
    const messages = await chat.messages();
    const text = await model.generate(prompt, { temperature: 0, maxTokens: 24 }).text();
    return { stopped, pieces, text, again, messages };
  }, PROMPT);
  assert.equal(found.stopped.name, 'AbortError');
  assert.ok(found.pieces <= 4);
  assert.equal(found.text.trim(), native.text.trim());
  assert.equal(found.messages.length, 4);
  assert.ok(found.again.length > 0);
});

test('a long prompt is given up within a batch, and the model goes on', async () => {
  const found = await page.evaluate(async (prompt) => {
    const long = 'All work and no play makes Jack a dull boy. '.repeat(100);
    const seconds = async (action) => {
      const start = performance.now();
      await action();
      return (performance.now() - start) / 1000;
    };
    /** Stops an answer when the first batch of its prompt has been read. */
    const stopped = (say) => new Promise((resolve) => {
      const stop = new AbortController();
      const onPrompt = ({ done }) => {
        if (done === 0) return;
        stop.abort();
        resolve(end);
      };
      const end = failure(say({ signal: stop.signal, onPrompt }).text());
    });
    const progress = [];
    const whole = model.generate(long, { maxTokens: 1, onPrompt: (each) => progress.push(each) });
    const reading = await seconds(() => whole.text());

    const other = `Note: ${long}`;
    const error = await stopped((options) => model.generate(other, options));
    let text;
    const next = await seconds(async () => {
      text = await model.generate(prompt, { temperature: 0, maxTokens: 24 }).text();
    });
    await stopped((options) => model.generate(other, options));
    const again = model.generate(other, { maxTokens: 1 });
    await again.text();

    const chat = model.chat();
    const heard = await stopped((options) => chat.say(long, options));
    const answer = chat.say('Go on.', { maxTokens: 4 });
    await answer.text();
    const messages = (await chat.messages()).map(({ role }) => role);
    await chat.dispose();
    return {
      progress, promptTokens: whole.stats.promptTokens, again: again.stats.promptTokens,
      goesOn: answer.stats.promptTokens, reading, next, error, heard, text, messages,
    };
  }, PROMPT);
  const { progress, promptTokens: total } = found;
  assert.ok(total > 1000, `${total}`);
  assert.deepEqual(progress[0], { done: 0, total });
  assert.deepEqual(progress.at(-1), { done: total, total });
  assert.deepEqual(progress, progress.toSorted((a, b) => a.done - b.done));
  assert.ok(progress.length > 5, `${progress.length} reports`);
  assert.equal(found.error.name, 'AbortError');
  assert.equal(found.heard.name, 'AbortError');
  assert.equal(found.text.trim(), native.text.trim());
  // Three quarters of the prompt were still to be read.
  assert.ok(found.next < found.reading / 2, `${found.next} s, ${found.reading} s for a whole prompt`);
  // What was read of a prompt that was given up is kept.
  assert.ok(found.again < total - 200, `${found.again} of ${total}`);
  assert.ok(found.goesOn < total - 200, `${found.goesOn} of ${total}`);
  assert.deepEqual(found.messages, ['user', 'assistant', 'user', 'assistant']);
});

test('the context and the type of keys and values can be chosen', async () => {
  const found = await page.evaluate(async ([url, prompt]) => {
    const small = await Kinglet.load(url, { kv: 'int8', context: 40, threads: 1 });
    const { kv, contextLength } = await small.info();
    const text = await small.generate(prompt, { temperature: 0 }).text();
    const long = 'word '.repeat(60);
    const codes = [(await failure(small.generate(long).text())).code];
    for (const context of [undefined, 4000]) codes.push((await failure(small.chat({ context }).say(long).text())).code);
    await small.dispose();
    for (const options of [{ kv: 'f32' }, { kv: 8 }, { context: 0 }, { context: 1.5 }]) {
      codes.push((await failure(Kinglet.load(url, options))).code);
    }
    const usual = await model.info();
    return { kv, contextLength, text, codes, usual };
  }, [SMOLLM, PROMPT]);
  assert.equal(found.kv, 'int8');
  assert.equal(found.contextLength, 40);
  assert.equal(found.usual.kv, 'f16');
  assert.ok(found.usual.contextLength >= 2048);
  assert.ok(found.text.length > 20);
  assert.deepEqual(found.codes, [...new Array(3).fill('context-full'), ...new Array(4).fill('invalid-option')]);
});

test('options are checked, stop texts and seeds work', async () => {
  const found = await page.evaluate(async (prompt) => {
    const codes = [];
    for (const options of [{ temperature: -1 }, { maxTokens: 1.5 }, { topP: 2 }, { heat: 1 }, { stop: 5 }, { ignoreEos: 1 }]) {
      try {
        codes.push((await failure(model.generate(prompt, options).text()))?.code);
      } catch (error) {
        codes.push(error.code);
      }
    }
    const options = { temperature: 1, seed: 7, maxTokens: 8, ignoreEos: true };
    const one = await model.generate(prompt, options).text();
    const two = await model.generate(prompt, options).text();
    const whole = await model.generate(prompt, { temperature: 0, maxTokens: 24 }).text();
    const stop = whole.trim().split(' ')[4];
    const stopped = model.generate(prompt, { temperature: 0, maxTokens: 24, stop });
    const text = await stopped.text();
    return { codes, one, two, stop, whole, text, reason: stopped.stats.finishReason };
  }, PROMPT);
  assert.deepEqual(found.codes, new Array(6).fill('invalid-option'));
  assert.equal(found.one, found.two);
  assert.equal(found.reason, 'stop');
  assert.equal(found.text, found.whole.slice(0, found.whole.indexOf(found.stop)));
});

test('what does not fit and what the model is not made for are errors', async () => {
  const found = await page.evaluate(async () => {
    const chat = model.chat({ context: 32 });
    const full = await failure(chat.say('word '.repeat(100)).text());
    const embed = await failure(model.embed('a bird'));
    const kind = await failure(model.embed(5));
    return { full, embed, kind };
  });
  assert.equal(found.full.code, 'context-full');
  assert.equal(found.embed.code, 'unsupported');
  assert.ok(found.kind);
});

test('disposing rejects what waits and gives the memory back', async () => {
  const cycle = (times) =>
    page.evaluate(
      async ([url, times]) => {
        const ends = [];
        for (let i = 0; i < times; i++) {
          const model = await Kinglet.load(url);
          const generation = model.generate('Once upon a time', { temperature: 0 });
          await generation.next();
          const waiting = failure(generation.text());
          const later = failure(model.generate('And').text());
          await model.dispose();
          ends.push((await waiting).code, (await later).code, (await failure(model.info())).code);
          await model.dispose();
        }
        return ends;
      },
      [SMOLLM, times],
    );
  const ends = await cycle(2);
  assert.deepEqual(ends, new Array(6).fill('disposed'));
  const before = await settledMemory(0);
  await cycle(4);
  // A model that is kept would cost 141 MB, four of them 564.
  const most = before + 70e6;
  const after = await settledMemory(most);
  assert.ok(after < most, `${before} bytes before, ${after} after`);
});

/** The page's memory once it is below `most`, or after ten seconds: ended workers take a while to go. */
async function settledMemory(most) {
  for (let seconds = 0; ; seconds += 2) {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const bytes = await rendererMemory(browser.profile);
    if (bytes < most || seconds >= 10) return bytes;
  }
}

test('a worker that fails ends every promise', async () => {
  const cases = { worker: 'info', missing: 'load', thread: 'load' };
  for (const [kind, when] of Object.entries(cases)) {
    const broken = await openPage(browser.context, server.origin, { from: `/kinglet-broken/${kind}` });
    const found = await broken.evaluate(async ([url, when]) => {
      const loading = Kinglet.load(url, { threads: 2 });
      if (when === 'load') {
        const first = await failure(loading);
        // A thread may fail just after the engine has started.
        return { codes: [(first ?? (await failure((await loading).embed('a bird')))).code] };
      }
      const model = await loading;
      const embedding = failure(model.embed(new Array(5000).fill('a small bird')));
      const info = failure(model.info());
      const codes = [(await info).code, (await embedding).code, (await failure(model.embed('x'))).code];
      return { codes };
    }, [MINILM, when]);
    for (const code of found.codes) assert.equal(code, 'crashed', `${kind}: ${found.codes}`);
    await broken.close();
  }
});

test('memory that cannot be had is an error', async () => {
  const small = await openPage(browser.context, server.origin);
  const found = await small.evaluate(async (url) => {
    // A model that claims 2 GB for its data: more than is left beside the engine.
    const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
    const view = new DataView(bytes.buffer);
    const more = 2_100_000_000n - view.getBigUint64(16, true);
    const padded = (more / 64n) * 64n;
    view.setBigUint64(16, view.getBigUint64(16, true) + padded, true);
    view.setBigUint64(56, view.getBigUint64(56, true) + padded, true);
    return failure(Kinglet.load(new Blob([bytes.subarray(0, 1 << 20)])));
  }, MINILM);
  await small.close();
  assert.ok(['out-of-memory', 'corrupt', 'truncated'].includes(found.code), `${found.code}: ${found.message}`);
});
