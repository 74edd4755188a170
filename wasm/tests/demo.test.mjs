// The demo page as a visitor uses it. With SCREENSHOTS=FOLDER it leaves pictures there.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { after, before, test } from 'node:test';
import { join } from 'node:path';

import { openBrowser } from './browser.mjs';
import { continuation, embeddings, gguf, quantized, results } from './native.mjs';
import { startServer } from './server.mjs';
import { convertTiny, sound, wav } from './tiny.mjs';

let server, browser, page, folder, tiny;
const foreign = [];
before(async () => {
  continuation('warm', 1); // fills the cache
  embeddings(['warm']);
  folder = await mkdtemp(join(tmpdir(), 'kinglet-demo-'));
  tiny = await convertTiny(folder, ['bert-tokens', 'bert-sequences', 'bert-answers', 'bert-masks', 'bert-rerank', 'languages', 'whisper']);
  await writeFile(join(folder, 'sound.wav'), wav(sound()));
  server = await startServer();
  browser = await openBrowser({
    viewport: { width: 900, height: 760 },
    colorScheme: 'light',
    permissions: ['microphone', 'clipboard-write'],
    flags: ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', `--use-file-for-fake-audio-capture=${join(folder, 'sound.wav')}`],
  });
  page = await browser.context.newPage();
  page.on('pageerror', (error) => foreign.push(String(error)));
  browser.context.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(server.origin) && !url.startsWith('data:')) foreign.push(url);
  });
  await page.goto(server.origin);
}, { timeout: 300_000 });
after(async () => {
  await browser?.close();
  await server?.close();
  await rm(folder, { recursive: true });
}, { timeout: 300_000 });

async function picture(name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`) });
}

const button = (name) => page.getByRole('button', { name, exact: true });

test('a visitor loads the model and talks with it', async () => {
  await picture('start-light');
  await page.getByRole('button', { name: /Load the model/ }).click();
  await page.getByRole('textbox', { name: 'Your message' }).waitFor();
  await button('Why is the sky blue?').click();
  await page.locator('.speed').waitFor();
  const answer = await page.locator('.message.model').textContent();
  assert.ok(answer.length > 40, answer);
  assert.match(await page.locator('.speed').textContent(), /tokens, \d+ per second/);
  const facts = await page.locator('#facts').textContent();
  assert.match(facts, /SmolLM2/);
  assert.match(facts, /threads.*memory.*MB.*tokens\/s/);
  await picture('chat-light');
});

test('an answer can be stopped, with the button and with Escape, and the talk goes on', async () => {
  const words = page.getByRole('textbox', { name: 'Your message' });
  for (const way of ['button', 'Escape']) {
    await words.fill('Tell me a very long story about the sea.');
    await words.press('Enter');
    await page.locator('.message.model.busy').waitFor();
    await page.waitForFunction(() => document.querySelector('.message.model.busy').textContent.length > 20);
    if (way === 'button') await button('Stop').click();
    else await page.keyboard.press('Escape');
    await button('Send').waitFor();
    assert.match(await page.locator('.speed').last().textContent(), /Stopped/);
  }
  await button('New chat').click();
  await page.waitForFunction(() => document.querySelectorAll('.message').length === 0);
});

test('a long message tells how far it is read', async () => {
  const words = page.getByRole('textbox', { name: 'Your message' });
  await words.fill('All work and no play makes Jack a dull boy. '.repeat(150));
  await words.press('Enter');
  await page.locator('.message[data-read$="%"]').waitFor();
  await picture('reading-light');
  await button('Stop').click();
  await button('Send').waitFor();
  await button('New chat').click();
  await page.waitForFunction(() => document.querySelectorAll('.message').length === 0);
});

test('search finds what is meant', async () => {
  await page.getByRole('tab', { name: 'Chat' }).press('ArrowRight');
  await page.getByRole('button', { name: /Load the model/ }).last().click();
  const hits = page.locator('#hits li');
  await hits.first().waitFor();
  assert.match(await hits.first().textContent(), /password/);
  await picture('search-light');
  await page.getByRole('textbox', { name: /Text to search/ }).fill('Cats purr.\nShips sail.\n');
  await page.getByRole('searchbox').fill('vessel');
  await page.waitForFunction(() => document.querySelector('#hits li').textContent.includes('Ships'));
});

test('a file of one\'s own opens', async () => {
  const { findModel, modelFolder } = await import('../demo/serve.mjs');
  await page.getByRole('tab', { name: 'Chat' }).click();
  const own = await findModel(modelFolder(), 'all-minilm-l6-v2.kinglet');
  await page.locator('#own').setInputFiles(own);
  await page.waitForFunction(() => document.querySelector('#search-tab').getAttribute('aria-selected') === 'true');
  await page.locator('#hits li').first().waitFor();
});

test('a checkpoint of one\'s own is converted, answers, and can be kept', async () => {
  await page.locator('#own').setInputFiles(gguf());
  await page.locator('.numbers', { hasText: 'Converting: ' }).waitFor();
  await picture('convert-light');
  const link = page.getByRole('link', { name: 'Keep the converted file' });
  await link.waitFor();
  assert.match(await page.locator('#facts').textContent(), /SmolLM2-135M-Instruct/);
  await button('Write a haiku about a small bird.').click();
  await page.locator('.speed').waitFor();
  const [download] = await Promise.all([page.waitForEvent('download'), link.click()]);
  assert.match(download.suggestedFilename(), /^SmolLM2-135M-Instruct.*\.kinglet$/);
  assert.ok((await readFile(await download.path())).equals(quantized(gguf())));
});

test('a model of names is read with: from the hub, by its name', async () => {
  await page.goto(`${server.origin}/?endpoint=${server.origin}/hub#read`);
  await page.getByRole('button', { name: 'Find names' }).waitFor();
  await picture('read-start-light');
  await page.getByRole('textbox', { name: 'Name of a model' }).fill('org/bert-tokens');
  await button('Load').click();
  const text = page.getByRole('textbox', { name: 'Text to read' });
  await text.fill('Zoë 🐦 the wren is small');
  const { entities: [parts] } = results('tag', tiny['bert-tokens'], '--aggregation', 'first', '--', 'Zoë 🐦 the wren is small');
  assert.ok(parts.length > 0);
  const expected = parts.map(({ text, label }) => `${text}\u00a0${label}`);
  await page.waitForFunction((expected) => {
    const marks = [...document.querySelectorAll('#findings mark')];
    return marks.map((mark) => mark.textContent).join('|') === expected;
  }, expected.join('|'));
  assert.match(await page.locator('#noted').textContent(), /^\d+ names?$/);
  assert.match(await page.locator('#facts').textContent(), /org\/bert-tokens.*reading:?\d+ ms/);
  await picture('read-light');
});

test('models of other tasks are read with as they are dropped', async () => {
  const own = page.locator('#own');
  await own.setInputFiles(tiny['bert-sequences']);
  const labels = page.getByRole('textbox', { name: 'Labels to choose from' });
  await labels.fill('bird, ship');
  await page.locator('#findings li', { hasText: 'ship' }).waitFor();
  assert.equal(await page.locator('#findings li').count(), 2);
  await page.getByRole('textbox', { name: 'Text to label' }).fill('the wren '.repeat(60));
  await page.locator('#noted', { hasText: /tokens; the model read the first 64/ }).waitFor();
  await page.getByRole('textbox', { name: 'Text to label' }).fill('');

  await own.setInputFiles(tiny['bert-answers']);
  await page.getByRole('textbox', { name: 'Question' }).fill('what is small?');
  await page.getByRole('textbox', { name: 'Text that answers' }).fill('the wren is small');
  await page.waitForFunction(() => document.querySelector('.marked')?.textContent.length < 40);
  assert.equal(await page.locator('#findings li').count(), 3);
  await picture('answer-light');

  await own.setInputFiles(tiny['bert-masks']);
  await page.getByRole('textbox', { name: 'Text with gaps' }).fill('the [MASK] is [MASK]');
  await page.locator('#findings h3', { hasText: 'Gap 2' }).waitFor();
  await page.getByRole('textbox', { name: 'Text with gaps' }).fill('the wren');
  await page.locator('#noted', { hasText: 'has no mask' }).waitFor();
  await page.getByRole('textbox', { name: 'Text with gaps' }).fill('');

  await own.setInputFiles(tiny['bert-rerank']);
  await page.getByRole('textbox', { name: 'Passages' }).fill('the wren\nthe king\n');
  await page.getByRole('textbox', { name: 'Question' }).fill('king');
  await page.waitForFunction(() => document.querySelectorAll('#findings li').length === 2);
  await page.getByRole('combobox', { name: 'What to do' }).selectOption('Label');
  await page.getByRole('textbox', { name: 'Text to label' }).waitFor();
  await page.waitForFunction(() => document.querySelectorAll('#findings li').length === 1);
  await page.goto(server.origin);
});

test('texts are translated as they are typed, in both directions', async () => {
  await page.locator('#own').setInputFiles(tiny.languages);
  const source = page.getByRole('textbox', { name: 'Text to translate' });
  await source.fill('the wren is small\n\nthe king');
  const native = (from, to, text) =>
    results('translate', tiny.languages, '--from', from, '--to', to, '--', text).translations[0].text;
  const [from, to] = [page.getByLabel('From'), page.getByRole('combobox', { name: 'To', exact: true })];
  await from.selectOption('en');
  await to.selectOption('pt');
  const target = page.getByRole('region', { name: 'Translation' });
  const shows = (text) => page.waitForFunction(
    (text) => document.querySelector('#target').textContent === text && !document.querySelector('#target[aria-busy]'), text);
  await shows(native('en', 'pt', 'the wren is small\n\nthe king'));
  await picture('translate-tiny-light');
  // A line that changes is translated anew, and what was slower before it does not come back.
  for (const text of ['the model of data', 'a wren', 'the small king and the wren']) await source.fill(text);
  const translated = native('en', 'pt', 'the small king and the wren');
  await shows(translated);
  await page.getByRole('button', { name: 'Swap the languages' }).click();
  assert.equal(await from.inputValue(), 'pt');
  assert.equal(await source.inputValue(), translated);
  await shows(native('pt', 'en', translated));
  await page.getByRole('button', { name: 'Copy' }).click();
  await page.locator('#translated', { hasText: /Copied|Selected/ }).waitFor();
  await source.fill('');
  await shows('');
  assert.match(await page.locator('#facts').textContent(), /translation:?\d+ ms/);
});

test('speech is written down, from a file and the microphone', async () => {
  await page.locator('#own').setInputFiles(tiny.whisper);
  await page.getByRole('button', { name: 'Listen' }).waitFor();
  const file = join(folder, 'sound.wav');
  const native = results('transcribe', tiny.whisper, '-q', '-l', 'en', file);
  await page.getByLabel('Language that is spoken').selectOption('en');
  await page.locator('#sound').setInputFiles(file);
  await page.locator('#noticed', { hasText: /0:03 heard in/ }).waitFor();
  const captions = page.locator('#captions li');
  assert.equal(await captions.count(), native.segments.length);
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download as SRT' }).click()]);
  assert.equal(download.suggestedFilename(), 'sound.srt');
  const srt = await readFile(await download.path(), 'utf8');
  const { start, end, text } = native.segments[0];
  const time = (seconds) => `00:00:${seconds.toFixed(3).padStart(6, '0')}`.replace('.', ',');
  assert.ok(srt.startsWith(`1\n${time(start)} --> ${time(end)}\n${text.trim()}\n`), srt);
  assert.match(await page.locator('#facts').textContent(), /speed:?[\d.]+x real time/);

  await page.getByRole('button', { name: 'Listen' }).click();
  await page.locator('#noticed', { hasText: /Listening, 0:0[3-9]/ }).waitFor();
  await page.waitForFunction(() => document.querySelector('#captions').textContent.length > 0);
  await picture('listen-tiny-light');
  await page.locator('#microphone').click();
  await page.locator('#noticed', { hasText: /heard|Nothing was said/ }).waitFor();
  await page.getByRole('button', { name: 'Listen' }).waitFor();

  // A file that follows at once is the only one that is shown.
  await page.locator('#sound').setInputFiles({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('hello') });
  await page.locator('#noticed', { hasText: 'notes.txt is no sound' }).waitFor();
  await page.goto(server.origin);
});

test('files that are no model say what is missing', async () => {
  const buffer = await readFile(new URL('../package.json', import.meta.url));
  await page.locator('#own').setInputFiles({ name: 'x.safetensors', mimeType: '', buffer });
  await page.locator('.failure', { hasText: 'checkpoint' }).waitFor();
});

test('a second visit works without network, in the dark and on a phone', async () => {
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await page.reload(); // the service worker has seen every file now
  await page.getByRole('textbox', { name: 'Your message' }).waitFor();
  await browser.context.setOffline(true);
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.setViewportSize({ width: 390, height: 780 });
  await page.reload();
  const words = page.getByRole('textbox', { name: 'Your message' });
  await words.waitFor();
  await words.fill('Name three small birds.');
  await words.press('Enter');
  await page.locator('.speed').waitFor();
  assert.ok((await page.locator('.message.model').textContent()).length > 10);
  assert.equal(await page.evaluate(() => crossOriginIsolated), true);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${overflow} pixels too wide`);
  await picture('chat-dark-phone');
  await page.getByRole('tab', { name: 'Search' }).click();
  await page.locator('#hits li').first().waitFor();
  await picture('search-dark-phone');
  await page.getByRole('tab', { name: 'Read' }).click();
  await page.getByRole('textbox', { name: 'Text to read' }).waitFor();
  await page.locator('#findings mark').first().waitFor();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${wide} pixels too wide`);
  await picture('read-dark-phone');
  for (const room of ['Translate', 'Listen']) {
    await page.getByRole('tab', { name: room }).click();
    await page.getByRole('button', { name: /Load the model/ }).last().waitFor();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${wide} pixels too wide`);
    await picture(`${room.toLowerCase()}-start-dark-phone`);
  }
  await browser.context.setOffline(false);
});

test('nothing is asked of other servers and nothing fails', () => {
  assert.deepEqual(foreign, []);
});
