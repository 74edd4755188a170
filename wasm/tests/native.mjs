// What the native command says, for comparison; it also fills the cache with the models.
// KINGLET names a built command, which saves building one.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

function kinglet(...args) {
  const built = process.env.KINGLET;
  const command = built ? [built] : ['cargo', 'run', '--release', '--quiet', '--'];
  const [program, ...words] = [...command, ...args];
  return execFileSync(program, words, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

/** The likeliest continuation of a text. */
export function continuation(prompt, maxTokens) {
  const greedy = ['--raw', '-q', '--temp', '0', '-n', String(maxTokens)];
  return kinglet('run', 'smollm2-135m', ...greedy, prompt);
}

/** A vector for each text. */
export function embeddings(texts) {
  return JSON.parse(kinglet('embed', 'minilm', '-q', '-o', 'json', ...texts)).embeddings;
}
