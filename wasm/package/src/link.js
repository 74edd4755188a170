// Requests to the worker and their answers; no promise outlives the worker.

import { KingletError, unpack } from './errors.js';

/** A line to a worker. Whatever ends the worker settles every request. */
export class Link {
  #worker;
  #requests = new Map();
  #nextId = 1;
  #closed = null;

  /**
   * @param {{post: Function, listen: Function, keepAlive: Function, terminate: Function}} worker
   */
  constructor(worker) {
    this.#worker = worker;
    worker.listen(
      (message) => this.#receive(message),
      (reason) => this.close(new KingletError('crashed', `Kinglet's worker failed: ${reason}`)),
    );
  }

  /** The error that closed the line, or null. */
  get closed() {
    return this.#closed;
  }

  /**
   * Sends a request. When `signal` aborts, the promise rejects at once with its reason and the
   * worker is told to stop.
   *
   * @param {string} method
   * @param {object} [args] structured-cloneable
   * @param {{signal?: AbortSignal, onEvent?: (event: any) => void}} [options]
   * @returns {Promise<any>}
   */
  call(method, args = {}, { signal, onEvent } = {}) {
    if (this.#closed) return Promise.reject(this.#closed);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const abort = () => this.#cancel(id, signal.reason);
      signal?.addEventListener('abort', abort);
      const done = () => signal?.removeEventListener('abort', abort);
      this.#requests.set(id, { resolve, reject, onEvent, done });
      this.#worker.keepAlive(true);
      try {
        this.#worker.post({ id, method, args });
      } catch (error) {
        this.#settle(id)?.reject(error); // something that cannot be cloned
      }
    });
  }

  /** Ends the worker; requests that wait are rejected with `error`. */
  close(error) {
    if (this.#closed) return;
    this.#closed = error;
    this.#worker.terminate();
    for (const id of [...this.#requests.keys()]) this.#settle(id).reject(error);
  }

  #receive({ id, event, value, error, fatal, failures }) {
    if (failures) return this.#watch(failures);
    const request = this.#requests.get(id);
    if (event !== undefined) {
      try {
        request?.onEvent?.(event);
      } catch (thrown) {
        this.#cancel(id, thrown);
      }
      return;
    }
    this.#settle(id);
    if (error) {
      const thrown = unpack(error);
      request?.reject(thrown);
      if (fatal) this.close(thrown);
    } else {
      request?.resolve(value);
    }
  }

  /** A thread's failure comes past the worker, which may be waiting for that thread. */
  #watch(failures) {
    failures.onmessage = ({ data }) => this.close(new KingletError('crashed', `a thread failed: ${data}`));
    failures.unref?.();
  }

  #cancel(id, reason) {
    const request = this.#settle(id);
    if (!request) return;
    this.#worker.post({ id, abort: true });
    request.reject(reason);
  }

  #settle(id) {
    const request = this.#requests.get(id);
    this.#requests.delete(id);
    request?.done();
    if (this.#requests.size === 0) this.#worker.keepAlive(false);
    return request;
  }
}
