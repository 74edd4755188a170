// Kinglet beside wllama, transformers.js and native Kinglet: bench.mjs MODELS [OPTIONS], see run.sh.
//
// In each round every program runs once with each number of threads, in a browser of its own; the
// order is turned round from one round to the next. The tables have the medians of all rounds.

import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { openBrowser, rendererMemory } from '../../wasm/tests/browser.mjs';
import * as native from './native.mjs';
import { json, markdown } from './report.mjs';
import { startServer } from './server.mjs';

const PROMPT = 'Once upon a time there was';
const LONG = 'The little bird sat on the tree and looked at the sea for a while. '.repeat(16).trim();
/** Of 16 and 128 tokens, the two at the ends included. */
const TEXTS = [14, 126].map((n) => new Array(n).fill('bird').join(' '));

const generation = { prompt: PROMPT, long: LONG, decode: 64 };
const embedding = { texts: TEXTS, repeats: 10 };
const JOBS = [
  { task: 'generation', program: 'kinglet', args: generation },
  { task: 'generation', program: 'wllama', args: generation },
  { task: 'generation', program: 'native', run: native.generation },
  { task: 'embedding', program: 'kinglet', args: embedding },
  { task: 'embedding', program: 'transformers-int8', page: 'transformers', args: { ...embedding, model: 'minilm-int8' } },
  { task: 'embedding', program: 'transformers-dynamic', page: 'transformers', args: { ...embedding, model: 'minilm-dynamic' } },
  { task: 'embedding', program: 'native', run: native.embedding },
];

const { values: options, positionals: [models] } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '1,2' },
    samples: { type: 'string' },
    output: { type: 'string', short: 'o', default: 'md' },
  },
});
const rounds = whole('rounds', options.rounds, 0);
const threads = options.threads.split(',').map((n) => whole('threads', n, 1));
const write = { md: markdown, json }[options.output];
if (!write) fail(`-o is ${options.output}, but must be md or json`);

function whole(name, text, least) {
  if (/^\d+$/.test(text) && Number(text) >= least) return Number(text);
  return fail(`--${name} is ${text}, but must be a whole number, ${least} or more`);
}

function fail(message) {
  console.error(message);
  process.exit(2);
}

/** What a page of `pages/` measures, and what the browser took for it. */
async function measure(origin, { program, page: script = program, task, args }, threads) {
  const browser = await openBrowser();
  try {
    const page = await browser.context.newPage();
    const sizes = new Map();
    page.on('response', (response) => {
      const url = response.url();
      if (url.endsWith('.wasm')) sizes.set(url, Number(response.headers()['content-length']));
    });
    await page.goto(`${origin}/blank.html`);
    const result = await page.evaluate(
      async ([script, task, args]) => (await import(`/bench/${script}.js`))[task](args),
      [script, task, { ...args, threads }],
    );
    const memory = await rendererMemory(browser.profile);
    const wasm = [...sizes.values()].reduce((a, b) => a + b, 0);
    return { ...result, memory, wasm, chromium: browser.context.browser().version() };
  } finally {
    await browser.close();
  }
}

/** [{ task, program, threads, result }] */
const samples = [];
if (options.samples && existsSync(options.samples)) {
  samples.push(...readFileSync(options.samples, 'utf8').split('\n').filter(Boolean).map(JSON.parse));
}
if (rounds === 0 && samples.length === 0) fail('no rounds and no samples of earlier ones');
const server = await startServer(models);
try {
  for (let round = 0; round < rounds; round++) {
    for (const n of threads) {
      for (const job of round % 2 ? JOBS.toReversed() : JOBS) {
        const { task, program, run } = job;
        const result = run ? run(n) : await measure(server.origin, job, n);
        const line = JSON.stringify({ task, program, threads: n, result });
        console.error(`round ${round + 1} of ${rounds}: ${line}`);
        if (options.samples) appendFileSync(options.samples, `${line}\n`);
        samples.push(JSON.parse(line));
      }
    }
  }
} finally {
  server.close();
}
console.log(write(samples));
