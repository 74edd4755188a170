// The package in Node, imported by its name.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { findModel, modelFolder, serveDemo } from '../demo/serve.mjs';
import { Kinglet, KingletError } from '../package/dist/node.js';
import { checkpoint, continuation, embeddings, gguf, quantized } from './native.mjs';

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
    const long = 'All work and no play makes Jack a dull boy. '.repeat(100);
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
    assert.ok(whole.stats.promptTokens > 1000);
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

const bytes = async (blob) => Buffer.from(await blob.arrayBuffer());

test('checkpoints become the files that the command writes', async () => {
  const phases = new Set();
  const onProgress = ({ phase, loaded, total }) => {
    phases.add(phase);
    assert.ok(loaded <= total, `${phase}: ${loaded} of ${total}`);
  };
  const file = await Kinglet.quantize(gguf(), { onProgress, group: 32 });
  assert.ok((await bytes(file)).equals(quantized(gguf(), '--group', '32')));
  assert.deepEqual([...phases], ['read', 'hash', 'convert']);
  // Its weights have 4 bits, and keep them.
  const four = await Kinglet.load(file);
  const text = await four.generate(PROMPT, { temperature: 0, maxTokens: 16 }).text();
  assert.equal(text.trim(), continuation(PROMPT, 16, gguf()).trim());
  await four.dispose();

  const folder = checkpoint('all-minilm-l6-v2');
  const names = [
    'model.safetensors', 'config.json', 'tokenizer.json', 'tokenizer_config.json', 'modules.json',
    '1_Pooling/config.json', 'sentence_bert_config.json', 'config_sentence_transformers.json',
  ];
  const files = Object.fromEntries(names.map((name) => [name, join(folder, name)]));
  // Not read: weights in another form, which are not there.
  files['onnx/model.onnx'] = join(folder, 'none');
  const encoder = await Kinglet.quantize(files, { name: 'all-minilm-l6-v2' });
  assert.ok((await bytes(encoder)).equals(quantized(folder)));
  const model = await Kinglet.load(encoder);
  const vector = await model.embed('a small bird');
  const [expected] = embeddings(['a small bird']);
  const cosine = vector.reduce((sum, x, i) => sum + x * expected[i], 0);
  assert.ok(cosine >= 0.9999, `${cosine}`);
  await model.dispose();
});

test('models of a hub are converted as they arrive, and kept', async () => {
  const folder = checkpoint('all-minilm-l6-v2');
  const names = [
    'model.safetensors', 'config.json', 'tokenizer.json', 'tokenizer_config.json', 'modules.json',
    '1_Pooling/config.json', 'sentence_bert_config.json',
  ];
  const sha = '0123456789abcdef0123456789abcdef01234567';
  const requests = [];
  const server = createServer(async ({ url }, response) => {
    requests.push(url);
    const file = url.split(`/resolve/${sha}/`)[1];
    if (url === '/m.gguf') response.end(await readFile(gguf()));
    else if (file) response.end(await readFile(join(folder, file)));
    else response.end(JSON.stringify({ sha, siblings: names.map((rfilename) => ({ rfilename })) }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cache = { folder: await mkdtemp(join(tmpdir(), 'kinglet-node-')) };
  after(() => rm(cache.folder, { recursive: true }));
  const endpoint = `http://127.0.0.1:${server.address().port}`;
  const phases = new Set();
  const onProgress = ({ phase }) => phases.add(phase);
  const first = await Kinglet.load('org/name', { endpoint, cache, onProgress });
  assert.deepEqual([...phases], ['download', 'hash', 'convert', 'read']);
  const vector = await first.embed('a small bird');
  await first.dispose();
  const [expected] = embeddings(['a small bird']);
  const cosine = vector.reduce((sum, x, i) => sum + x * expected[i], 0);
  assert.ok(cosine >= 0.9999, `${cosine}`);

  requests.length = 0;
  const second = await Kinglet.load('hf:org/name', { endpoint, cache });
  assert.equal((await second.info()).fromStore, true);
  assert.deepEqual(await second.embed('a small bird'), vector);
  await second.dispose();
  assert.deepEqual(requests, []);

  const chat = await Kinglet.load(`${endpoint}/m.gguf`, { cache: false });
  const text = await chat.generate(PROMPT, { temperature: 0, maxTokens: 16 }).text();
  assert.equal(text.trim(), continuation(PROMPT, 16, gguf()).trim());
  await chat.dispose();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

test('conversions that fail say why, and can be given up', async () => {
  const folder = checkpoint('all-minilm-l6-v2');
  const weights = join(folder, 'model.safetensors');
  const onnx = new URL('../../tests/goldens/onnx/half.onnx', import.meta.url);
  const unheard = {
    'config.json': new Blob(['{"model_type":"unheard"}']),
    'onnx/model_fp16.onnx': onnx,
    'onnx/model_q4.onnx': join(folder, 'none'), // less exact, and not read
  };
  const cut = new Blob([(await readFile(gguf())).subarray(0, 5_000_000)]);
  for (const [files, options, code, words] of [
    [new Blob(['<html>']), {}, 'not-a-checkpoint', /looks like a web page/],
    [minilm, {}, 'not-a-checkpoint', /a \.kinglet file already/],
    [weights, {}, 'missing-file', /config\.json is missing/],
    [unheard, {}, 'unsupported', /architecture `unheard`/],
    [cut, {}, 'corrupt', /checkpoint: .* downloaded completely/],
    [join(folder, 'none'), {}, 'unreadable', /none cannot be read/],
    [weights, { type: 'int3' }, 'invalid-option', /`int3` is not one of auto, int8, int4, f16/],
    [weights, { group: 48 }, 'invalid-option', /`48` is not one of 32/],
    [weights, { groups: 64 }, 'invalid-option', /no option groups/],
    [{}, {}, 'invalid-option', /has no files/],
    [{ 'config.json': 5 }, {}, 'invalid-option', /paths or Blobs/],
    [null, {}, 'invalid-option', /has no files/],
  ]) {
    const error = await Kinglet.quantize(files, options).then(() => null, (error) => error);
    assert.ok(error instanceof KingletError, `${error}`);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, words);
  }
  const unconverted = await Kinglet.load(gguf()).catch((error) => error);
  assert.equal(unconverted.code, 'not-kinglet');
  assert.match(unconverted.message, /Kinglet\.quantize/);

  const stop = new AbortController();
  const onProgress = ({ phase }) => phase === 'convert' && stop.abort();
  await assert.rejects(Kinglet.quantize(gguf(), { onProgress, signal: stop.signal }), { name: 'AbortError' });
});
