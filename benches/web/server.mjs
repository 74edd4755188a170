// Serves Kinglet and its neighbours from one origin, isolated, so that all of them may use threads.

import { createServer } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { sendFile, serveDemo } from '../../wasm/demo/serve.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const modules = join(here, 'node_modules');

const PAGE = '<!doctype html><html lang="en"><title>Bench</title><link rel="icon" href="data:,"></html>';

/** @param {string} peers folder with the neighbours' models */
export async function startServer(peers) {
  const demo = serveDemo();
  const folders = {
    wllama: join(modules, '@wllama/wllama/esm'),
    transformers: join(modules, '@huggingface/transformers/dist'),
    ort: join(modules, 'onnxruntime-web/dist'),
    peers,
    bench: join(here, 'pages'),
  };
  const server = createServer((request, response) => {
    const [, top, ...rest] = request.url.split('?')[0].split('/');
    if (top === 'blank.html') {
      response.writeHead(200, {
        'content-type': 'text/html',
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-embedder-policy': 'require-corp',
      }).end(PAGE);
    } else if (folders[top]) {
      sendFile(request, response, join(folders[top], ...rest));
    } else {
      demo(request, response);
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://localhost:${server.address().port}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
