// Bundles the package's scripts, the four builds of the engine and the quantizer into `dist/`, a
// file each, so that a bundler or a plain server needs to know no more than their addresses.
//
//   node package/bundle.mjs BUILDS    BUILDS/NAME/ holds wasm-bindgen's output for each module

import { copyFile, mkdir, readFile, readdir, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

import { VARIANTS } from './src/variant.js';

const BUDGET = 1_000_000; // bytes, gzipped, of what a visitor downloads

const here = dirname(fileURLToPath(import.meta.url));
// Modules for tests may be larger than what visitors download.
const quick = process.argv.includes('--quick');
const builds = resolve(process.argv.slice(2).find((each) => each !== '--quick') ?? join(here, '../pkg'));
const dist = join(here, 'dist');
const options = { bundle: true, format: 'esm', target: 'es2022', outdir: dist, logLevel: 'warning', external: ['node:*'] };

/** Our own helper in the place of wasm-bindgen-rayon's. */
const threads = {
  name: 'threads',
  setup({ onResolve }) {
    onResolve({ filter: /workerHelpers/ }, () => ({ path: join(here, 'src/threads.js') }));
  },
};

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
await build({ ...options, entryPoints: ['index', 'worker'].map((name) => join(here, `src/${name}.js`)) });
await build({ ...options, entryPoints: [join(here, 'src/node.js')], platform: 'node' });

const own = (await gzipped('index.js')) + (await gzipped('worker.js'));
let largest = 0;
for (const name of [...VARIANTS, 'quantize']) {
  const folder = join(builds, name);
  const names = await readdir(folder);
  const wasm = names.find((file) => file.endsWith('_bg.wasm'));
  const glue = JSON.stringify(join(folder, wasm.replace('_bg.wasm', '.js')));
  let contents = `export * from ${glue}; export { default } from ${glue};`;
  if (name.endsWith('-threads')) {
    const helper = JSON.stringify(join(here, 'src/threads.js'));
    contents += `
      import init, { wbg_rayon_start_worker } from ${glue};
      import { serveIfThread } from ${helper};
      export { onThreadFailure } from ${helper};
      serveIfThread(init, wbg_rayon_start_worker);`;
  }
  await build({
    ...options,
    stdin: { contents, resolveDir: here, sourcefile: `${name}.js` },
    outdir: undefined,
    outfile: join(dist, `${name}.js`),
    plugins: [threads],
  });
  await copyFile(join(folder, wasm), join(dist, `${name}.wasm`));
  const total = own + (await gzipped(`${name}.js`)) + (await gzipped(`${name}.wasm`));
  largest = Math.max(largest, total);
  console.log(`${name.padEnd(16)} ${(total / 1000).toFixed(0)} kB gzipped, scripts included`);
}
if (largest > BUDGET && !quick) {
  console.error(`a visitor would download ${largest} bytes, more than ${BUDGET}`);
  process.exit(1);
}

async function gzipped(name) {
  return gzipSync(await readFile(join(dist, name)), { level: 9 }).length;
}
