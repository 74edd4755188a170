// Serves the demo, the package and the cached models on loopback.
//
//   npm run demo [-- --port 8137] [--models FOLDER]

import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { homedir, platform } from 'node:os';
import { extname, join, normalize, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const wasm = fileURLToPath(new URL('..', import.meta.url));

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};

/** Names under `/models/` and how their files in the cache begin. */
const MODELS = {
  'smollm2-135m.kinglet': 'smollm2-135m-int8-',
  'all-minilm-l6-v2.kinglet': 'all-minilm-l6-v2-int8-',
  'firefox-en-pt.kinglet': 'firefox-en-pt-int8-',
  'firefox-pt-en.kinglet': 'firefox-pt-en-int8-',
  'whisper-tiny.en.kinglet': 'whisper-tiny.en-int8-',
};

/** The folder where the `kinglet` command keeps converted models. */
export function modelFolder() {
  const { KINGLET_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (KINGLET_CACHE) return join(KINGLET_CACHE, 'models');
  if (platform() === 'win32') return join(LOCALAPPDATA, 'kinglet', 'models');
  if (platform() === 'darwin') return join(homedir(), 'Library/Caches/kinglet/models');
  return join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'kinglet', 'models');
}

/** The file of a model in `folder`: of several conversions the newest. */
export async function findModel(folder, name) {
  const found = [];
  for (const file of await readdir(folder).catch(() => [])) {
    if (!file.startsWith(MODELS[name]) || !file.endsWith('.kinglet')) continue;
    const path = join(folder, file);
    found.push({ path, time: (await stat(path)).mtimeMs });
  }
  return found.sort((a, b) => b.time - a.time)[0]?.path;
}

/** A request handler for everything the demo needs. */
export function serveDemo(models = modelFolder()) {
  return async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const path = await locate(decodeURIComponent(pathname), models);
    if (path) await sendFile(request, response, path);
    else response.writeHead(404, { 'content-type': 'text/plain' }).end('not found\n');
  };
}

async function locate(pathname, models) {
  const [, top, ...rest] = pathname.split('/');
  if (top === 'models') return MODELS[rest[0]] && findModel(models, rest[0]);
  const inside = (folder, path) => {
    const joined = normalize(join(wasm, folder, path));
    return joined.startsWith(join(wasm, folder) + sep) ? joined : undefined;
  };
  if (top === 'kinglet') return inside('package/dist', rest.join('/'));
  if (top === 'examples') return inside('examples', rest.join('/'));
  return inside('demo', pathname === '/' ? 'index.html' : pathname.slice(1));
}

/** Sends a file with its length, a tag of its version, and the range that was asked for. */
export async function sendFile(request, response, path) {
  const info = await stat(path).catch(() => null);
  if (!info?.isFile()) {
    response.writeHead(404, { 'content-type': 'text/plain' }).end('not found\n');
    return;
  }
  const etag = `"${info.size.toString(16)}-${Math.floor(info.mtimeMs).toString(16)}"`;
  const headers = {
    'content-type': TYPES[extname(path)] ?? 'application/octet-stream',
    'accept-ranges': 'bytes',
    'cache-control': 'no-cache',
    etag,
    // A page that is isolated from others may share memory between its threads.
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
    'cross-origin-resource-policy': 'same-origin',
  };
  if (request.headers['if-none-match'] === etag) {
    response.writeHead(304, headers).end();
    return;
  }
  const range = rangeOf(request, etag);
  const { from = 0, to = info.size - 1 } = range ?? {};
  if (range && from >= info.size) {
    response.writeHead(416, { ...headers, 'content-range': `bytes */${info.size}` }).end();
    return;
  }
  if (range) headers['content-range'] = `bytes ${from}-${to}/${info.size}`;
  headers['content-length'] = to - from + 1;
  response.writeHead(range ? 206 : 200, headers);
  if (request.method === 'HEAD' || info.size === 0) response.end();
  else createReadStream(path, { start: from, end: to, highWaterMark: 1 << 20 }).pipe(response);
}

/** Ranges of the form `bytes=N-`, which is what a resumed download asks for. */
function rangeOf({ headers }, etag) {
  const match = /^bytes=(\d+)-$/.exec(headers.range ?? '');
  const fits = headers['if-range'] === undefined || headers['if-range'] === etag;
  return match && fits ? { from: Number(match[1]) } : null;
}

function argument(name) {
  const at = process.argv.indexOf(`--${name}`);
  return at > 0 ? process.argv[at + 1] : undefined;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const models = argument('models') ?? modelFolder();
  for (const name of Object.keys(MODELS)) {
    if (await findModel(models, name)) continue;
    console.error(`${name} is not in ${models}; \`kinglet demo\` makes it`);
  }
  const server = createServer(serveDemo(models));
  server.listen(Number(argument('port') ?? 8137), '127.0.0.1', () => {
    console.error(`http://localhost:${server.address().port}/  (Ctrl-C ends)`);
  });
}
