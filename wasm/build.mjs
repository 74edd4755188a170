// Builds the engine's variants and the quantizer into wasm/pkg/NAME: `node wasm/build.mjs [NAME...]`.
// With `--quick` the modules are those for tests: larger, a little slower, built in half the time.
// The name `kernel-tests` builds the kernel tests of the runtime, a program for
// wasm/tests/kernels.test.mjs, to target/wasm/kernel-tests.wasm.
//
// Takes the toolchain of rustup where it has the WebAssembly target (and, for threads, rust-src),
// or else Debian's `rustc-web` and `rust-web-src`, whose standard library is compiled here.

import { execFile, execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

const wasm = dirname(fileURLToPath(import.meta.url));
const root = dirname(wasm);
const built = join(root, "target", "wasm");
const target = "wasm32-unknown-unknown";
/** For tests, which want to be told what to run and to say how it went. */
const wasi = "wasm32-wasip1";
/** Most bytes of a module, gzipped. */
const budget = 1_000_000;

const modules = {
  simd128: { crate: "kinglet-wasm", features: [] },
  relaxed: { crate: "kinglet-wasm", features: ["relaxed-simd"] },
  quantize: { crate: "kinglet-quantize-wasm", features: [] },
  "simd128-threads": { crate: "kinglet-wasm", features: [], threads: true },
  "relaxed-threads": { crate: "kinglet-wasm", features: ["relaxed-simd"], threads: true },
};

function run(command, args, env = {}) {
  execFileSync(command, args, { stdio: "inherit", cwd: root, env: { ...process.env, ...env } });
}

function output(command, args) {
  return execFileSync(command, args, { cwd: root, encoding: "utf8" }).trim();
}

/** Which compiler builds for a target, and how it comes by its standard library and linker. */
function toolchain(target, threads = false) {
  const library = (sysroot) => join(sysroot, "lib/rustlib/src/rust/library");
  const own = output("rustc", ["--print", "sysroot"]);
  if (!threads && existsSync(join(own, "lib/rustlib", target))) {
    return { env: {}, args: [], flags: [] };
  }
  const buildStd = ["-Z", `build-std=std,panic_abort${target === wasi ? ",test" : ""}`];
  // The C library and the start of programs come with rustup's target only.
  if (target !== wasi && existsSync(library(own))) {
    return { env: { RUSTC_BOOTSTRAP: "1" }, args: buildStd, flags: [] };
  }
  const debian = "/usr/bin/rustc";
  if (existsSync(debian) && existsSync(library(output(debian, ["--print", "sysroot"])))) {
    const host = /host: (.*)/.exec(output("rustc", ["-vV"]))[1];
    const linker = join(own, "lib/rustlib", host, "bin/rust-lld");
    const flags = existsSync(linker) ? ["-C", `linker=${linker}`] : [];
    if (target === wasi) {
      // Of the package wasi-libc, which has no threads: spawning one fails when it is tried.
      const libc = "/usr/lib/wasm32-wasi";
      flags.push("-C", "link-arg=--allow-undefined");
      flags.push("-C", "link-self-contained=no", "-L", libc);
      flags.push("-C", `link-arg=${libc}/crt1-command.o`);
    }
    return { env: { RUSTC: debian, RUSTC_BOOTSTRAP: "1" }, args: buildStd, flags };
  }
  throw new Error(
    `no compiler for ${target}${threads ? " with threads" : ""}; use one of\n` +
      `  rustup target add ${target} && rustup component add rust-src\n` +
      "  apt-get install --no-install-recommends rustc-web rust-web-src wasi-libc",
  );
}

const quick = process.argv.includes("--quick");
const profile = quick ? "wasm-quick" : "wasm";

/** Compiles a crate and gives the path of the module. */
function compile({ crate, features, threads = false }) {
  const { env, args, flags } = toolchain(target, threads);
  const enabled = ["simd128", ...(threads ? ["atomics", "bulk-memory"] : [])];
  const link = threads
    ? [
        "--shared-memory",
        "--import-memory",
        // The most a page may choose from: it creates the memory.
        "--max-memory=4294967296",
        ...["__wasm_init_tls", "__tls_size", "__tls_align", "__tls_base", "__heap_base"].map(
          (symbol) => `--export=${symbol}`,
        ),
      ]
    : [];
  const rustflags = [
    "-C",
    `target-feature=${enabled.map((feature) => `+${feature}`).join(",")}`,
    ...flags,
    ...link.flatMap((argument) => ["-C", `link-arg=${argument}`]),
  ];
  // One folder for all: cargo keeps what was compiled with different flags apart, and variants
  // with the same flags share everything but the runtime. The module is overwritten, though.
  const folder = join(built, "modules");
  const selected = ["-p", crate, "--features", [...features, ...(threads ? ["threads"] : [])].join()];
  run("cargo", ["build", ...args, ...selected, "--target", target, "--profile", profile, "--locked"], {
    ...env,
    CARGO_ENCODED_RUSTFLAGS: rustflags.join("\x1f"),
    CARGO_TARGET_DIR: folder,
  });
  return join(folder, target, profile, `${crate.replaceAll("-", "_")}.wasm`);
}

/** Writes the JavaScript side of a module, and the module made small, to wasm/pkg. */
function bind(name, module) {
  const manifest = join(wasm, "bindgen", "Cargo.toml");
  const folder = join(built, "bindgen");
  run("cargo", ["build", "--release", "--locked", "--manifest-path", manifest], {
    CARGO_TARGET_DIR: folder,
  });
  const out = join(wasm, "pkg", name);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  run(join(folder, "release", "kinglet-bindgen"), [module, out]);
  return join(out, "kinglet_bg.wasm");
}

/** Makes a module small and fast, which takes one core while the next one is compiled. */
async function optimise(module, { features, threads = false }) {
  const optimiser = join(wasm, "node_modules", "binaryen", "bin", "wasm-opt");
  if (!existsSync(optimiser)) {
    throw new Error("no wasm-opt; run `npm install` in wasm/");
  }
  const enabled = [
    ...["simd", "bulk-memory", "sign-ext", "mutable-globals", "nontrapping-float-to-int"],
    ...["reference-types", "multivalue"],
    ...features,
    ...(threads ? ["threads"] : []),
  ];
  const small = `${module}.opt`;
  await promisify(execFile)(process.execPath, [
    optimiser,
    module,
    "-O3",
    // The first kilobyte is the far end of the stack: constants may move into the addresses of
    // loads and stores, where they cost nothing.
    "--low-memory-unused",
    ...enabled.map((feature) => `--enable-${feature}`),
    "-o",
    small,
  ]);
  renameSync(small, module);
}

function report(name, module) {
  const zipped = gzipSync(readFileSync(module), { level: 9 }).length;
  const sizes = `${statSync(module).size} bytes, ${zipped} gzipped`;
  console.log(`${name}: ${sizes} (at most ${budget})`);
  if (zipped > budget) {
    throw new Error(`${name} is over its size budget`);
  }
}

/** Compiles the tests of the runtime, with every kernel set and the checks of unsafe code. */
function compileTests() {
  const { env, args, flags } = toolchain(wasi);
  const rustflags = ["-C", "target-feature=+simd128", ...flags];
  const crate = ["-p", "kinglet", "--features", "relaxed-simd", "--lib"];
  const checked = [
    ...["--config", "profile.test.package.kinglet.debug-assertions=true"],
    // With more, the compiler takes liberties with what is no number: kept to where sets are compared.
    ...["--config", "profile.test.package.kinglet.opt-level=1"],
  ];
  const command = ["test", ...args, ...checked, ...crate, "--target", wasi, "--no-run"];
  const json = execFileSync("cargo", [...command, "--locked", "--message-format=json"], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1 << 28,
    env: {
      ...process.env,
      ...env,
      CARGO_ENCODED_RUSTFLAGS: rustflags.join("\x1f"),
      CARGO_TARGET_DIR: join(built, "tests"),
    },
  });
  const messages = json.toString().split("\n").filter(Boolean).map(JSON.parse);
  const program = messages.findLast(({ executable }) => executable)?.executable;
  copyFileSync(program, join(built, "kernel-tests.wasm"));
}

const chosen = process.argv.slice(2).filter((argument) => argument !== "--quick");
const unknown = chosen.find((name) => name !== "kernel-tests" && !(name in modules));
if (unknown) {
  throw new Error(`no module ${unknown}; there are ${Object.keys(modules).join(", ")}`);
}
const small = [];
for (const name of chosen.length ? chosen : Object.keys(modules)) {
  if (name === "kernel-tests") {
    compileTests();
    continue;
  }
  const module = bind(name, compile(modules[name]));
  if (quick) {
    continue;
  }
  small.push(optimise(module, modules[name]).then(() => report(name, module)));
}
await Promise.all(small);
