// A server on loopback with everything the demo has, and with faults on demand.
//
//   /models/…                     sound
//   /faulty/KIND/AT/…             the same file with a fault, see `FAULTS`
//   /received/BYTES               a page tells how far it is
//   /plain/…                      pages without the headers that isolate them
//   /hub/org/NAME/…               a checkpoint of tests/goldens/tiny as the hub has one
//   /kinglet-broken/KIND/…        the package with a fault, see `BREAKAGES`

import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { findModel, modelFolder, serveDemo } from '../demo/serve.mjs';
import { checkpointFiles } from './tiny.mjs';

const PAGE = '<!doctype html><html lang="en"><title>Test</title><link rel="icon" href="data:,"></html>';
const dist = fileURLToPath(new URL('../package/dist/', import.meta.url));

const ISOLATED = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
};

/** Each sends a file: `at` is where the trouble is, `count` how often the file was asked for. */
const FAULTS = {
  /** The connection ends at `at`, once. */
  cut: (job) => (job.count === 1 ? send(job, { cutAt: job.at }) : send(job)),
  /** The connection ends every time, without any progress after the first. */
  dead: (job) => send(job, { cutAt: job.count === 1 ? job.at : job.from }),
  /** The connection ends once, and the server does not know ranges. */
  rangeless: (job) => send({ ...job, from: 0, range: false }, { cutAt: job.count === 1 ? job.at : undefined }),
  /** The connection ends once, and then the file is another one. */
  changed: (job) =>
    job.count === 1
      ? send(job, { cutAt: job.at })
      : send({ ...job, from: 0, range: false, etag: '"other"' }),
  /** A byte is damaged on the way, once. */
  flipped: (job) => send(job, { flip: job.count === 1 ? job.at : undefined }),
  /** A byte of the file is damaged. */
  corrupt: (job) => send(job, { flip: job.at }),
  /** The file is shorter than it says. */
  short: (job) => send({ ...job, size: job.at }),
  /** A web page comes instead. */
  html: ({ response }) => response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE),
  /** Some text comes instead. */
  text: ({ response }) => response.writeHead(200, { 'content-type': 'text/plain' }).end('hello'),
  /** The server is busy, once. */
  busy: (job) => (job.count === 1 ? job.response.writeHead(503).end() : send(job)),
  /** The file says that it is larger than memory. */
  huge: async ({ path, response }) => {
    const header = (await readFile(path)).subarray(0, 1 << 16);
    header.writeBigUInt64LE(1n << 33n, 16);
    response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(header);
  },
};

/** Each gives the text of a script of the package. */
const BREAKAGES = {
  /** The worker throws when it is asked for information. */
  worker: (name, text) =>
    name === 'worker.js'
      ? `${text}\nself.addEventListener('message', ({ data }) => {
          if (data.method === 'info') throw new Error('boom');
        });`
      : text,
  /** The worker's script is not there. */
  missing: (name, text) => (name === 'worker.js' ? null : text),
  /** The engine's threads fail as soon as they run. */
  thread: (name, text) =>
    name.endsWith('-threads.js') ? text.replace(/startWorker\(receiver\)/, 'throw new Error("boom")') : text,
};

async function send({ path, response, from, size, range, etag, received }, { cutAt, flip } = {}) {
  const headers = { 'content-type': 'application/octet-stream', etag, 'content-length': size - from };
  if (range) headers['content-range'] = `bytes ${from}-${size - 1}/${size}`;
  response.writeHead(range ? 206 : 200, headers);
  const closed = once(response, 'close');
  let at = from;
  for await (const piece of createReadStream(path, { start: from, end: size - 1, highWaterMark: 1 << 20 })) {
    if (flip >= at && flip < at + piece.length) piece[flip - at] ^= 1;
    if (cutAt !== undefined && cutAt < at + piece.length) {
      const rest = piece.subarray(Math.max(0, cutAt - at));
      const sent = piece.subarray(0, piece.length - rest.length);
      await Promise.race([new Promise((resolve) => response.write(sent, resolve)), closed]);
      // What a page has not taken yet is lost when the connection ends, and only what comes makes
      // it tell how far it is: a byte at a time until it has everything.
      for (let i = 0; cutAt > from && received() < cutAt && !response.destroyed; i++) {
        response.write(rest.subarray(i, i + 1));
        await pause(20);
      }
      response.destroy();
      return;
    }
    at += piece.length;
    if (!response.write(piece)) await Promise.race([once(response, 'drain'), closed]);
    if (response.destroyed) return;
  }
  response.end();
}

const COMMIT = '0123456789abcdef0123456789abcdef01234567';

/** What the hub says: which files there are, or a file. */
async function hubAnswer(pathname) {
  const [, name, file] = /\/org\/([^/]+)(?:\/resolve\/[^/]+\/(.*))?/.exec(pathname);
  const files = await checkpointFiles(name);
  const siblings = Object.keys(files).map((rfilename) => ({ rfilename }));
  return file === undefined ? JSON.stringify({ sha: COMMIT, siblings }) : files[file];
}

/** Starts the server; `requests` lists what was asked for. */
export async function startServer() {
  const demo = serveDemo();
  const counts = new Map();
  const requests = [];
  let received = 0;
  async function handle(request, response) {
    const { pathname } = new URL(request.url, 'http://localhost');
    const [, top, kind, ...rest] = pathname.split('/');
    if (top === 'received') {
      received = Number(kind);
      response.writeHead(204).end();
      return;
    }
    requests.push({ path: pathname, range: request.headers.range });
    if (top === 'blank.html') {
      response.writeHead(200, { 'content-type': 'text/html', ...ISOLATED }).end(PAGE);
    } else if (top === 'plain') {
      response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
    } else if (top === 'hub') {
      response.writeHead(200, ISOLATED).end(await hubAnswer(pathname));
    } else if (top === 'faulty') {
      const path = await findModel(modelFolder(), rest.at(-1));
      const count = (counts.get(pathname) ?? 0) + 1;
      counts.set(pathname, count);
      const { size } = await stat(path);
      const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
      received = 0;
      const job = {
        path, size, response, count, range, etag: '"one"',
        at: Number(rest[0]), from: Number(range?.[1] ?? 0), received: () => received,
      };
      await FAULTS[kind](job);
    } else if (top === 'kinglet-broken') {
      const name = rest.join('/');
      const script = name.endsWith('.js');
      const text = await readFile(dist + name, script ? 'utf8' : null);
      const body = script ? BREAKAGES[kind](name, text) : text;
      const type = script ? 'text/javascript' : 'application/wasm';
      response.writeHead(body === null ? 404 : 200, { 'content-type': type, ...ISOLATED }).end(body ?? '');
    } else {
      await demo(request, response);
    }
  }
  const server = createServer((request, response) => {
    handle(request, response).catch((error) => {
      console.error(request.url, error);
      response.destroy();
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://localhost:${server.address().port}`;
  return {
    origin,
    requests,
    close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      return closed;
    },
  };
}
