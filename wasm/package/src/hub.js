// Models of the hub by their names: what a name means, and which files make a model.

import { KingletError } from './errors.js';

export const ENDPOINT = 'https://huggingface.co';

const PREFIX = /^(hf:(\/\/)?|(https:\/\/)?(www\.)?(huggingface\.co|hf\.co)\/)/i;
const NAME = /^[A-Za-z0-9_]([\w.-]*\w)?(\/[A-Za-z0-9_]([\w.-]*\w)?)?$/;
const MODEL = /\.(kinglet|gguf|safetensors|bin|pt|pth|onnx)$/i;
const CHECKPOINT = /\.(gguf|safetensors)$/i;
const WEIGHTS = ['model.safetensors', 'pytorch_model.bin'];
const PAGE = /^([^/]+(?:\/[^/]+)?)(?:\/(?:resolve|blob|raw|tree)\/((?:refs\/[^/]+\/)?[^/?]+)(?:\/([^?]+))?)?\/?(?:\?.*)?$/;
const DESCRIBES = /^(?!trainer_state|.*\.index\.json$)[^/]*\.(json|jinja|txt|model|spm)$|^README\.md$/;
/** What may lie beside weights at an address; the first must be there. */
const BESIDE = [
  'config.json', 'tokenizer.json', 'tokenizer_config.json', 'generation_config.json', 'chat_template.jinja',
  'tokenizer.model', 'spiece.model', 'sentencepiece.bpe.model', 'spm.model', 'sentencepiece.model',
  'tokenizer.spm', 'source.spm', 'tekken.json', 'vocab.json', 'target_vocab.json', 'vocab.txt', 'added_tokens.json',
  'modules.json', '1_Pooling/config.json', 'sentence_bert_config.json', 'config_sentence_transformers.json',
];
/** Types of GGUF in the order in which they are worth choosing. */
const ORDER = ['q8_0', 'bf16', 'f16', 'q6_k', 'f32', 'q5_k_m', 'q5_k_s', 'q5_0', 'q4_k_m', 'q4_k_s'];
const SIZE = 64 << 20; // characters of a list of files

/**
 * What a text names: a repository of the hub, or null for a path or an address.
 *
 * @param {string} text `hf:org/name[:file][@revision]`, `org/name…`, or a page of the hub
 * @returns {{name: string, revision: string, file: string|null}|null}
 */
export function parse(text) {
  const prefix = PREFIX.exec(text)?.[0];
  const rest = text.slice(prefix?.length ?? 0);
  const refuse = () => {
    if (prefix === undefined) return null;
    const message = `${text} names no model; as in hf:org/name or hf:org/name:model.gguf`;
    throw new KingletError('invalid-option', message);
  };
  if (prefix?.endsWith('/') && !/^hf:/i.test(prefix)) {
    const [, name, revision = 'main', file = null] = PAGE.exec(decoded(rest, text)) ?? [];
    if (name !== undefined && NAME.test(name)) return { name, revision, file };
  }
  const [, name, marks] = /^([^:@]*)(.*)$/s.exec(rest);
  const parts = /^(?::([^@]+))?(?:@([^:]+)(?::(.+))?)?$/s.exec(marks);
  if (!NAME.test(name) || /--|\.\./.test(name) || !parts) return refuse();
  if (prefix === undefined && (!name.includes('/') || MODEL.test(name))) return null;
  const [, before, revision = 'main', behind] = parts;
  const file = before ?? behind ?? null;
  if (`${file ?? ''}/${revision}`.split('/').includes('..')) return refuse();
  return { name, revision, file };
}

/** The name under which a model is kept. */
export function nameOf({ name, revision, file }) {
  return `hf:${name}${revision === 'main' ? '' : `@${revision}`}${file === null ? '' : `:${file}`}`;
}

/** Whether an address is one of weights that must be converted. */
export function isCheckpoint(url) {
  return CHECKPOINT.test(new URL(url).pathname);
}

/**
 * The files that make a model of a repository.
 *
 * @param {{name: string, revision: string, file: string|null}} repository
 * @param {{endpoint: string, token?: string, signal?: AbortSignal}} options
 * @returns {Promise<{name: string, files: [string, {url: string, token?: string}][]}>}
 *   with the names they have in the repository
 */
export async function filesOf(repository, { endpoint, token, signal }) {
  const { name, revision } = repository;
  const address = `${endpoint}/api/models/${name}/revision/${encodeURIComponent(revision)}`;
  const { sha, siblings } = await listing(address, name, token, signal);
  const names = siblings.map(({ rfilename }) => rfilename);
  const place = (file) => {
    const path = file.split('/').map(encodeURIComponent).join('/');
    return [file, { url: `${endpoint}/${name}/resolve/${sha}/${path}`, token }];
  };
  return { name: name.split('/').at(-1), files: choose(repository, names).map(place) };
}

/** The files at and beside an address of weights. */
export function filesAt(url) {
  const file = decoded(new URL(url).pathname.split('/').at(-1), url);
  const name = file.replace(CHECKPOINT, '');
  if (!/\.safetensors$/i.test(file)) return { name, files: [[file, { url }]] };
  const beside = BESIDE.map((other, i) => [other, { url: new URL(other, url).href, optional: i > 0 }]);
  return { name, files: [...beside, ['model.safetensors', { url }]] };
}

/** A part of an address without its escapes. */
function decoded(part, address) {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new KingletError('invalid-option', `${address}: a % that is none of its escapes is written as %25`);
  }
}

/** The hub's list of a repository's files, checked. */
async function listing(url, name, token, signal) {
  let response;
  try {
    response = await fetch(url, { headers: token ? { Authorization: `Bearer ${token}` } : {}, signal });
  } catch (error) {
    signal?.throwIfAborted();
    const message = `${url}: the hub cannot be reached (${error.message})`;
    throw new KingletError('network', message, { url, retryable: true });
  }
  if (!response.ok) {
    await response.body?.cancel();
    throw refused(url, name, response);
  }
  const text = await response.text();
  const info = text.length > SIZE ? null : parsed(text);
  const isPlain = (part) => !['', '.', '..'].includes(part);
  const isName = (file) => typeof file?.rfilename === 'string' && file.rfilename.split('/').every(isPlain);
  if (/^[0-9a-f]{40}$/.test(info?.sha) && Array.isArray(info.siblings) && info.siblings.every(isName)) return info;
  throw new KingletError('http', `${url}: the answer is not what the hub would say`, { url, status: response.status });
}

function refused(url, name, { status, headers }) {
  const gated = headers.get('x-error-code') === 'GatedRepo';
  const missing = status === 401 || status === 404;
  let message = `${url} answers ${status}`;
  if (gated) message = `${name} is gated: its authors want you to agree to their terms first, and to give a token`;
  else if (missing) message = `the hub has no model ${name} at this revision that anyone may see`;
  return new KingletError('http', message, { url, status });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Which of a repository's files are the model: a `.kinglet` or GGUF file alone, or weights and what describes them. */
export function choose({ name, file }, names) {
  const has = (wanted) => names.includes(wanted);
  const unreadable = (what) => new KingletError('missing-file', `${name} ${what}; it has ${shown(names)}`);
  const described = (weights) => {
    const below = /^\d+_\w+\/config\.json$/;
    return [...names.filter((each) => DESCRIBES.test(each) || below.test(each)), weights];
  };
  const isAlone = (each) => /\.(gguf|kinglet)$/i.test(each) && !/mmproj|imatrix|-of-\d{5}/i.test(each);
  const single = names.filter(isAlone);
  if (file !== null) {
    if (has(file)) return /\.(gguf|kinglet)$/i.test(file) ? [file] : described(file);
    const edge = '(^|[^a-z0-9_])';
    const word = new RegExp(`${edge}${file.toLowerCase().replace(/[^a-z0-9_]/g, '\\$&')}($|[^a-z0-9_])`);
    const fitting = single.filter((each) => word.test(each.replace(/\.\w+$/, '').toLowerCase()));
    if (fitting.length === 1) return fitting;
    if (fitting.length > 1) throw several(name, fitting);
    throw unreadable(`has no file that fits ${file}`);
  }
  const weights = WEIGHTS.find(has);
  if (weights && has('config.json')) return described(weights);
  if (single.length === 1) return single;
  if (single.length > 1) throw several(name, single);
  if (WEIGHTS.some((each) => has(`${each}.index.json`))) {
    const remedy = `convert it with the command, kinglet quantize hf:${name}`;
    throw new KingletError('too-large', `${name} has its weights in several parts: ${remedy}`);
  }
  // Of several, the conversion takes what it reads best.
  const onnx = names.filter((each) => /^(onnx\/)?[^/]+\.onnx[^/]*$/.test(each));
  if (onnx.length && has('config.json')) return [...described(onnx[0]), ...onnx.slice(1)];
  throw unreadable('has no weights that can be read here (a safetensors, PyTorch, GGUF, ONNX or .kinglet file)');
}

function several(name, files) {
  const rank = (file) => {
    const at = ORDER.findIndex((type) => file.toLowerCase().includes(type));
    return at < 0 ? ORDER.length : at;
  };
  const sorted = [...files].sort((a, b) => rank(a) - rank(b));
  const list = sorted.map((file) => `hf:${name}:${file}`).join(', ');
  return new KingletError('invalid-option', `${name} has several models; name one of them: ${list}`);
}

function shown(names) {
  const some = names.slice(0, 8).join(', ');
  return names.length > 8 ? `${some} and ${names.length - 8} more` : some || 'no files';
}
