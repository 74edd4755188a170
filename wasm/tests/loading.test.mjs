// Loading in Chromium: progress, what is kept, and everything that can go wrong on the way.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { openBrowser, openPage } from './browser.mjs';
import { embeddings } from './native.mjs';
import { startServer } from './server.mjs';

const MODEL = 'all-minilm-l6-v2.kinglet';
const AT = 15_000_000; // where faults are, in a file of 24 MB

let server, browser, page;
before(async () => {
  embeddings(['warm']); // fills the cache
  server = await startServer();
  browser = await openBrowser();
  page = await openPage(browser.context, server.origin);
}, { timeout: 300_000 });
after(async () => {
  await browser?.close();
  await server?.close();
}, { timeout: 300_000 });

/** Loads and disposes of a model; gives what it said, or how it failed. */
function load(url, options = {}) {
  return page.evaluate(
    async ([url, options]) => {
      const progress = [];
      const told = [];
      const start = performance.now();
      const onProgress = (state) => {
        progress.push(state);
        told.push(fetch(`/received/${state.loaded}`));
      };
      try {
        const model = await Kinglet.load(url, { ...options, onProgress });
        const info = await model.info();
        await model.dispose();
        return { info, progress };
      } catch (error) {
        const { code, message, status } = error;
        return { code, message, status, typed: error instanceof KingletError, seconds: (performance.now() - start) / 1000 };
      } finally {
        await Promise.all(told);
      }
    },
    [url, options],
  );
}

/** The ranges in which a file was asked for. */
function ranges(path) {
  return server.requests.filter((request) => request.path === path).map(({ range }) => range ?? 'all');
}

test('a model loads with progress and is kept', async () => {
  const { info, progress } = await load(`/models/${MODEL}`);
  assert.equal(info.stored, true);
  assert.equal(info.fromStore, false);
  const last = progress.at(-1);
  assert.equal(last.phase, 'download');
  assert.equal(last.loaded, info.fileBytes);
  assert.equal(last.total, info.fileBytes);
  assert.ok(last.bytesPerSecond > 0);
  assert.equal(last.secondsLeft, 0);
  const loaded = progress.map((each) => each.loaded);
  assert.deepEqual(loaded, [...loaded].sort((a, b) => a - b));
});

test('a second visit needs no network', async () => {
  server.requests.length = 0;
  const { info, progress } = await load(`/models/${MODEL}`);
  assert.equal(info.fromStore, true);
  assert.equal(progress.at(-1).phase, 'cache');
  assert.deepEqual(ranges(`/models/${MODEL}`), []);
  await page.route('**/models/**', (route) => route.abort());
  const offline = await load(`/models/${MODEL}`);
  await page.unroute('**/models/**');
  assert.equal(offline.info.fromStore, true);
});

test('kept models are listed and removed', async () => {
  const lists = await page.evaluate(async (url) => {
    const before = await Kinglet.stored.list();
    await Kinglet.stored.remove(url);
    const after = await Kinglet.stored.list();
    return { before, after };
  }, `/models/${MODEL}`);
  const [kept] = lists.before;
  assert.equal(kept.url, `${server.origin}/models/${MODEL}`);
  assert.equal(kept.complete, true);
  assert.deepEqual(lists.after, []);
});

test('a cut connection is resumed by a range request', async () => {
  const path = `/faulty/cut/${AT}/${MODEL}`;
  const { info } = await load(path);
  assert.ok(info);
  const [first, second, ...others] = ranges(path);
  assert.equal(first, 'all');
  const from = Number(/bytes=(\d+)-/.exec(second)[1]);
  assert.ok(from > AT - (4 << 20) && from <= AT, second);
  assert.deepEqual(others, []);
});

test('a download that was given up goes on at the next visit', async () => {
  const path = `/faulty/dead/${AT}/${MODEL}`;
  const failed = await load(path, { retries: 1 });
  assert.equal(failed.code, 'network');
  assert.equal(failed.typed, true);
  const [kept] = await page.evaluate(async (path) => {
    const models = await Kinglet.stored.list();
    return models.filter((model) => model.url.endsWith(path));
  }, path);
  assert.equal(kept.complete, false);
  server.requests.length = 0;
  const again = await load(path, { retries: 0 });
  assert.equal(again.code, 'network');
  assert.deepEqual(ranges(path), [`bytes=${kept.bytes}-`]);
});

test('a server without ranges sends all of it again', async () => {
  const path = `/faulty/rangeless/${AT}/${MODEL}`;
  const { info } = await load(path);
  assert.ok(info);
  assert.equal(ranges(path).length, 2);
});

test('a file that changes meanwhile is fetched from its start', async () => {
  const path = `/faulty/changed/${AT}/${MODEL}`;
  const { info } = await load(path);
  assert.ok(info);
  assert.equal(ranges(path).length, 2);
});

test('a chunk that was damaged on the way is fetched again', async () => {
  const path = `/faulty/flipped/${AT}/${MODEL}`;
  const { info } = await load(path);
  assert.ok(info);
  assert.equal(ranges(path).length, 2);
});

test('a damaged file is refused, and the chunk is named', async () => {
  const path = `/faulty/corrupt/${AT}/${MODEL}`;
  const { code, message, typed } = await load(path);
  assert.equal(code, 'corrupt');
  assert.match(message, /part 3/);
  assert.ok(typed);
  const head = await load(`/faulty/corrupt/1000/${MODEL}`);
  assert.equal(head.code, 'corrupt');
});

test('wrong files and answers are told apart', async () => {
  const cases = [
    [`/faulty/short/${AT}/${MODEL}`, 'truncated', /cut short/],
    [`/faulty/html/0/${MODEL}`, 'not-kinglet', /web page/],
    [`/faulty/text/0/${MODEL}`, 'not-kinglet', /not a model/],
    [`/faulty/huge/0/${MODEL}`, 'too-large', /8589934592 bytes/],
    ['/models/none.kinglet', 'http', /404/],
    ['http://localhost:9/none.kinglet', 'network', /connection failed/],
    ['/kinglet/worker.js', 'not-kinglet', /./],
  ];
  for (const [path, code, words] of cases) {
    const failed = await load(path);
    assert.equal(failed.code, code, `${path}: ${failed.message}`);
    assert.match(failed.message, words);
    assert.ok(failed.typed);
    assert.ok(failed.seconds < 20);
  }
  assert.equal((await load('/models/none.kinglet')).status, 404);
});

test('a busy server is asked again', async () => {
  const path = `/faulty/busy/0/${MODEL}`;
  assert.ok((await load(path)).info);
  assert.equal(ranges(path).length, 2);
});

test('without room the model runs and is not kept; if it must be kept, that is an error', async () => {
  const session = await browser.context.newCDPSession(page);
  const { origin } = server;
  await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 10_000_000 });
  try {
    await page.evaluate(() => Kinglet.stored.clear());
    const { info } = await load(`/models/${MODEL}`);
    assert.equal(info.stored, false);
    assert.match(info.storeError, /no room/);
    const failed = await load(`/models/${MODEL}`, { cache: 'required' });
    assert.equal(failed.code, 'storage-full');
  } finally {
    await session.send('Storage.overrideQuotaForOrigin', { origin });
  }
});

test('a kept file that was damaged is mended', async () => {
  await load(`/models/${MODEL}`);
  await page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle('kinglet');
    for await (const [name, handle] of folder.entries()) {
      if (!name.endsWith('.kinglet')) continue;
      const writable = await handle.createWritable({ keepExistingData: true });
      await writable.write({ type: 'write', position: 20_000_000, data: new Uint8Array(1000) });
      await writable.close();
    }
  });
  server.requests.length = 0;
  const { info } = await load(`/models/${MODEL}`);
  assert.equal(info.stored, true);
  const [range] = ranges(`/models/${MODEL}`);
  const from = Number(/bytes=(\d+)-/.exec(range)[1]);
  assert.ok(from > 15_000_000 && from <= 20_000_000, range);
  assert.equal((await load(`/models/${MODEL}`)).info.fromStore, true);
});

test('files and bytes load too', async () => {
  const names = await page.evaluate(async (url) => {
    const blob = await (await fetch(url)).blob();
    const names = [];
    for (const source of [new File([blob], 'own.kinglet'), await blob.arrayBuffer()]) {
      const model = await Kinglet.load(source);
      names.push((await model.info()).name);
      await model.dispose();
    }
    const cut = await failure(Kinglet.load(new File([blob.slice(0, 1e7)], 'cut.kinglet')));
    const text = await failure(Kinglet.load(new File(['hello'], 'text.kinglet')));
    return { names, cut, text };
  }, `/models/${MODEL}`);
  assert.equal(names.names.length, 2);
  assert.equal(names.cut.code, 'truncated');
  assert.match(names.cut.message, /cut\.kinglet/);
  assert.equal(names.text.code, 'not-kinglet');
});

test('loading can be aborted, before and on the way', async () => {
  const failures = await page.evaluate(async (url) => {
    const early = await failure(Kinglet.load(url, { signal: AbortSignal.abort() }));
    const stop = new AbortController();
    const late = await failure(
      Kinglet.load(url, { cache: false, signal: stop.signal, onProgress: () => stop.abort() }),
    );
    const thrown = await failure(Kinglet.load(url, { cache: false, onProgress() { throw new Error('mine'); } }));
    return { early, late, thrown };
  }, `/models/${MODEL}`);
  assert.equal(failures.early.name, 'AbortError');
  assert.equal(failures.late.name, 'AbortError');
  assert.equal(failures.thrown.message, 'mine');
});

test('wrong options are errors', async () => {
  for (const options of [{ threads: 0 }, { threads: 1.5 }, { variant: 'avx' }]) {
    assert.equal((await load(`/models/${MODEL}`, options)).code, 'invalid-option');
  }
});
