//! `kinglet demo`: the page that runs models in the browser.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::Failure;
use crate::output::say;
use crate::resolve;
use crate::site::Site;

/// The models that the page asks for, each when its room is used: names under `/models/`, and in the
/// catalog.
const MODELS: [(&str, &str); 5] = [
    ("smollm2-135m.kinglet", "smollm2-135m"),
    ("all-minilm-l6-v2.kinglet", "all-minilm-l6-v2"),
    ("firefox-en-pt.kinglet", "firefox-en-pt"),
    ("firefox-pt-en.kinglet", "firefox-pt-en"),
    ("whisper-tiny.en.kinglet", "whisper-tiny.en"),
];

/// Serve a page that runs models in the browser, to this machine alone
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet demo
  kinglet demo --port 9000
  kinglet demo --wasm ~/kinglet/wasm

The page and the npm package are in the source tree's folder wasm; `node wasm/build.mjs` makes the
package.")]
pub(crate) struct Arguments {
    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8137)]
    port: u16,
    /// The source tree's folder wasm, if it is not found from here or from the program upwards
    #[arg(long, value_name = "FOLDER")]
    wasm: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let wasm = match &arguments.wasm {
        Some(folder) => folder.clone(),
        None => find().ok_or_else(|| {
            Failure::new("the folder wasm of the source tree is not near; name it with --wasm")
        })?,
    };
    let package = wasm.join("package/dist");
    if !package.join("index.js").is_file() {
        return Err(Failure::new(format!(
            "{}: the package is not built; run `npm install` and `npm run build` in {}",
            package.display(),
            wasm.display()
        )));
    }
    let mut site = Site::new(wasm.join("demo"));
    site.folder("kinglet", package);
    site.folder("examples", wasm.join("examples"));
    for (name, model) in MODELS {
        site.file(&format!("models/{name}"), move || {
            let resolved = resolve::resolve(model.as_ref(), None);
            resolved.map_err(|failure| say!("{model}: {failure}")).ok().map(|model| model.path)
        });
    }
    site.serve(arguments.port, |port| say!("http://localhost:{port}/  (Ctrl-C ends)"))
}

/// The folder `wasm` beside or above the current folder or the program.
fn find() -> Option<PathBuf> {
    let starts = [env::current_dir().ok(), env::current_exe().ok()];
    let is_it = |folder: &PathBuf| folder.join("demo/index.html").is_file();
    let above = |start: PathBuf| start.ancestors().map(|f| f.join("wasm")).find(is_it);
    starts.into_iter().flatten().find_map(above).map(|folder: PathBuf| relative(&folder))
}

/// The path as seen from the current folder, where it lies below.
fn relative(folder: &Path) -> PathBuf {
    let here = env::current_dir().unwrap_or_default();
    folder.strip_prefix(here).map_or_else(|_| folder.to_owned(), Path::to_owned)
}
