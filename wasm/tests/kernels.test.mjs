// The kernel tests of the runtime, compiled to WebAssembly and run in the browser.
//
// KINGLET_TEST_ISA names sets that must be among the tested ones, as in native runs.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { openBrowser } from './browser.mjs';

const program = process.env.KINGLET_TEST_PROGRAM
  ?? new URL('../../target/wasm/kernel-tests.wasm', import.meta.url);
const sets = process.env.KINGLET_TEST_ISA ?? 'simd128,scalar';

/** A page that can fetch the program and the shim. */
async function serve() {
  const files = {
    '/': ['text/html', '<!doctype html><title>kernels</title>'],
    '/wasi.mjs': ['text/javascript', await readFile(new URL('wasi.mjs', import.meta.url))],
    '/program.wasm': ['application/wasm', await readFile(program)],
  };
  const server = createServer((request, response) => {
    const [type, body] = files[request.url] ?? [];
    response.writeHead(body ? 200 : 404, { 'content-type': type ?? 'text/plain' });
    response.end(body);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return server;
}

test('every kernel set gives the bits of the scalar one', async () => {
  const server = await serve();
  const browser = await openBrowser();
  try {
    const page = await browser.context.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    const { end, output } = await page.evaluate(async (sets) => {
      const { runProgram } = await import('/wasi.mjs');
      const bytes = await (await fetch('/program.wasm')).arrayBuffer();
      const args = ['kinglet', 'kernels::', '--test-threads=1', '--nocapture'];
      return runProgram(bytes, args, { KINGLET_TEST_ISA: sets });
    }, sets);
    console.log(output);
    assert.equal(end, 0);
    const passed = Number(/(\d+) passed; 0 failed/.exec(output)?.[1]);
    assert.ok(passed >= 20, `${passed} tests passed`);
  } finally {
    await browser.close();
    server.close();
  }
});
