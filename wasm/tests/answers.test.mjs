// Texts for texts and for speech, in Node and in Chromium: as the native command has it.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Kinglet, KingletError } from '../package/dist/node.js';
import { VARIANTS } from '../package/src/variant.js';
import { openBrowser, openPage } from './browser.mjs';
import { results } from './native.mjs';
import { startServer } from './server.mjs';
import { convertTiny, sound, wav } from './tiny.mjs';

/** Scores here and natively: last bits differ, as for other tasks. */
const TOLERANCE = 1e-4;

const TEXTS = [
  'the wren is small. A model is data: blocks, norms and positions!', '', '  - Zoë 🐦 in 東京\n\n12:30\n\tthe king',
  'the small king and the wren in the model of data, '.repeat(12),
];
const MODELS = ['t5', 'languages', 'whisper', 'bert-masks'];
const SOUND = sound();

let folder, models, server, browser, page;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kinglet-answers-'));
  models = await convertTiny(folder, MODELS);
  server = await startServer();
  browser = await openBrowser();
  page = await openPage(browser.context, server.origin);
  await page.evaluate(prepare);
  const failure = (promise) => promise.then(() => null, (error) => {
    const { code, name, message } = error;
    return { code, name, message, typed: error instanceof KingletError };
  });
  Object.assign(globalThis, { Kinglet, failure });
  prepare();
}, { timeout: 300_000 });
after(async () => {
  await browser?.close();
  await server?.close();
  await rm(folder, { recursive: true });
}, { timeout: 300_000 });

/** Where a test runs, globals that make bytes of base64, and give `use` a model of such bytes. */
function prepare() {
  globalThis.bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  globalThis.floats = (base64) => Float32Array.from(new Int16Array(bytesOf(base64).buffer), (x) => x / 32768);
  globalThis.withModel = async (base64, options, use) => {
    const model = await Kinglet.load(bytesOf(base64), options);
    try {
      return await use(model);
    } finally {
      await model.dispose();
    }
  };
}

/** Runs a function here or in the page. */
const PLACES = {
  node: (run, ...args) => run(args),
  chromium: (run, ...args) => page.evaluate(run, args),
};

const base64 = (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
const modelOf = async (name) => (await readFile(models[name])).toString('base64');

/** The same texts with scores within the tolerance. */
function assertClose(found, expected) {
  assert.deepEqual(found.map(({ text }) => text), expected.map(({ text }) => text));
  for (const [i, { score }] of found.entries()) {
    assert.ok(Math.abs(score - expected[i].score) < TOLERANCE, `${score}, natively ${expected[i].score}`);
  }
}

/** What the command writes down of a file. */
async function transcribed(name, bytes, ...options) {
  const file = join(folder, name);
  await writeFile(file, bytes);
  return results('transcribe', models.whisper, '-q', ...options, file);
}

function assertHeard({ text, segments }, native) {
  assert.equal(text, native.text);
  const parts = (all) => all.map(({ start, end, text }) => ({ start, end, text }));
  assert.deepEqual(parts(segments), parts(native.segments));
  for (const [i, { logprob, noSpeech }] of segments.entries()) {
    assert.ok(Math.abs(logprob - native.segments[i].logprob) < TOLERANCE);
    assert.ok(Math.abs(noSpeech - native.segments[i].no_speech) < TOLERANCE);
  }
}

for (const [place, run] of Object.entries(PLACES)) {
  describe(place, () => {
    test('translations', async () => {
      const found = await run(async ([bytes, texts]) => withModel(bytes, {}, async (model) => {
        const [progress, how] = [[], { from: 'en', to: 'pt' }];
        return {
          info: await model.info(),
          usual: await model.translate(texts, { ...how, onProgress: (event) => progress.push(event) }),
          beams: await model.translate(texts, { ...how, beams: 3 }),
          one: await model.translate(texts[0], how),
          back: await model.translate(texts, { from: 'pt', to: 'en' }),
          many: (await model.translate(new Array(70).fill(texts[0]), how)).map(({ text }) => text),
          progress,
        };
      }), await modelOf('languages'), TEXTS);
      const native = (from, to, ...options) =>
        results('translate', models.languages, '--from', from, '--to', to, ...options, '--', ...TEXTS).translations;
      assert.deepEqual(found.info.tasks, ['translate']);
      assert.deepEqual(found.info.languages, { from: ['en', 'pt'], to: ['en', 'pt'] });
      assert.equal(found.info.generative, false);
      const usual = native('en', 'pt');
      assertClose(found.usual, usual);
      assertClose(found.beams, native('en', 'pt', '--beams', '3'));
      assertClose([found.one], usual.slice(0, 1));
      assertClose(found.back, native('pt', 'en'));
      assert.notDeepEqual(found.back, found.usual);
      assert.deepEqual(new Set(found.many), new Set([found.one.text]));
      assert.equal(found.usual[1].text, '');
      assert.match(found.usual[2].text, /^ {2}- .+\n\n12:30\n\t/s);
      assert.deepEqual(found.progress, [{ done: 4, total: 4 }]);
    });

    test('answers to texts', async () => {
      const found = await run(async ([bytes, texts]) => withModel(bytes, {}, async (model) => ({
        info: await model.info(),
        usual: await model.textToText(texts),
        beams: await model.textToText(texts, { beams: 2, maxTokens: 9 }),
        watched: await model.generate(texts[0], { temperature: 0, maxTokens: 12 }).text(),
      })), await modelOf('t5'), TEXTS.filter(Boolean));
      assert.deepEqual(found.info.tasks, ['generate', 'textToText']);
      assert.equal(found.info.languages, undefined);
      const [expected] = found.usual;
      assert.ok(expected.text.startsWith(found.watched.trim()), `${found.watched}, ${expected.text}`);
      assert.equal(found.beams.length, 3);
      for (const { text, score, tokens, truncated } of found.beams) {
        assert.ok(typeof text === 'string' && score < 0 && tokens > 5 && typeof truncated === 'boolean');
      }
    });

    test('speech, of samples', async () => {
      const native = await transcribed('mono.wav', wav(SOUND), '-l', 'en');
      const unknown = await transcribed('mono.wav', wav(SOUND));
      const english = await transcribed('mono.wav', wav(SOUND), '-l', 'de', '--translate');
      const found = await run(async ([bytes, sound]) => withModel(bytes, {}, async (model) => {
        const samples = floats(sound);
        const [segments, progress] = [[], []];
        const onSegment = (segment) => segments.push(segment);
        const onProgress = (event) => progress.push(event);
        return {
          info: await model.info(),
          usual: await model.transcribe(samples, { language: 'en', onSegment, onProgress }),
          any: await model.transcribe(samples),
          english: await model.transcribe(samples, { language: 'de', task: 'translate' }),
          silence: await model.transcribe(new Float32Array(40_000)),
          segments, progress,
        };
      }), await modelOf('whisper'), base64(SOUND));
      assert.deepEqual(found.info.tasks, ['transcribe']);
      assert.deepEqual(found.info.languages, { from: ['en', 'de', 'haw'], to: ['en'] });
      assertHeard(found.usual, native);
      assert.ok(native.segments.length > 0);
      assert.equal(found.usual.language, 'en');
      assertHeard(found.any, unknown);
      assert.equal(found.any.language, 'de');
      assertHeard(found.english, english);
      assert.deepEqual(found.silence, { text: '', language: null, segments: [] });
      assert.deepEqual(found.segments, found.usual.segments);
      assert.deepEqual(found.progress.at(0), { done: 0, total: 3 });
      assert.deepEqual(found.progress.at(-1), { done: 3, total: 3 });
    });

    test('times of words, and speech as it comes', async () => {
      const native = await transcribed('mono.wav', wav(SOUND), '-l', 'en', '--words');
      const found = await run(async ([bytes, sound]) => withModel(bytes, {}, async (model) => {
        const samples = floats(sound);
        const words = await model.transcribe(samples, { language: 'en', timestamps: 'word' });
        const heard = [];
        const live = async () => {
          const listening = model.listen({ language: 'en', onHeard: (some) => heard.push(some) });
          for (let at = 0; at < samples.length; at += 8000) listening.push(samples.subarray(at, at + 8000));
          const transcript = await listening.finish();
          const over = await failure(listening.finish());
          await listening.dispose();
          return { transcript, over };
        };
        const { transcript, over } = await live();
        const first = [...heard];
        const broken = model.listen();
        broken.push(new Float32Array([0, NaN]));
        const nan = await failure(broken.finish());
        await broken.dispose();
        const given = model.listen();
        await given.dispose();
        const late = await failure((async () => given.push(samples))());
        return { words, heard: first, transcript, over, nan, late, again: (await live()).transcript };
      }), await modelOf('whisper'), base64(SOUND));
      assertHeard(found.words, native);
      for (const [i, { words }] of found.words.segments.entries()) {
        const bare = (all) => all.map(({ word, start, end }) => [word, start, end]);
        assert.deepEqual(bare(words), bare(native.segments[i].words));
      }
      const { segments, text } = found.transcript;
      assert.deepEqual(found.heard.flatMap((some) => some.segments), segments);
      assert.ok(text.length > 0 && found.heard.length > 0);
      assert.equal(found.heard.at(-1).stable + found.heard.at(-1).tentative, '');
      assert.deepEqual(found.again.language, 'en');
      assert.equal(found.over.code, 'disposed');
      assert.match(found.nan.message, /no finite number, at 1/);
      assert.equal(found.late.code, 'disposed');
    });

    test('what cannot be is an error with a code and a remedy', async () => {
      const cases = {
        languages: [
          ['translate', ['a'], 'invalid-option', /language.*en, pt/],
          ['translate', ['a', { from: 'en', to: 'fr' }], 'invalid-option', /"fr".*en, pt/],
          ['translate', [[], { from: 'en', to: 'pt' }], 'invalid-option', /list of texts is empty/],
          ['translate', ['a', { from: 'en', to: 'pt', beams: 65 }], 'invalid-option', /beams is 65/],
          ['translate', ['a', { from: 'en', to: 5 }], 'invalid-option', /to is 5/],
          ['textToText', ['a'], 'unsupported', /call `translate`/],
          ['generate', ['a'], 'unsupported', /call `translate`/],
        ],
        t5: [
          ['translate', ['a'], 'unsupported', /call `generate` or `textToText`/],
          ['textToText', ['a', { beam: 2 }], 'invalid-option', /no option beam; there are beams, maxTokens/],
        ],
        whisper: [
          ['translate', ['a'], 'unsupported', /call `transcribe`/],
          ['transcribe', ['a'], 'invalid-option', /the sound must be/],
          ['transcribe', [{ samples: 0 }], 'invalid-option', /the sound is empty/],
          ['transcribe', [{ samples: 8, broken: true }], 'invalid-option', /no finite number, at 7/],
          ['transcribe', [{ samples: 8 }, { language: 'xx' }], 'invalid-option', /"xx".*de, en, haw|"xx".*en, de, haw/],
          ['transcribe', [{ samples: 8 }, { task: 'sing' }], 'invalid-option', /task is sing/],
          ['generate', ['a'], 'unsupported', /call `transcribe`/],
        ],
        'bert-masks': [
          ['translate', ['a'], 'unsupported', /call `.*fillMask/],
          ['textToText', ['a'], 'unsupported', /call `.*fillMask/],
          ['transcribe', [{ samples: 8 }], 'unsupported', /call `.*fillMask/],
        ],
      };
      for (const [name, calls] of Object.entries(cases)) {
        const found = await run(async ([bytes, calls]) => withModel(bytes, {}, async (model) => {
          const errors = [];
          for (const [call, [first, ...others]] of calls) {
            let given = first;
            if (first !== null && typeof first === 'object' && 'samples' in first) {
              given = new Float32Array(first.samples);
              if (first.broken) given[7] = NaN;
            }
            const answer = model[call](given, ...others);
            errors.push(await failure(call === 'generate' ? answer.text() : answer));
          }
          return errors;
        }), await modelOf(name), calls);
        for (const [i, [call, args, code, words]] of calls.entries()) {
          const error = found[i];
          assert.ok(error?.typed, `${name}: ${call} ${JSON.stringify(args)}: ${JSON.stringify(error)}`);
          assert.equal(error.code, code, error.message);
          assert.match(error.message, words);
        }
      }
    });

    test('long work can be given up, and the model goes on', async () => {
      const found = await run(async ([bytes, long, hearing, sound]) => {
        const givenUp = async (model, call, again) => {
          const stop = new AbortController();
          const waiting = failure(call(model, stop.signal));
          setTimeout(() => stop.abort(), 20);
          const error = await waiting;
          const start = performance.now();
          await again(model);
          return { name: error.name, seconds: (performance.now() - start) / 1000 };
        };
        const how = { from: 'en', to: 'pt' };
        const texts = Array.from({ length: 3000 }, (_, i) => `${i} ${long}`);
        const samples = floats(sound);
        const minutes = new Float32Array(16_000 * 600);
        for (let at = 0; at + samples.length < minutes.length; at += samples.length) minutes.set(samples, at);
        return [
          await withModel(bytes, {}, (model) => givenUp(model,
            (model, signal) => model.translate(texts, { ...how, signal }), (model) => model.translate('a', how))),
          await withModel(hearing, {}, (model) => givenUp(model,
            (model, signal) => model.transcribe(minutes, { signal }), (model) => model.transcribe(new Float32Array(8)))),
        ];
      }, await modelOf('languages'), TEXTS[3], await modelOf('whisper'), base64(SOUND));
      for (const { name, seconds } of found) {
        assert.equal(name, 'AbortError');
        assert.ok(seconds < 20, `free after ${seconds} s`);
      }
    });
  });
}

test('files of sound are decoded by the browser, at any rate', async () => {
  // A wave at another rate, in two channels that differ: what is heard is their mean.
  const rate = 48_000;
  const stereo = Int16Array.from({ length: 2 * rate }, (_, i) => {
    const wave = 12_000 * Math.sin((2 * Math.PI * 440 * (i >> 1)) / rate);
    return i % 2 ? wave * 0.5 : wave;
  });
  const native = await transcribed('mono.wav', wav(SOUND), '-l', 'en');
  const found = await page.evaluate(async ([bytes, mono, stereo]) => withModel(bytes, {}, async (model) => {
    const options = { language: 'en' };
    const context = new OfflineAudioContext(1, 1, 48_000);
    const decoded = await context.decodeAudioData(bytesOf(stereo).buffer);
    return {
      file: await model.transcribe(new File([bytesOf(mono)], 'mono.wav'), options),
      stereo: await model.transcribe(new Blob([bytesOf(stereo)]), options),
      buffer: await model.transcribe(decoded, options),
      text: await failure(model.transcribe(new File(['hello'], 'notes.txt'))),
      empty: await failure(model.transcribe(new Blob([]))),
      none: await failure(model.transcribe(new Blob([bytesOf(mono).slice(0, 44)]))),
    };
  }), [await modelOf('whisper'), base64(wav(SOUND)), base64(wav(stereo, { rate, channels: 2 }))]);
  assertHeard(found.file, native);
  for (const { segments } of [found.stereo, found.buffer]) {
    assert.ok(segments.every(({ end }) => end <= 30), JSON.stringify(segments));
  }
  assert.equal(found.text.code, 'not-audio');
  assert.match(found.text.message, /notes\.txt is no sound/);
  assert.equal(found.empty.code, 'not-audio');
  assert.ok(['not-audio', 'invalid-option'].includes(found.none.code), JSON.stringify(found.none));
});

test('in Node, files of sound are refused', async () => {
  const model = await Kinglet.load(await readFile(models.whisper));
  try {
    const error = await failure(model.transcribe(new Blob([wav(SOUND)])));
    assert.equal(error.code, 'invalid-option');
    assert.match(error.message, /Float32Array of 16000 samples a second/);
  } finally {
    await model.dispose();
  }
});

test('every build gives the same bits', async () => {
  const found = [];
  for (const variant of VARIANTS) {
    found.push(await PLACES.chromium(async ([bytes, hearing, texts, sound, variant]) => [
      await withModel(bytes, { variant, threads: 2 }, (model) => model.translate(texts, { from: 'en', to: 'pt' })),
      await withModel(hearing, { variant, threads: 2 }, (model) => model.transcribe(floats(sound))),
    ], await modelOf('languages'), await modelOf('whisper'), TEXTS, base64(SOUND), variant));
  }
  for (const each of found) assert.deepEqual(each, found[0]);
});
