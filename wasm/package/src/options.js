// What calls may be told beside their texts.

import { KingletError } from './errors.js';

const within = (low, high) => (x) => typeof x === 'number' && x >= low && x <= high;
const whole = (x) => Number.isInteger(x) && x >= 0;
const share = within(0, 1);
const some = (x) => x === Infinity || (Number.isInteger(x) && x > 0);
const words = (x) => typeof x === 'string';
const list = (x) => Array.isArray(x) && x.every(words);
const among = (...names) => (x) => names.includes(x);
const flag = (x) => typeof x === 'boolean';

const SPEECH = { language: words, task: among('transcribe', 'translate'), timestamps: among('segment', 'word') };

/** Of each call, its options and their ranges. */
const RANGES = {
  generate: {
    maxTokens: whole, temperature: within(0, Number.MAX_VALUE), topK: whole, topP: share, minP: share,
    repeatPenalty: within(Number.MIN_VALUE, Number.MAX_VALUE), repeatLastN: whole,
    presencePenalty: within(-Number.MAX_VALUE, Number.MAX_VALUE), frequencyPenalty: within(-Number.MAX_VALUE, Number.MAX_VALUE), seed: (x) => Number.isSafeInteger(x) && x >= 0, stop: list,
    ignoreEos: flag,
  },
  embed: { prompt: (x) => words(x) || x === false },
  classify: { pairs: list, labels: list, multi: flag, template: words, top: some },
  tag: { aggregation: words, stride: whole },
  fillMask: { k: some },
  answer: { top: some, noAnswer: flag, maxTokens: some, window: some, stride: whole },
  rerank: { top: some },
  translate: { from: words, to: words, beams: some },
  textToText: { beams: some, maxTokens: some },
  transcribe: SPEECH,
  listen: SPEECH,
};

/** The options of a call without those that are undefined; an error names one that cannot be. */
export function checkOptions(call, options) {
  const ranges = RANGES[call];
  checkNames(options, Object.keys(ranges));
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) {
    if (ranges[name](value)) continue;
    throw new KingletError('invalid-option', `${name} is ${String(value)}, which is out of its range`);
  }
  return Object.fromEntries(given);
}

/** An error if there is an option of another name. */
export function checkNames(options, known) {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new KingletError('invalid-option', `there is no option ${unknown}; there are ${known.join(', ')}`);
}

export function checkCount(name, value) {
  if (value === undefined || (Number.isInteger(value) && value > 0)) return;
  throw new KingletError('invalid-option', `${name} is ${value}, but must be 1 or more`);
}

export function text(name, value) {
  if (words(value)) return value;
  throw new KingletError('invalid-option', `${name} must be text, not ${typeof value}`);
}

/** The texts of an iterable; one alone is a list of one. */
export function texts(name, given) {
  if (words(given)) return [given];
  if (typeof given?.[Symbol.iterator] === 'function') return [...given].map((each) => text(name, each));
  throw new KingletError('invalid-option', `${name} must be texts, not ${typeof given}`);
}
