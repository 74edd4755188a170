// What the native command says, for comparison; it also fills the cache with the models.
// KINGLET names a built command, which saves building one.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { modelFolder } from '../demo/serve.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

function kinglet(...args) {
  const built = process.env.KINGLET;
  const command = built ? [built] : ['cargo', 'run', '--release', '--quiet', '--'];
  const [program, ...words] = [...command, ...args];
  return execFileSync(program, words, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

/** The likeliest continuation of a text. */
export function continuation(prompt, maxTokens, model = 'smollm2-135m') {
  const greedy = ['--raw', '-q', '--temp', '0', '-n', String(maxTokens)];
  return kinglet('run', model, ...greedy, prompt);
}

/** A vector for each text. */
export function embeddings(texts) {
  return JSON.parse(kinglet('embed', 'minilm', '-q', '-o', 'json', ...texts)).embeddings;
}

/** The folder of a checkpoint that was fetched. */
export function checkpoint(name) {
  return join(dirname(modelFolder()), 'checkpoints', name);
}

/** The GGUF file that SmolLM2 is converted from. */
export function gguf() {
  const folder = checkpoint('smollm2-135m');
  return join(folder, readdirSync(folder).find((name) => name.endsWith('.gguf')));
}

/** Converts a checkpoint. */
export function quantize(input, output, ...options) {
  kinglet('quantize', input, '-o', output, ...options);
}

/** The model's file that a checkpoint becomes. */
export function quantized(input, ...options) {
  const folder = mkdtempSync(join(tmpdir(), 'kinglet-native-'));
  try {
    quantize(input, join(folder, 'out.kinglet'), ...options);
    return readFileSync(join(folder, 'out.kinglet'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What a verb makes of a model and texts. */
export function results(verb, model, ...args) {
  return JSON.parse(kinglet(verb, model, '-o', 'json', ...args));
}
