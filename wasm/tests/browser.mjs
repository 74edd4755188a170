// Chromium with a fresh profile, and pages in which the package is loaded.

import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const FLAGS = [
  // Containers often have little shared memory in /dev/shm.
  '--disable-dev-shm-usage', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

/** Opens a browser whose storage is on disk, with more `flags`; `close` removes it. */
export async function openBrowser({ flags = [], ...options } = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'kinglet-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [...FLAGS, ...flags],
    headless: true,
    ...options,
  });
  context.setDefaultTimeout(120_000);
  return {
    context,
    profile,
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Opens a page with `Kinglet` and `KingletError` as globals. */
export async function openPage(context, origin, { path = '/blank.html', from = '/kinglet' } = {}) {
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error('page:', error));
  await page.goto(origin + path);
  await page.evaluate(async (script) => {
    const { Kinglet, KingletError } = await import(script);
    /** What a promise is rejected with, in a form that can leave the page. */
    const failure = (promise) =>
      promise.then(
        () => null,
        (error) => ({
          code: error.code, name: error.name, message: error.message, status: error.status,
          typed: error instanceof KingletError,
        }),
      );
    Object.assign(globalThis, { Kinglet, KingletError, failure });
  }, `${from}/index.js`);
  return page;
}

/** Bytes of memory of the browser's processes that show pages: what is theirs alone. */
export async function rendererMemory(profile) {
  let sum = 0;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    try {
      const command = await readFile(`/proc/${pid}/cmdline`, 'utf8');
      const shows = command.includes('--type=renderer') && !command.includes('--top-chrome-webui');
      if (!shows || !command.includes(profile)) continue;
      const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
      sum += 1024 * Number(/^Pss:\s+(\d+) kB/m.exec(rollup)[1]);
    } catch {
      // the process has ended
    }
  }
  return sum;
}
