// The engine's threads: stands in for wasm-bindgen-rayon's own helper, so that a build is one file
// whose address serves the engine's worker and its threads, in browsers and in Node.

import { spawn } from './spawn.js';

const THREAD = 'kinglet-thread';
const inNode = typeof process === 'object' && Boolean(process.versions?.node);

let report = () => {};

/** `listener` is given a port for each thread; a message on it tells that the thread failed. */
export function onThreadFailure(listener) {
  report = listener;
}

/** Called by the engine: starts the threads of its pool. */
export async function startWorkers(module, memory, builder) {
  const n = builder.numThreads();
  const threads = Array.from({ length: n }, () => startThread(module, memory, builder.receiver()));
  await Promise.all(threads);
  builder.build();
}

async function startThread(module, memory, receiver) {
  const failures = new MessageChannel();
  report(failures.port1);
  const task = { module, memory, receiver, failures: failures.port2 };
  await new Promise((resolve, reject) => {
    const failed = (event) => reject(new Error(`a thread cannot start: ${event.message ?? event}`));
    if (inNode) {
      import(/* @vite-ignore */ 'node:worker_threads').then(({ Worker }) => {
        const worker = new Worker(new URL(import.meta.url), { name: THREAD, workerData: THREAD, execArgv: [] });
        worker.once('message', resolve);
        worker.once('error', failed);
        worker.postMessage(task, [failures.port2]);
        worker.unref();
      }, reject);
    } else {
      const worker = spawn(import.meta.url, THREAD);
      worker.onmessage = resolve;
      worker.onerror = failed;
      worker.postMessage(task, [failures.port2]);
    }
  });
}

/** Becomes a thread, if this script was started as one. */
export async function serveIfThread(init, startWorker) {
  let port = globalThis;
  if (inNode) {
    const threads = await import(/* @vite-ignore */ 'node:worker_threads');
    if (threads.workerData !== THREAD) return;
    port = threads.parentPort;
    port.once('message', (data) => run(data));
  } else {
    if (globalThis.name !== THREAD) return;
    self.onmessage = ({ data }) => run(data);
  }
  async function run({ module, memory, receiver, failures }) {
    try {
      await init({ module_or_path: module, memory });
      port.postMessage('ready');
      startWorker(receiver); // returns when the pool ends
    } catch (error) {
      failures.postMessage(String(error.message ?? error));
      throw error;
    }
  }
}
