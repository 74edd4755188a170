// The worker: a thin host for the engine, in a browser or in Node.

import { Engine } from './engine.js';

const inNode = typeof process === 'object' && Boolean(process.versions?.node);
if (inNode) serveNode();
else servePage();

function servePage() {
  const post = (message, transfer = []) => self.postMessage(message, transfer);
  const engine = new Engine({
    post,
    tick: makeTick(),
    loadVariant: ({ script, wasm }) => loadVariant(post, script, fetchWasm(wasm)),
  });
  self.onmessage = ({ data }) => engine.receive(data);
}

async function serveNode() {
  const { parentPort } = await import(/* @vite-ignore */ 'node:worker_threads');
  const { readFile } = await import(/* @vite-ignore */ 'node:fs/promises');
  const post = (message, transfer = []) => parentPort.postMessage(message, transfer);
  const engine = new Engine({
    post,
    tick: makeTick(),
    loadVariant: async ({ script, wasm }) => {
      if (script.endsWith('-threads.js')) await leaveOutBaselineCompiler();
      return loadVariant(post, script, readFile(new URL(wasm)));
    },
  });
  parentPort.on('message', (message) => engine.receive(message));
}

/**
 * V8's baseline compiler as of Node 20 breaks the wait of a thread for its first task: it polls for
 * ever instead of sleeping. The optimising compiler alone takes a moment longer to start.
 */
async function leaveOutBaselineCompiler() {
  if (Number.parseInt(process.versions.node) >= 22) return;
  const { setFlagsFromString } = await import(/* @vite-ignore */ 'node:v8');
  setFlagsFromString('--no-liftoff');
}

/** Instantiates a build; `wasm` is a promise of a response or of bytes. */
async function loadVariant(post, script, wasm) {
  const [glue, module] = await Promise.all([import(/* @vite-ignore */ script), wasm]);
  // A thread that fails tells the page itself: the engine may be waiting for it.
  glue.onThreadFailure?.((failures) => post({ failures }, [failures]));
  const exports = await glue.default({ module_or_path: module });
  return { glue, memory: exports.memory };
}

async function fetchWasm(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return response;
}

/** Lets messages in: a turn through the task queue, which timers would clamp to 4 ms. */
function makeTick() {
  // Node serves one port's messages to the end before it looks at another's.
  if (inNode) return () => new Promise((resolve) => setImmediate(resolve));
  const { port1, port2 } = new MessageChannel();
  let resume = () => {};
  port1.onmessage = () => resume();
  return () => new Promise((resolve) => {
    resume = resolve;
    port2.postMessage(0);
  });
}
