// Kinglet beside wllama and transformers.js in one browser: bench.mjs PEERS [ROUNDS [RESULTS]]
//
// Each round opens a page for each program and thread count in turn; the table has the medians.
// RESULTS is a file to which rounds are added, so that they can be measured at different times.

import { appendFileSync, existsSync, readFileSync } from 'node:fs';

import { openBrowser, rendererMemory } from '../../wasm/tests/browser.mjs';
import { startServer } from './server.mjs';

const [peers, rounds = '3', file] = process.argv.slice(2);
const PROMPT = 'Once upon a time there was';
const DECODE = 64;
const LONG = 'The little bird sat on the tree and looked at the sea for a while. '.repeat(16).trim();
/** Of 16 and 128 tokens, the two at the ends included. */
const TEXTS = [14, 126].map((n) => new Array(n).fill('bird').join(' '));

const JOBS = [
  { program: 'kinglet', task: 'generation', args: { prompt: PROMPT, long: LONG, decode: DECODE } },
  { program: 'wllama', task: 'generation', args: { prompt: PROMPT, long: LONG, decode: DECODE } },
  { program: 'kinglet', task: 'embedding', args: { texts: TEXTS, repeats: 10 } },
  { program: 'transformers', task: 'embedding', args: { texts: TEXTS, repeats: 10 } },
];

async function measure(origin, { program, task, args }, threads) {
  const browser = await openBrowser();
  try {
    const page = await browser.context.newPage();
    const sizes = new Map();
    page.on('response', async (response) => {
      const url = response.url();
      if (url.endsWith('.wasm')) sizes.set(url, Number(response.headers()['content-length']));
    });
    await page.goto(`${origin}/blank.html`);
    const result = await page.evaluate(
      async ([program, task, args]) => (await import(`/bench/${program}.js`))[task](args),
      [program, task, { ...args, threads }],
    );
    const memory = await rendererMemory(browser.profile);
    return { ...result, memory, wasm: [...sizes.values()].reduce((a, b) => a + b, 0) };
  } finally {
    await browser.close();
  }
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

const server = await startServer(peers);
const results = new Map();
const keep = ({ name, result }) => results.set(name, [...(results.get(name) ?? []), result]);
if (file && existsSync(file)) {
  readFileSync(file, 'utf8').split('\n').filter(Boolean).map(JSON.parse).forEach(keep);
}
for (let round = 0; round < Number(rounds); round++) {
  for (const threads of [1, 2]) {
    for (const job of JOBS) {
      const name = `${job.program} ${job.task} ${threads}`;
      const result = await measure(server.origin, job, threads);
      const line = JSON.stringify({ name, result });
      console.error(line);
      if (file) appendFileSync(file, `${line}\n`);
      keep({ name, result });
    }
  }
}
server.close();

const of = (program, task, threads, field) => {
  const samples = results.get(`${program} ${task} ${threads}`);
  return median(samples.map((sample) => field(sample)));
};
const table = (task, names, columns) => {
  console.log(`\n| threads | what | ${names.join(' | ')} | ratio |\n|---|---|---|---|---|`);
  for (const threads of [1, 2]) {
    for (const [what, field, digits, ratio] of columns) {
      const [a, b] = names.map((name) => of(name, task, threads, field));
      const r = ratio === 'higher' ? a / b : b / a;
      console.log(`| ${threads} | ${what} | ${a.toFixed(digits)} | ${b.toFixed(digits)} | ${r.toFixed(1)} |`);
    }
  }
};
table('generation', ['kinglet', 'wllama'], [
  ['decode, tokens/s', (x) => x.decode, 1, 'higher'],
  ['prefill, tokens/s', (x) => x.prefill, 1, 'higher'],
  ['page to first token, ms', (x) => x.firstToken, 0],
  ['page memory, MB', (x) => x.memory / 1e6, 0],
  ['wasm, MB', (x) => x.wasm / 1e6, 1],
]);
table('embedding', ['kinglet', 'transformers'], [
  ['16 tokens, ms', (x) => x.times[0], 1],
  ['128 tokens, ms', (x) => x.times[1], 1],
  ['page to first vector, ms', (x) => x.firstVector, 0],
  ['page memory, MB', (x) => x.memory / 1e6, 0],
  ['wasm, MB', (x) => x.wasm / 1e6, 1],
]);
