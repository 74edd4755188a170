// Names of the hub, which files make a model, and checkpoints that arrive from a server: of the
// sources, without a build.

import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { convert } from '../package/src/convert.js';
import { Engine } from '../package/src/engine.js';
import { choose, filesAt, filesOf, isCheckpoint, nameOf, parse } from '../package/src/hub.js';
import { load } from '../package/src/model.js';
import { checkpointOf } from '../package/src/quantize.js';

test('names are told from addresses', () => {
  for (const [text, name, revision, file] of [
    ['Qwen/Qwen3-0.6B', 'Qwen/Qwen3-0.6B', 'main', null],
    ['hf:gpt2', 'gpt2', 'main', null],
    ['hf://a/b@v1:sub/m.gguf', 'a/b', 'v1', 'sub/m.gguf'],
    ['a/b:Q8_0@refs/pr/1', 'a/b', 'refs/pr/1', 'Q8_0'],
    ['hf.co/a/b:Q8_0', 'a/b', 'main', 'Q8_0'],
    ['https://huggingface.co/a/b', 'a/b', 'main', null],
    ['https://huggingface.co/a/b/resolve/main/x/m.gguf?download=true', 'a/b', 'main', 'x/m.gguf'],
    ['https://huggingface.co/a/b/tree/refs%2Fpr%2F1', 'a/b', 'refs/pr/1', null],
  ]) {
    assert.deepEqual(parse(text), { name, revision, file }, text);
  }
  for (const text of [
    '/models/a.kinglet', './a/b', '../a', 'models/m.gguf', 'models/m.onnx', 'm', 'a/b/c', 'https://example.org/a/b', 'a b/c', 'a/b--c',
  ]) {
    assert.equal(parse(text), null, text);
  }
  for (const text of ['hf:', 'hf:a/b/c', 'hf:a/b:../x', 'hf:a/b@../x', 'https://huggingface.co/a/b/blob/main/100%']) {
    assert.throws(() => parse(text), { code: 'invalid-option' }, text);
  }
  assert.throws(() => filesAt('https://a.b/100%.gguf'), { name: 'KingletError', code: 'invalid-option' });
  assert.equal(nameOf(parse('a/b')), 'hf:a/b');
  assert.equal(nameOf(parse('a/b:x.gguf@v1')), 'hf:a/b@v1:x.gguf');
  assert.deepEqual(parse(nameOf(parse('a/b:x.gguf@v1'))), parse('a/b:x.gguf@v1'));
  assert.ok(isCheckpoint('https://a.b/m.gguf?x=1') && !isCheckpoint('https://a.b/m.kinglet'));
});

test('of a repository, what makes a model is chosen', () => {
  const of = (names, file = null) => choose({ name: 'a/b', file }, names);
  const folder = ['README.md', '1_Pooling/config.json', 'config.json', 'tokenizer.json', 'model.safetensors'];
  assert.deepEqual(of([...folder, 'onnx/model.onnx', 'pytorch_model.bin', 'trainer_state.json']), folder);
  const pieces = ['config.json', 'tokenizer.model', 'vocab.txt', 'tekken.json', 'pytorch_model.bin'];
  assert.deepEqual(of([...pieces, 'tf_model.h5']), pieces);
  const ggufs = ['m-Q4_K_M.gguf', 'm-Q8_0.gguf', 'mmproj-f16.gguf'];
  assert.deepEqual(of(ggufs, 'q8_0'), ['m-Q8_0.gguf']);
  assert.deepEqual(of(ggufs, 'm-Q4_K_M.gguf'), ['m-Q4_K_M.gguf']);
  assert.deepEqual(of(['m.kinglet']), ['m.kinglet']);
  const onnx = ['config.json', 'onnx/model.onnx', 'onnx/model.onnx_data', 'onnx/model_q4.onnx'];
  assert.deepEqual(of(onnx), onnx);
  assert.throws(() => of(ggufs), { code: 'invalid-option', message: /several models.*m-Q8_0\.gguf, .*m-Q4_K_M/ });
  assert.throws(() => of(ggufs, 'Q4'), { code: 'missing-file', message: /no file that fits Q4/ });
  assert.throws(() => of(['config.json', 'tf_model.h5']), { code: 'missing-file', message: /tf_model\.h5/ });
  assert.throws(() => of(['config.json', 'model.safetensors.index.json']), { code: 'too-large', message: /command/ });
});

/** Starts a server; `routes` are answers by path. */
async function serve(routes) {
  const requests = [];
  const server = createServer((request, response) => {
    requests.push({ path: request.url, ...request.headers });
    const route = routes[request.url] ?? ((_, response) => response.writeHead(404).end());
    route(request, response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { origin: `http://127.0.0.1:${server.address().port}`, requests };
}

/** Sends a body; the first connection ends after `cutAt` bytes. */
function body(bytes, cutAt = bytes.length) {
  let count = 0;
  return (request, response) => {
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const headers = { etag: '"one"', 'content-length': bytes.length - from };
    if (from) headers['content-range'] = `bytes ${from}-${bytes.length - 1}/${bytes.length}`;
    response.writeHead(from ? 206 : 200, headers);
    if (count++ > 0 || cutAt === bytes.length) return response.end(bytes.subarray(from));
    return response.write(bytes.subarray(from, cutAt), () => setTimeout(() => response.destroy(), 50));
  };
}

const SHA = '0123456789abcdef0123456789abcdef01234567';
const json = (value, status = 200, headers = {}) => (_, response) => response.writeHead(status, headers).end(JSON.stringify(value));
const list = (names) => json({ sha: SHA, siblings: names.map((rfilename) => ({ rfilename })) });

test('the hub is asked for a list, with the token, and refusals have reasons', async () => {
  const api = (name) => `/api/models/${name}/revision/main`;
  const { origin, requests } = await serve({
    [api('a/b')]: list(['config.json', 'model.safetensors']),
    [api('a/gated')]: json({}, 403, { 'x-error-code': 'GatedRepo' }),
    [api('a/strange')]: json({ sha: '../..', siblings: [] }),
    [api('a/hostile')]: list(['../config.json']),
  });
  const { name, files } = await filesOf(parse('a/b'), { endpoint: origin, token: 'hf_x' });
  assert.equal(name, 'b');
  const place = (file) => [file, { url: `${origin}/a/b/resolve/${SHA}/${file}`, token: 'hf_x' }];
  assert.deepEqual(files, [place('config.json'), place('model.safetensors')]);
  assert.equal(requests[0].authorization, 'Bearer hf_x');
  for (const [name, code, words] of [
    ['a/none', 'http', /no model a\/none/],
    ['a/gated', 'http', /gated/],
    ['a/strange', 'http', /not what the hub would say/],
    ['a/hostile', 'http', /not what the hub would say/],
  ]) {
    await assert.rejects(filesOf(parse(name), { endpoint: origin }), { code, message: words }, name);
  }
  await assert.rejects(filesOf(parse('a/b'), { endpoint: 'http://127.0.0.1:9' }), { code: 'network' });
});

/** What the quantizer's module looks like; the files that it was given are in `files`. */
function quantizer() {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const files = {};
  let end = 0;
  class Conversion {
    add(name, length) {
      const at = end;
      end += length;
      memory.grow(Math.ceil(length / 65536));
      files[name] = () => Buffer.from(memory.buffer.slice(at, at + length));
      return at;
    }
    run(type, group, write) {
      write(0, new TextEncoder().encode(`${type} ${group}`));
    }
  }
  return { glue: { Conversion, onnxFiles: () => [] }, memory, files };
}

test('a checkpoint goes to the quantizer as it arrives, over a cut connection too', async () => {
  const weights = Buffer.alloc(300_000, 'weights');
  const routes = {
    '/m/model.safetensors': body(weights, 100_000),
    '/m/config.json': body(Buffer.from('{}')),
    // A page for whatever is not there.
    '/m/tokenizer.json': (_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
    // No length is known before.
    '/m/modules.json': (_, response) => response.writeHead(200).end('[]'),
  };
  const { origin, requests } = await serve(routes);
  const { name, files } = filesAt(`${origin}/m/model.safetensors`);
  const made = quantizer();
  const phases = new Set();
  const signal = new AbortController().signal;
  const blob = await convert({ name, files, type: 'f16', group: '64' }, made, signal, ({ phase }) => phases.add(phase));
  assert.equal(await blob.text(), 'f16 64');
  assert.deepEqual(Object.keys(made.files), ['config.json', 'modules.json', 'model.safetensors']);
  assert.ok(made.files['model.safetensors']().equals(weights));
  assert.equal(made.files['modules.json']().toString(), '[]');
  assert.deepEqual([...phases], ['download']);
  const asked = requests.filter(({ path }) => path === '/m/model.safetensors').map(({ range }) => range);
  assert.equal(asked.length, 2);
  assert.match(asked[1], /^bytes=\d+-$/);
});

test('what must be there is missed, and a signal stops', async () => {
  const { origin } = await serve({ '/m/model.safetensors': body(Buffer.alloc(10)), '/m/slow.gguf': () => {} });
  const never = new AbortController().signal;
  const job = (file) => filesAt(`${origin}/m/${file}`);
  await assert.rejects(convert(job('model.safetensors'), quantizer(), never, () => {}), { code: 'http', status: 404 });
  const stop = AbortSignal.timeout(100);
  await assert.rejects(convert(job('slow.gguf'), quantizer(), stop, () => {}), { name: 'TimeoutError' });
});

test('what is loaded is kept under its name and how it was converted', async () => {
  const platform = { source: (given) => ({ url: new URL(given, 'https://page.example/').href }) };
  const key = (source, options = {}) => checkpointOf(platform, source, options)?.key;
  assert.equal(key('a/b'), 'hf:a/b');
  assert.equal(key('https://huggingface.co/a/b/resolve/main/m.gguf'), 'hf:a/b:m.gguf');
  assert.equal(key('a/b', { type: 'f16' }), 'hf:a/b#f16');
  assert.equal(key('/m.gguf', { group: 32 }), 'https://page.example/m.gguf#auto-32');
  assert.equal(key('/m.kinglet'), undefined);
  assert.equal(checkpointOf(platform, new Blob([]), {}), null);
});

const HEADER = 128; // bytes
const MODEL = 5000; // bytes of the file that the quantizer below writes

/** Modules that behave like the engine and the quantizer, in this thread. */
const modules = {
  quantize: () => {
    const made = quantizer();
    made.glue.Conversion.prototype.run = (type, group, write) => {
      const file = new Uint8Array(MODEL);
      const view = new DataView(file.buffer);
      view.setUint32(0, 0x4c474b89, true);
      view.setBigUint64(16, BigInt(MODEL), true);
      write(HEADER, file.subarray(HEADER));
      write(0, file.subarray(0, HEADER));
    };
    return made;
  },
  simd128: () => {
    class Download {
      headLength = HEADER;
      length = MODEL;
      verified = 0;
      pointer = () => 0;
      verify = (received) => (this.verified = received);
      free() {}
      finish = () => ({ info: () => ({ name: 'fake' }) });
    }
    return { glue: { Download }, memory: new WebAssembly.Memory({ initial: 1 }) };
  },
};

const platform = {
  files: { simd128: 'simd128' },
  quantizer: 'quantize',
  source: (given) => ({ url: String(given) }),
  startWorker() {
    let toPage;
    const engine = new Engine({
      post: (message) => setImmediate(() => toPage(message)),
      tick: async () => {},
      loadVariant: async (name) => modules[name](),
    });
    return {
      post: (message) => engine.receive(message),
      listen: (onMessage) => (toPage = onMessage),
      keepAlive() {},
      terminate() {},
    };
  },
};

test('a model of the hub is converted once and kept', async () => {
  const routes = {
    '/api/models/org/name/revision/main': list(['config.json', 'model.safetensors']),
    [`/org/name/resolve/${SHA}/config.json`]: body(Buffer.from('{}')),
    [`/org/name/resolve/${SHA}/model.safetensors`]: body(Buffer.alloc(200_000), 50_000),
  };
  const { origin, requests } = await serve(routes);
  const folder = await mkdtemp(join(tmpdir(), 'kinglet-hub-'));
  after(() => rm(folder, { recursive: true }));
  const get = async (source, options = {}) => {
    requests.length = 0;
    const phases = new Set();
    const onProgress = ({ phase }) => phases.add(phase);
    const model = await load(platform, source, { endpoint: origin, variant: 'simd128', threads: 1, cache: { folder }, onProgress, ...options });
    const { stored, fromStore } = await model.info();
    return { phases: [...phases], stored, fromStore, asked: requests.length };
  };
  const converted = { phases: ['download', 'read'], stored: true, fromStore: false, asked: 4 };
  assert.deepEqual(await get('org/name'), converted);
  const kept = { phases: ['cache'], stored: true, fromStore: true, asked: 0 };
  assert.deepEqual(await get('hf:org/name'), kept);
  assert.equal((await get('org/name', { type: 'f16' })).fromStore, false, 'another conversion');
  assert.equal((await get('org/name', { cache: false })).asked, 3);
  // Cut by a crash: it is made again.
  for (const name of await readdir(folder)) if (name.endsWith('.kinglet')) await writeFile(join(folder, name), 'x');
  assert.equal((await get('org/name')).fromStore, false);
  assert.deepEqual(await get('org/name'), kept);
});
