// Which build of the engine fits: by what the engine's host can validate, and by a probe.

import { KingletError } from './errors.js';

/** The builds, the fastest first. */
export const VARIANTS = ['relaxed-threads', 'simd128-threads', 'relaxed', 'simd128'];

// One function `v128.const 0; …; drop` in a module, with an instruction of the feature.
const PROBES = {
  simd128: [0xfd, 15], // i8x16.splat
  relaxed: [0xfd, 0x92, 0x02], // i16x8.relaxed_dot_i8x16_i7x16_s
};

function validates(feature) {
  const zero = [0xfd, 12, ...new Array(16).fill(0)];
  const body = feature === 'simd128'
    ? [0, 0x41, 0, ...PROBES.simd128, 0x1a, 0x0b]
    : [0, ...zero, ...zero, ...PROBES.relaxed, 0x1a, 0x0b];
  const code = [1, body.length, ...body];
  return WebAssembly.validate(new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, // magic, version
    1, 4, 1, 0x60, 0, 0, // one type: [] -> []
    3, 2, 1, 0, // one function of it
    10, code.length, ...code,
  ]));
}

/** Whether memory can be shared between threads here. */
export function canShareMemory() {
  const isolated = globalThis.crossOriginIsolated ?? true; // Node has no such notion
  return isolated && typeof SharedArrayBuffer === 'function';
}

/**
 * The builds that may run here, the best first.
 *
 * @param {string} [forced] the only one to try
 * @param {number} [threads] 1 leaves out the builds with threads
 */
export function candidates(forced, threads) {
  if (forced !== undefined && !VARIANTS.includes(forced)) {
    const known = VARIANTS.join(', ');
    throw new KingletError('invalid-option', `there is no variant ${forced}; there are ${known}`);
  }
  if (!validates('simd128')) {
    throw new KingletError('unsupported', 'this browser has no WebAssembly SIMD; a newer one has');
  }
  const relaxed = validates('relaxed');
  const shared = canShareMemory();
  const fits = (name) =>
    (shared || !name.endsWith('-threads')) && (relaxed || !name.startsWith('relaxed'));
  if (forced !== undefined) {
    if (fits(forced)) return [forced];
    const reason = forced.endsWith('-threads') && !shared
      ? 'the page is not cross-origin isolated'
      : 'this browser has no relaxed SIMD';
    throw new KingletError('unsupported', `variant ${forced} cannot run here: ${reason}`);
  }
  return VARIANTS.filter((name) => fits(name) && (threads !== 1 || !name.endsWith('-threads')));
}

/** Threads to use if nothing is said: one for each core, as far as that can be told. */
export function defaultThreads() {
  const logical = globalThis.navigator?.hardwareConcurrency || 1;
  return logical <= 4 ? logical : Math.min(8, Math.ceil(logical / 2));
}
