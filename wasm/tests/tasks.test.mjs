// What encoders make of texts, in Node and in Chromium: as the native command has it.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Kinglet, KingletError } from '../package/dist/node.js';
import { VARIANTS } from '../package/src/variant.js';
import { openBrowser, openPage } from './browser.mjs';
import { results } from './native.mjs';
import { startServer } from './server.mjs';
import { checkpointFiles, convertTiny, expectedHash } from './tiny.mjs';

/**
 * Scores here and natively. WebAssembly has no fused multiply-add, so last bits differ (docs/numerics.md); where
 * that moves an input of an int8 product across a rounding boundary, by 2^-16 of the largest input.
 */
const TOLERANCE = 1e-4;

const LONG = 'the small king and the wren in the model of data, Zoë in 東京 🐦 and a bird; '.repeat(12);
const TEXTS = [
  'the wren is small', 'A model is data: blocks, norms and positions!', '',
  'Café Zoë, 東京 and the king\'s 🐦 bird in range(10)', '👩‍👩‍👧 Zoe\u0308 🐦🐦 is the king of é', LONG,
];
const LABELS = ['a bird', 'data', 'the king'];
const QUERY = 'the small king';
const DOCS = Array.from({ length: 40 }, (_, i) => `${'the wren and '.repeat(i % 7)}king ${i} in the model`).concat(LONG);
const MASKED = 'Zoë: the [MASK] is small and the king is [MASK].';
const QUESTION = 'where is the king?';
const AGGREGATIONS = ['none', 'simple', 'first', 'average', 'max'];
const MODELS = ['bert-sequences', 'bert-tokens', 'bert-masks', 'bert-answers', 'bert-rerank', 'albert-sequences', 'prompts'];

let folder, models, server, browser, page;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kinglet-tasks-'));
  models = await convertTiny(folder, MODELS);
  server = await startServer();
  browser = await openBrowser();
  page = await openPage(browser.context, server.origin);
  await page.evaluate(prepare);
  const failure = (promise) => promise.then(() => null, (error) => {
    const { code, name, message } = error;
    return { code, name, message, typed: error instanceof KingletError };
  });
  Object.assign(globalThis, { Kinglet, failure });
  prepare();
}, { timeout: 300_000 });
after(async () => {
  await browser?.close();
  await server?.close();
  await rm(folder, { recursive: true });
}, { timeout: 300_000 });

/** Where a test runs, a global that gives `use` a model of these bytes. */
function prepare() {
  globalThis.withModel = async (base64, options, use) => {
    const model = await Kinglet.load(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)), options);
    try {
      return await use(model);
    } finally {
      await model.dispose();
    }
  };
}

/** Runs a function here or in the page, with a model's bytes before its arguments. */
const PLACES = {
  node: (run, ...args) => run(args),
  chromium: (run, ...args) => page.evaluate(run, args),
};

const bytesOf = async (name) => (await readFile(models[name])).toString('base64');

/** Entries are the native ones in the same order, scores within the tolerance. */
function assertClose(found, expected) {
  assert.deepEqual(withoutScores(found), withoutScores(expected));
  const pairs = scoresOf(found).map((score, i) => [score, scoresOf(expected)[i]]);
  for (const [a, b] of pairs) assert.ok(Math.abs(a - b) < TOLERANCE, `${a}, natively ${b}`);
}
const withoutScores = (value) => JSON.parse(JSON.stringify(value, (key, each) => (key === 'score' ? undefined : each)));
function scoresOf(value) {
  const scores = [];
  JSON.stringify(value, (key, each) => {
    if (key === 'score') scores.push(each);
    return each;
  });
  return scores;
}

/** Places in characters as places in UTF-16 code units. */
function inCodeUnits(text, parts) {
  const place = (n) => [...text].slice(0, n).join('').length;
  return parts.map((part) => ({ ...part, start: place(part.start), end: place(part.end) }));
}

/** Results and lengths, which the command's JSON has beside each other. */
const joined = ({ results: all, texts }) => all.map((results, i) => ({ results, ...texts[i] }));

test('the tiny checkpoints are those of the reference', async () => {
  for (const name of MODELS.filter((name) => name !== 'prompts')) {
    const { 'model.safetensors': weights } = await checkpointFiles(name);
    assert.equal(createHash('sha256').update(weights).digest('hex'), await expectedHash(name), name);
  }
});

for (const [place, run] of Object.entries(PLACES)) {
  describe(place, () => {
    test('labels of texts, of pairs, and any', async () => {
      const found = await run(async ([bytes, texts, labels]) => withModel(bytes, {}, async (model) => ({
        info: await model.info(),
        own: await model.classify(texts),
        one: await model.classify(texts[0], { top: 2 }),
        any: await model.classify(texts, { labels }),
        multi: await model.classify(texts, { labels, multi: true, template: 'It is about {}!', top: 1 }),
        single: await model.classify(texts, { labels: labels[0] }),
        pairs: await model.classify(new Set(texts), { pairs: texts.map(() => `This example is ${labels[0]}.`) }),
      })), await bytesOf('bert-sequences'), TEXTS, LABELS);
      const native = (...options) => joined(results('classify', models['bert-sequences'], ...options, '--', ...TEXTS));
      const own = native();
      assert.deepEqual(found.info.tasks, ['classify']);
      assert.deepEqual(found.info.labels, ['contradiction', 'neutral', 'entailment']);
      assert.equal(found.info.generative, false);
      assertClose(found.own, own);
      assertClose(found.one, { ...own[0], results: own[0].results.slice(0, 2) });
      assert.deepEqual(found.own.map(({ truncated }) => truncated), [false, false, false, false, false, true]);
      assert.ok(found.own.at(-1).tokens > found.info.embeddingTokens);
      assertClose(found.any, native('--labels', LABELS.join()));
      assertClose(found.multi, native('--labels', LABELS.join(), '--multi', '--template', 'It is about {}!', '--top', '1'));
      const single = native('--labels', LABELS[0]);
      assertClose(found.single, single);
      for (const [i, { results }] of found.pairs.slice(0, 5).entries()) {
        const { entailment, contradiction } = Object.fromEntries(results.map(({ label, score }) => [label, score]));
        assert.ok(Math.abs(entailment / (entailment + contradiction) - single[i].results[0].score) < TOLERANCE);
      }
    });

    test('scores of labels that are each for itself', async () => {
      const found = await run(async ([bytes, texts]) => withModel(bytes, {}, (model) => model.classify(texts)),
        await bytesOf('albert-sequences'), TEXTS);
      assertClose(found, joined(results('classify', models['albert-sequences'], '--', ...TEXTS)));
    });

    test('parts of texts, counted as JavaScript counts', async () => {
      const found = await run(async ([bytes, texts, aggregations]) => withModel(bytes, {}, async (model) => {
        const found = { info: await model.info(), usual: await model.tag(texts), one: await model.tag(texts[3]) };
        for (const aggregation of aggregations) found[aggregation] = await model.tag(texts, { aggregation });
        found.stride = await model.tag(texts, { stride: 30 });
        found.broken = await model.tag('a \ud83d wren, the \udc26 king');
        return found;
      }), await bytesOf('bert-tokens'), TEXTS, AGGREGATIONS);
      const native = (...options) => {
        const { entities } = results('tag', models['bert-tokens'], '--chars', ...options, '--', ...TEXTS);
        return entities.map((parts, i) => inCodeUnits(TEXTS[i], parts));
      };
      assert.deepEqual(found.info.tasks, ['tag']);
      assert.ok(found.info.labels.includes('B-PER'));
      for (const aggregation of AGGREGATIONS) {
        assertClose(found[aggregation], native('--aggregation', aggregation));
        for (const [i, parts] of found[aggregation].entries()) {
          for (const { text, start, end } of parts) assert.equal(TEXTS[i].slice(start, end), text);
        }
      }
      assertClose(found.stride, native('--stride', '30'));
      assert.notDeepEqual(found.stride, found.usual);
      assert.deepEqual(found.usual, found.simple);
      assert.deepEqual(found.one, found.usual[3]);
      assert.ok(found.usual[4].some(({ start }) => start > 12), 'something behind the birds');
      assert.deepEqual(found.usual[2], []);
      const last = found.broken.at(-1);
      assert.equal('a \ud83d wren, the \udc26 king'.slice(last.start, last.end).toWellFormed(), last.text);
    });

    test('tokens for masks', async () => {
      const found = await run(async ([bytes, text]) => withModel(bytes, {}, async (model) => ({
        info: await model.info(), usual: await model.fillMask(text), two: await model.fillMask(text, { k: 2 }),
        all: (await model.fillMask(text, { k: Infinity }))[0].length,
      })), await bytesOf('bert-masks'), MASKED);
      const { fills } = results('fill-mask', models['bert-masks'], '-k', '5', '--', MASKED);
      assert.equal(found.info.mask, '[MASK]');
      assertClose(found.usual, fills);
      assertClose(found.two, fills.map((mask) => mask.slice(0, 2)));
      assert.equal(found.all, found.info.vocabSize);
    });

    test('answers, also from long texts', async () => {
      const options = { top: 3, noAnswer: true, maxTokens: 5, window: 32, stride: 8 };
      const found = await run(async ([bytes, question, texts, options]) => withModel(bytes, {}, async (model) => ({
        best: await Promise.all(texts.map((text) => model.answer(question, text))),
        more: await Promise.all(texts.map((text) => model.answer(question, text, options))),
      })), await bytesOf('bert-answers'), QUESTION, TEXTS.filter(Boolean), options);
      const flags = ['--top', '3', '--no-answer', '--max-tokens', '5', '--window', '32', '--stride', '8'];
      for (const [i, text] of TEXTS.filter(Boolean).entries()) {
        const native = (...options) => {
          const { answers } = results('answer', models['bert-answers'], '-q', QUESTION, '--chars', ...options, '--', text);
          return inCodeUnits(text, answers);
        };
        assertClose(found.best[i], native());
        assertClose(found.more[i], native(...flags));
        for (const { text: part, start, end } of found.more[i]) assert.equal(text.slice(start, end), part);
      }
    });

    test('documents for a query, in several batches', async () => {
      const found = await run(async ([bytes, query, docs]) => withModel(bytes, {}, async (model) => ({
        info: await model.info(),
        all: await model.rerank(query, docs),
        best: await model.rerank(query, docs.values(), { top: 3 }),
        labels: await model.classify(docs.slice(0, 20), { pairs: docs.slice(20, 40) }),
        alone: await model.classify(docs[19], { pairs: docs[39] }),
      })), await bytesOf('bert-rerank'), QUERY, DOCS);
      const native = results('rerank', models['bert-rerank'], '--', QUERY, ...DOCS).results;
      assert.deepEqual(found.info.tasks, ['rerank', 'classify']);
      const lengths = ({ index, score, tokens, truncated }) => ({ index, score, ...(truncated && { tokens, truncated }) });
      assertClose(found.all.map(lengths), native);
      assert.deepEqual(found.best, found.all.slice(0, 3));
      assert.deepEqual(found.labels[19], found.alone);
    });

    test('prompts before texts to embed, and texts that are cut', async () => {
      const found = await run(async ([bytes, texts]) => withModel(bytes, {}, async (model) => {
        const { prompts, defaultPrompt, tasks } = await model.info();
        const embed = async (text, options) => [...(await model.embed(text, options))];
        const cut = [];
        await model.embed(texts, { onTruncated: (text) => cut.push(text) });
        const thrown = await failure(model.embed(texts, { onTruncated: () => { throw new Error('enough'); } }));
        return {
          prompts, defaultPrompt, tasks, cut, thrown,
          usual: await embed('the wren'), query: await embed('the wren', { prompt: 'query' }),
          none: await embed('the wren', { prompt: false }), title: await embed('the wren', { prompt: 'title' }),
          unknown: await failure(model.embed('the wren', { prompt: 'passage' })),
        };
      }), await bytesOf('prompts'), [...new Array(20).fill('the wren'), LONG]);
      assert.deepEqual(found.tasks, ['embed']);
      assert.deepEqual(found.prompts.map(({ name }) => name), ['query', 'document', 'title']);
      assert.equal(found.defaultPrompt, 'query');
      assert.deepEqual(found.usual, found.query);
      for (const [name, ...options] of [['query'], ['none', '--no-prompt'], ['title', '--prompt', 'title']]) {
        const [expected] = results('embed', models.prompts, '-q', ...options, '--', 'the wren').embeddings;
        const cosine = found[name].reduce((sum, x, i) => sum + x * expected[i], 0);
        assert.ok(cosine >= 0.9999, `${name}: ${cosine}`);
      }
      assert.equal(found.unknown.code, 'invalid-option');
      assert.match(found.unknown.message, /query, document, title/);
      assert.equal(found.thrown.message, 'enough');
      const { texts } = results('embed', models.prompts, '-q', '--', LONG);
      assert.deepEqual(found.cut, [{ index: 20, tokens: texts[0].tokens }]);
    });

    test('what cannot be is an error with a code and a remedy', async () => {
      const cases = {
        'bert-sequences': [
          ['tag', ['a'], 'unsupported', /`tag` is not for this model: call `classify`/],
          ['embed', ['a'], 'unsupported', /call `classify`/],
          ['answer', ['a', 'b'], 'unsupported', /call `classify`/],
          ['classify', [[]], 'invalid-option', /list of texts is empty/],
          ['classify', ['a', { labels: [] }], 'invalid-option', /list of labels is empty/],
          ['classify', ['a', { labels: ['b'], template: 'none' }], 'invalid-option', /statement with \{\}/],
          ['classify', ['a', { multi: true }], 'invalid-option', /for labels/],
          ['classify', ['a', { labels: ['b'], pairs: 'c' }], 'invalid-option', /leave labels away/],
          ['classify', [['a', 'b'], { pairs: ['c'] }], 'invalid-option', /2 texts have 1 pairs/],
          ['classify', ['a', { top: 0 }], 'invalid-option', /top is 0/],
          ['classify', ['a', { label: 'b' }], 'invalid-option', /no option label; there are pairs, labels/],
          ['classify', [5], 'invalid-option', /must be texts, not number/],
          ['classify', [['a', 5]], 'invalid-option', /must be text, not number/],
        ],
        'albert-sequences': [],
        'bert-tokens': [
          ['classify', ['a'], 'unsupported', /call `tag`/],
          ['tag', ['a', { aggregation: 'best' }], 'invalid-option', /none, simple, first, average or max/],
          ['tag', [[]], 'invalid-option', /list of texts is empty/],
          ['tag', [LONG, { stride: 1000 }], 'invalid-option', /stride/],
        ],
        'bert-masks': [
          ['rerank', ['a', ['b']], 'unsupported', /call `.*fillMask/],
          ['fillMask', ['no gap'], 'invalid-option', /no mask.*\[MASK\]/],
          ['fillMask', ['[MASK]', { k: 0 }], 'invalid-option', /k is 0/],
          ['fillMask', [`${LONG}[MASK]`], 'context-full', /shorten/],
        ],
        'bert-answers': [
          ['fillMask', ['[MASK]'], 'unsupported', /call `answer`/],
          ['answer', [' ', 'b'], 'invalid-option', /question is empty/],
          ['answer', ['a', ''], 'invalid-option', /context is empty/],
          ['answer', [LONG, 'a'], 'context-full', /question/],
        ],
        'bert-rerank': [
          ['rerank', ['a', []], 'invalid-option', /list of documents is empty/],
          ['rerank', ['', ['b']], 'invalid-option', /query is empty/],
          ['classify', ['a', { labels: ['b'] }], 'unsupported', /natural language inference/],
        ],
      };
      for (const [name, calls] of Object.entries(cases)) {
        const found = await run(async ([bytes, calls]) => withModel(bytes, {}, async (model) => {
          const errors = [];
          for (const [call, args] of calls) errors.push(await failure(model[call](...args)));
          errors.push(await failure(model.generate('a').text()), await failure(model.chat().say('a').text()));
          return errors;
        }), await bytesOf(name), calls.map(([call, args]) => [call, args]));
        const generates = ['generate', [], 'unsupported', /`generate` is not for this model: call `/];
        for (const [i, [call, args, code, words]] of [...calls, generates, generates].entries()) {
          const error = found[i];
          assert.ok(error?.typed, `${name}: ${call} ${JSON.stringify(args).slice(0, 80)}: ${JSON.stringify(error)}`);
          assert.equal(error.code, code, error.message);
          assert.match(error.message, words);
        }
      }
    });

    test('many texts can be given up, and the model goes on', async () => {
      const found = await run(async ([bytes, long]) => withModel(bytes, { threads: 1 }, async (model) => {
        const seconds = async (action) => {
          const start = performance.now();
          await action();
          return (performance.now() - start) / 1000;
        };
        const texts = (n) => Array.from({ length: n }, (_, i) => `${i} ${long}`);
        const calls = {
          classify: (n, options) => model.classify(texts(n), options),
          any: (n, options) => model.classify(texts(n / 4), { labels: ['a', 'b', 'c', 'd'], ...options }),
        };
        const found = [];
        for (const call of Object.values(calls)) {
          const some = await seconds(() => call(256, {}));
          const stop = new AbortController();
          const waiting = failure(call(10_000, { signal: stop.signal }));
          const free = await seconds(async () => {
            setTimeout(() => stop.abort(), 20);
            await waiting;
            await model.classify('the wren');
          });
          found.push({ some, free, error: await waiting });
        }
        return found;
      }), await bytesOf('bert-sequences'), LONG);
      for (const { some, free, error } of found) {
        assert.equal(error.name, 'AbortError');
        // Ten thousand texts would take forty times as long as some.
        assert.ok(free < some + 1, `free after ${free} s; 256 texts take ${some} s`);
      }
    });
  });
}

test('every build gives the same bits', async () => {
  const found = [];
  for (const variant of VARIANTS) {
    found.push(await PLACES.chromium(async ([bytes, texts, variant]) =>
      withModel(bytes, { variant, threads: 2 }, (model) => model.classify(texts)),
    await bytesOf('bert-sequences'), TEXTS, variant));
  }
  for (const each of found) assert.deepEqual(each, found[0]);
});
