// The little of WASI that a test program needs, for the browser and for Node alike.

const EBADF = 8;
const ENOSYS = 52;

/** Runs a program; gives its exit code (or what it died of) and what it wrote. */
export async function runProgram(bytes, args, env) {
  const module = await WebAssembly.compile(bytes);
  const written = [];
  let memory;
  const view = () => new DataView(memory.buffer);

  /** `sizes_get` and `get` of a list of strings ended by zeros. */
  const list = (strings) => {
    const encoded = strings.map((text) => new TextEncoder().encode(`${text}\0`));
    return {
      sizes(count, size) {
        view().setUint32(count, encoded.length, true);
        view().setUint32(size, encoded.reduce((sum, text) => sum + text.length, 0), true);
        return 0;
      },
      get(pointers, at) {
        for (const text of encoded) {
          view().setUint32(pointers, at, true);
          new Uint8Array(memory.buffer).set(text, at);
          pointers += 4;
          at += text.length;
        }
        return 0;
      },
    };
  };
  const argv = list(args);
  const environ = list(Object.entries(env).map(([name, value]) => `${name}=${value}`));

  class Exit extends Error {
    constructor(code) {
      super(`exit ${code}`);
      this.code = code;
    }
  }
  const calls = {
    args_sizes_get: argv.sizes,
    args_get: argv.get,
    environ_sizes_get: environ.sizes,
    environ_get: environ.get,
    fd_write(_, vectors, count, size) {
      let total = 0;
      for (let i = 0; i < count; i++) {
        const at = view().getUint32(vectors + 8 * i, true);
        const length = view().getUint32(vectors + 8 * i + 4, true);
        written.push(new Uint8Array(memory.buffer, at, length).slice());
        total += length;
      }
      view().setUint32(size, total, true);
      return 0;
    },
    clock_time_get(_, __, at) {
      view().setBigUint64(at, BigInt(Math.round(performance.now() * 1e6)), true);
      return 0;
    },
    random_get(at, length) {
      new Uint8Array(memory.buffer, at, length).fill(4);
      return 0;
    },
    sched_yield: () => 0,
    fd_fdstat_get: () => EBADF,
    fd_prestat_get: () => EBADF,
    proc_exit(code) {
      throw new Exit(code);
    },
  };
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    imports[from] ??= {};
    imports[from][name] = calls[name] ?? (() => ENOSYS);
  }
  const instance = await WebAssembly.instantiate(module, imports);
  memory = instance.exports.memory;
  let end = 0;
  try {
    instance.exports._start();
  } catch (error) {
    end = error instanceof Exit ? error.code : String(error);
  }
  const text = new TextDecoder();
  return { end, output: written.map((bytes) => text.decode(bytes)).join("") };
}
