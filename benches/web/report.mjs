// The tables of a run: medians and ratios, with the machine and the versions.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, type } from 'node:os';

import { version as native } from './native.mjs';

const NAMES = {
  kinglet: 'Kinglet',
  wllama: 'wllama Q8_0',
  'transformers-int8': 'transformers.js int8',
  'transformers-dynamic': 'transformers.js dynamic int8',
  native: 'native Kinglet',
};

/** What is compared; `native` marks what the native program is measured in too. */
const TABLES = [
  {
    task: 'generation',
    title: 'SmolLM2-135M',
    programs: ['kinglet', 'wllama', 'native'],
    rows: [
      { what: 'decode, tokens/s', of: (x) => x.decode, better: 'more', native: true },
      { what: 'prefill, tokens/s', of: (x) => x.prefill, better: 'more', native: true },
      { what: 'page to first token, ms', of: (x) => x.firstToken, better: 'less' },
      { what: 'page memory, MB', of: (x) => x.memory / 1e6, better: 'less' },
      { what: 'wasm, MB', of: (x) => x.wasm / 1e6, better: 'less' },
    ],
  },
  {
    task: 'embedding',
    title: 'all-MiniLM-L6-v2',
    programs: ['kinglet', 'transformers-int8', 'transformers-dynamic', 'native'],
    rows: [
      { what: '16 tokens, ms', of: (x) => x.times[0], better: 'less', native: true },
      { what: '128 tokens, ms', of: (x) => x.times[1], better: 'less', native: true },
      { what: 'page to first vector, ms', of: (x) => x.firstVector, better: 'less' },
      { what: 'page memory, MB', of: (x) => x.memory / 1e6, better: 'less' },
      { what: 'wasm, MB', of: (x) => x.wasm / 1e6, better: 'less' },
    ],
  },
];

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Each figure with Kinglet's ratio to it: above 1 where Kinglet is better. */
function figures(samples) {
  const all = [];
  for (const { task, programs, rows } of TABLES) {
    const threads = [...new Set(samples.map((sample) => sample.threads))].sort((a, b) => a - b);
    for (const n of threads) {
      for (const { what, of, better, native } of rows) {
        const middle = (program) => {
          const own = samples.filter((x) => x.task === task && x.threads === n && x.program === program);
          return { rounds: own.length, value: median(own.map(({ result }) => of(result))) };
        };
        const ours = middle('kinglet').value;
        for (const program of programs.filter((each) => native || each !== 'native')) {
          const { rounds, value } = middle(program);
          const ratio = better === 'more' ? ours / value : value / ours;
          all.push({ task, threads: n, what, program, rounds, median: value, ratio });
        }
      }
    }
  }
  return all;
}

const each = (samples, field) => [...new Set(samples.map(({ result }) => result[field]).filter(Boolean))].join(', ');

function about(samples) {
  const packages = ['@wllama/wllama', '@huggingface/transformers', 'onnxruntime-web'].map((name) => {
    const manifest = new URL(`node_modules/${name}/package.json`, import.meta.url);
    return `${name} ${JSON.parse(readFileSync(manifest)).version}`;
  });
  const commit = execFileSync('git', ['describe', '--always', '--dirty'], { cwd: import.meta.dirname, encoding: 'utf8' });
  const processors = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: `${processors[0].model}, ${processors.length} CPUs; ${type()} ${release()}`,
    versions: [`${native()} ${commit.trim()}`, `Chromium ${each(samples, 'chromium')}`, ...packages],
  };
}

const kernels = (samples, name) => each(samples.filter(({ program }) => program === name), 'kernelSet');

export function json(samples) {
  return JSON.stringify({ ...about(samples), figures: figures(samples), samples }, null, 1);
}

export function markdown(samples) {
  const { date, machine, versions } = about(samples);
  const all = figures(samples);
  const counts = all.map(({ rounds }) => rounds);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  const lines = [
    `${date}, ${machine}.`,
    `${versions.join('; ')}.`,
    `Kernels: ${kernels(samples, 'kinglet')} in the browser, ${kernels(samples, 'native')} natively.`,
    `Rounds: ${least === most ? least : `${least} to ${most}`}, medians; in brackets how many times better Kinglet is in the browser.`,
  ];
  for (const { task, title, programs, rows } of TABLES) {
    const heads = ['threads', title, ...programs.map((program) => NAMES[program])];
    lines.push('', row(heads), row(heads.map((_, i) => (i === 1 ? '---' : '--:'))));
    for (const threads of new Set(all.map((figure) => figure.threads))) {
      for (const { what } of rows) {
        const cells = programs.map((program) => {
          const found = all.find((x) => x.task === task && x.threads === threads && x.what === what && x.program === program);
          if (!found) return '';
          const value = found.median.toFixed(found.median < 100 ? 1 : 0);
          return program === 'kinglet' ? value : `${value} (${found.ratio.toFixed(2)})`;
        });
        lines.push(row([threads, what, ...cells]));
      }
    }
  }
  return lines.join('\n');
}

const row = (cells) => `| ${cells.join(' | ')} |`;
