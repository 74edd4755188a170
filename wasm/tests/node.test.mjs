// The package in Node, imported by its name.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { findModel, modelFolder, serveDemo } from '../demo/serve.mjs';
import { Kinglet, KingletError } from '../package/dist/node.js';
import { continuation, embeddings } from './native.mjs';

const PROMPT = 'Once upon a time there was';
let smollm, minilm;
before(async () => {
  continuation(PROMPT, 1); // fills the cache
  embeddings(['warm']);
  smollm = await findModel(modelFolder(), 'smollm2-135m.kinglet');
  minilm = await findModel(modelFolder(), 'all-minilm-l6-v2.kinglet');
}, { timeout: 300_000 });

test('text from a path is the native text, with one thread and with two', async () => {
  const expected = continuation(PROMPT, 16);
  for (const threads of [1, 2]) {
    const model = await Kinglet.load(smollm, { threads });
    const generation = model.generate(PROMPT, { temperature: 0, maxTokens: 16 });
    assert.equal((await generation.text()).trim(), expected.trim());
    assert.equal((await model.info()).threads, threads);
    await model.dispose();
  }
});

test('vectors from an address, kept in a folder', async () => {
  const server = createServer(serveDemo());
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const folder = await mkdtemp(join(tmpdir(), 'kinglet-node-'));
  after(() => rm(folder, { recursive: true }));
  const url = `http://127.0.0.1:${server.address().port}/models/all-minilm-l6-v2.kinglet`;
  const first = await Kinglet.load(url, { cache: { folder } });
  assert.equal((await first.info()).fromStore, false);
  await first.dispose();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  const second = await Kinglet.load(url, { cache: { folder } });
  assert.equal((await second.info()).fromStore, true);
  const vector = await second.embed('a small bird');
  const [expected] = embeddings(['a small bird']);
  const cosine = vector.reduce((sum, x, i) => sum + x * expected[i], 0);
  assert.ok(cosine >= 0.9999, `${cosine}`);
  await second.dispose();
});

test('errors have codes, and stopping works', async () => {
  const missing = await Kinglet.load('/none/model.kinglet').catch((error) => error);
  assert.ok(missing instanceof KingletError);
  assert.equal(missing.code, 'unreadable');
  const model = await Kinglet.load(smollm);
  const stop = new AbortController();
  await assert.rejects(async () => {
    for await (const _ of model.generate(PROMPT, { signal: stop.signal })) stop.abort();
  }, { name: 'AbortError' });
  const next = await model.generate(PROMPT, { maxTokens: 3 }).text();
  assert.ok(next.length > 0);
  const waiting = model.generate(PROMPT).text();
  await model.dispose();
  await assert.rejects(waiting, { code: 'disposed' });
});

test('a prompt that is given up leaves the worker free, with keys and values of either type', async () => {
  for (const kv of ['f16', 'int8']) {
    const model = await Kinglet.load(smollm, { threads: 1, kv, context: 2048 });
    const long = 'All work and no play makes Jack a dull boy. '.repeat(150);
    const stop = new AbortController();
    const waiting = model.generate(long, { signal: stop.signal }).text();
    const start = performance.now();
    setTimeout(() => stop.abort(), 50);
    await assert.rejects(waiting, { name: 'AbortError' });
    assert.ok((await model.generate(PROMPT, { maxTokens: 3 }).text()).length > 0);
    const free = performance.now() - start;
    const begun = performance.now();
    const whole = model.generate(long, { maxTokens: 1 });
    await whole.text();
    const reading = performance.now() - begun;
    assert.ok(whole.stats.promptTokens > 1500);
    assert.ok(free < reading / 2, `${free} ms, ${reading} ms for a whole prompt`);
    const { kv: used, contextLength } = await model.info();
    assert.deepEqual([used, contextLength], [kv, 2048]);
    await model.dispose();
  }
});

test('an idle model keeps no program from ending', async () => {
  const { spawnSync } = await import('node:child_process');
  const index = new URL('../package/dist/node.js', import.meta.url).href;
  const program = `import { Kinglet } from ${JSON.stringify(index)};
    const model = await Kinglet.load(${JSON.stringify(minilm)});
    console.log((await model.embed('a bird')).length);`;
  const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(stdout, '384\n');
  assert.equal(status, 0);
});
