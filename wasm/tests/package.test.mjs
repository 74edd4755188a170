// The package as others take it: its types, and the Vite example built and opened.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cp, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

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

test('the Vite example builds and answers', async () => {
  continuation('warm', 1); // fills the cache
  const folder = await application();
  run('vite', ['build'], folder);
  const dist = join(folder, 'dist');
  const assets = await readdir(join(dist, 'assets'));
  assert.ok(assets.some((name) => name.endsWith('.wasm')), assets.join(' '));

  const demo = serveDemo();
  const server = createServer((request, response) => {
    const path = request.url === '/' ? '/index.html' : request.url;
    if (path.startsWith('/models/')) return demo(request, response);
    return sendFile(request, response, join(dist, path));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await openBrowser();
  after(async () => {
    await browser.close();
    server.closeAllConnections();
    server.close();
  });
  const page = await browser.context.newPage();
  const failures = [];
  page.on('pageerror', (error) => failures.push(error.message));
  await page.goto(`http://localhost:${server.address().port}/`);
  const words = () => document.querySelector('#answer').textContent.split(' ').length > 8;
  await page.waitForFunction(words);
  assert.deepEqual(failures, []);
}, { timeout: 300_000 });
