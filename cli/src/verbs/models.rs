//! `kinglet models`: the catalog and the cache.

use std::fs;
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cache::{Cache, CachedFile};
use crate::catalog::{self, ENTRIES};
use crate::failure::Failure;
use crate::output::{Format, print, print_json, say};
use crate::table::Table;
use crate::units;

/// List, fetch and remove models
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  kinglet models
  kinglet models pull smollm2-135m
  kinglet models rm smollm2-135m
  kinglet models clear")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Form of the list; csv has a row for each catalog model and each file in the cache
    #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List the catalog and what is in the cache (the default)
    List {
        /// Form of the list; csv has a row for each catalog model and each file in the cache
        #[arg(short, long = "output", value_name = "FORMAT", value_enum, default_value_t)]
        output: Format,
    },
    /// Fetch a catalog model's checkpoint and write its path
    Pull {
        /// Its name
        name: String,
    },
    /// Remove a model, checkpoint and conversions, or a single file, from the cache
    Rm {
        /// Names of models, or of files as the list shows them
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove everything from the cache
    Clear,
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
        Some(Action::List { output }) => list(&cache, *output),
        Some(Action::Pull { name }) => {
            print(&format!("{}\n", catalog::fetch(name, &cache)?.display()))
        }
        Some(Action::Rm { names }) => names.iter().try_for_each(|name| remove(&cache, name)),
        Some(Action::Clear) => clear(&cache),
    }
}

fn list(cache: &Cache, format: Format) -> Result<(), Failure> {
    let cached = cache.entries()?;
    if format == Format::Json {
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
        return print_json(&Listing {
            folder: cache.root().display().to_string(),
            catalog: catalog.collect(),
            cached: cached.iter().map(|file| line(&file.path, file.bytes)).collect(),
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
    let prefix = entry.map(|entry| format!("{}-", entry.name));
    let mut found = false;
    for file in cache.entries()? {
        let file_name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let of_model = entry.is_some_and(|entry| file_name == entry.name)
            || prefix.as_ref().is_some_and(|prefix| file_name.starts_with(prefix));
        if of_model || shown(cache, &file.path) == name || file_name == name {
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
    for folder in [cache.checkpoints(), cache.models(), cache.root().join("locks")] {
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
