// Tiny random checkpoints, as tests/src/tiny.rs makes them: no weights are committed.

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { quantize } from './native.mjs';

const goldens = fileURLToPath(new URL('../../tests/goldens/', import.meta.url));

const U64 = (x) => BigInt.asUintN(64, x);

/** The values of a tensor: `base + amplitude * u`, u of the top 24 bits of splitmix64, whose seed is FNV-1a of the name. */
function values(name, length, base, amplitude) {
  let state = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(name)) state = U64((state ^ BigInt(byte)) * 0x100000001b3n);
  return Float32Array.from({ length }, () => {
    state = U64(state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = U64((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = U64((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    z ^= z >> 31n;
    const unit = Number(z >> 40n) / 2 ** 23 - 1;
    return Math.fround(base) + Math.fround(Math.fround(amplitude) * unit);
  });
}

function safetensors(table) {
  const header = { __metadata__: { format: 'pt' } };
  const data = [];
  let end = 0;
  for (const [name, shape, base, amplitude] of table) {
    const length = shape.reduce((product, n) => product * n, 1);
    header[name] = { dtype: 'F32', shape, data_offsets: [end, (end += 4 * length)] };
    data.push(Buffer.from(values(name, length, base, amplitude).buffer));
  }
  const json = JSON.stringify(header);
  const head = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(head.length));
  return Buffer.concat([size, head, ...data]);
}

const parsed = async (path) => JSON.parse(await readFile(join(goldens, path), 'utf8'));

const FILES = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json'];

/** The files of a Hugging Face folder, by their names; `name` is one of tests/goldens/tiny. */
export async function checkpointFiles(name) {
  return folderFiles(`tiny/${name}`);
}

async function folderFiles(folder) {
  const files = { 'model.safetensors': safetensors(await parsed(`${folder}/tensors.json`)) };
  for (const file of FILES) {
    const bytes = await readFile(join(goldens, folder, file)).catch(() => null);
    if (bytes) files[file] = bytes;
  }
  return files;
}

/** A translator that tells languages apart: M2M100 whose last two tokens stand for them. */
async function languageFiles() {
  const files = await checkpointFiles('m2m100');
  const tokenizer = JSON.parse(files['tokenizer.json']);
  const { vocab, merges } = tokenizer.model;
  for (const pair of merges.splice(-2)) delete vocab[pair.join('')];
  const token = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  ['__en__', '__pt__'].forEach((content, i) => tokenizer.added_tokens.push({ ...token, content, id: 298 + i }));
  return { ...files, 'tokenizer.json': Buffer.from(JSON.stringify(tokenizer)) };
}

/** Three seconds of noise that grows louder twice, in 16 bits: the sound of tests/src/whisper.rs. */
export function sound() {
  const noise = values('sound', 48_000, 0, 0.5);
  return Int16Array.from(noise, (x, i) => Math.round(x * ((i % 24_000) / 48_000) * 32_768));
}

/** A WAV file of samples of 16 bits, mono unless they are interleaved. */
export function wav(samples, { rate = 16_000, channels = 1 } = {}) {
  const data = Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength);
  const head = Buffer.alloc(44);
  head.write('RIFF');
  head.writeUInt32LE(36 + data.length, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(channels, 22);
  head.writeUInt32LE(rate, 24);
  head.writeUInt32LE(rate * channels * 2, 28);
  head.writeUInt16LE(channels * 2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(data.length, 40);
  return Buffer.concat([head, data]);
}

/** SHA-256 of the weights, as the reference's own writer stored them. */
export async function expectedHash(name) {
  return (await parsed(`tiny/${name}/goldens.json`)).safetensors_sha256;
}

/** The files of a folder of sentence-transformers; `name` is a case of tests/goldens/sentence.json. */
async function sentenceFiles(name) {
  const { base, files } = (await parsed('sentence.json')).cases.find((each) => each.name === name);
  const written = Object.entries(files).map(([file, value]) => [file, Buffer.from(JSON.stringify(value))]);
  return { ...(await checkpointFiles(base)), ...Object.fromEntries(written) };
}

/** Checkpoints that are not plain ones of tests/goldens/tiny. */
const SPECIAL = {
  /** An encoder that has prompts. */
  prompts: () => sentenceFiles('roberta with prompts'),
  languages: languageFiles,
  whisper: () => folderFiles('whisper'),
};

/** Converts tiny checkpoints to `folder`/NAME.kinglet. */
export async function convertTiny(folder, names) {
  const paths = {};
  for (const name of names) {
    const files = await (SPECIAL[name] ?? (() => checkpointFiles(name)))();
    const checkpoint = await mkdtemp(join(tmpdir(), 'kinglet-tiny-'));
    for (const [file, bytes] of Object.entries(files)) {
      await mkdir(dirname(join(checkpoint, file)), { recursive: true });
      await writeFile(join(checkpoint, file), bytes);
    }
    paths[name] = join(folder, `${name}.kinglet`);
    quantize(checkpoint, paths[name]);
    await rm(checkpoint, { recursive: true });
  }
  return paths;
}
