// The same work by the native program.

import { execFileSync } from 'node:child_process';

/** The prompt and the answer of the pages, in tokens; the texts of the pages. */
const PREFILL = 256;
const DECODE = 64;
const TEXTS = [16, 128];

const kinglet = process.env.KINGLET_BIN ?? 'kinglet';

export const version = () => execFileSync(kinglet, ['--version'], { encoding: 'utf8' }).trim();

function bench(model, threads, ...lengths) {
  const options = ['-t', String(threads), '-r', '3', '-o', 'json', ...lengths];
  const quiet = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] };
  return JSON.parse(execFileSync(kinglet, ['bench', model, ...options], quiet));
}

export function generation(threads) {
  const [prefill, decode] = bench('smollm2-135m', threads, '-p', String(PREFILL), '-n', String(DECODE));
  return { prefill: prefill.tok_s, decode: decode.tok_s, kernelSet: decode.kernels };
}

export function embedding(threads) {
  const rows = bench('minilm', threads, '-p', TEXTS.join(), '-n', '0');
  return { times: rows.map(({ n_prompt: n, tok_s: speed }) => (1000 * n) / speed), kernelSet: rows[0].kernels };
}
