// The package as others take it: its types, and the Vite example built, served and opened.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cp, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { createServer as createVite } from 'vite';

import { sendFile, serveDemo } from '../demo/serve.mjs';
import { openBrowser } from './browser.mjs';
import { continuation } from './native.mjs';

const wasm = fileURLToPath(new URL('..', import.meta.url));

function run(tool, args, cwd) {
  execFileSync(join(wasm, 'node_modules/.bin', tool), args, { cwd, stdio: ['ignore', 'ignore', 'inherit'] });
}

/** A folder with what an application has installed. */
async function application() {
  const folder = await mkdtemp(join(tmpdir(), 'kinglet-app-'));
  after(() => rm(folder, { recursive: true, force: true }));
  await cp(join(wasm, 'examples/vite'), folder, { recursive: true });
  await rm(join(folder, 'node_modules'), { recursive: true, force: true });
  await cp(join(wasm, 'package'), join(folder, 'node_modules/kinglet'), { recursive: true });
  await symlink(join(wasm, 'node_modules/vite'), join(folder, 'node_modules/vite'));
  return folder;
}

test('the types fit', async () => {
  const folder = await application();
  await cp(join(wasm, 'tests/types.ts'), join(folder, 'types.ts'));
  const strict = ['--noEmit', '--strict', '--target', 'es2022', '--lib', 'es2022,dom,esnext.disposable'];
  run('tsc', [...strict, '--module', 'nodenext', '--moduleResolution', 'nodenext', 'types.ts'], folder);
});

/** Starts a server on a free port of this machine, and ends it after the tests. */
async function listen(handle) {
  const server = createServer(handle);
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://localhost:${server.address().port}/`;
}

/** Opens the example in a new browser; it must answer, and nothing may fail. */
async function answers(url) {
  const browser = await openBrowser();
  after(() => browser.close());
  const page = await browser.context.newPage();
  const failures = [];
  page.on('pageerror', (error) => failures.push(error.message));
  await page.goto(url);
  const words = () => document.querySelector('#answer').textContent.split(' ').length > 8;
  await page.waitForFunction(words);
  assert.deepEqual(failures, []);
}

test('the Vite example builds and answers', async () => {
  continuation('warm', 1); // fills the cache
  const folder = await application();
  run('vite', ['build'], folder);
  const dist = join(folder, 'dist');
  const assets = await readdir(join(dist, 'assets'));
  assert.ok(assets.some((name) => name.endsWith('.wasm')), assets.join(' '));

  const demo = serveDemo();
  await answers(await listen((request, response) => {
    const path = request.url === '/' ? '/index.html' : request.url;
    if (path.startsWith('/models/')) return demo(request, response);
    return sendFile(request, response, join(dist, path));
  }));
}, { timeout: 300_000 });

test("Vite's development server serves it too", async () => {
  continuation('warm', 1);
  const folder = await application();
  const demo = serveDemo();
  const models = (request, response, next) => (request.url.startsWith('/models/') ? demo(request, response) : next());
  const vite = await createVite({
    root: folder, configFile: join(folder, 'vite.config.js'), logLevel: 'error',
    server: { host: 'localhost', port: 0 },
    plugins: [{ name: 'models', configureServer: (server) => void server.middlewares.use(models) }],
  });
  after(() => vite.close());
  await vite.listen();
  await answers(`http://localhost:${vite.httpServer.address().port}/`);
}, { timeout: 300_000 });
