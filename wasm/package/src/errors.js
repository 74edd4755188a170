// What can go wrong, as one class with a code per cause.

/** An error of Kinglet; `code` names the cause, other properties carry its numbers. */
export class KingletError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {object} [details] further properties, such as `status` or `url`
   */
  constructor(code, message, details = {}) {
    super(message);
    this.name = 'KingletError';
    this.code = code;
    Object.assign(this, details);
  }
}

/** The error as an object that can be posted between threads: its numbers and texts. */
export function pack(error) {
  const plain = ([, value]) => ['string', 'number', 'boolean'].includes(typeof value);
  const details = Object.fromEntries(Object.entries(error ?? {}).filter(plain));
  return { ...details, code: cause(error), message: String(error?.message ?? error) };
}

/** The error that `pack` packed. */
export function unpack({ code, message, ...details }) {
  return new KingletError(code, message, details);
}

/** Whether the engine's memory can no longer be trusted: after a trap or a panic. */
export function isFatal(error) {
  return error instanceof WebAssembly.RuntimeError || error?.code === 'internal';
}

function cause(error) {
  if (typeof error?.code === 'string') return error.code;
  if (error?.name === 'AbortError') return 'aborted';
  if (error instanceof WebAssembly.RuntimeError) return 'crashed';
  if (error instanceof RangeError && /memory|allocat/i.test(error.message)) return 'out-of-memory';
  if (error instanceof WebAssembly.CompileError || error instanceof WebAssembly.LinkError) {
    return 'unsupported';
  }
  return 'internal';
}
