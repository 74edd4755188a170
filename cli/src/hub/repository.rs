//! A repository of the hub: found, chosen from, and fetched into the cache.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use super::choice::{self, Choice, choose};
use super::client::Client;
use super::download::Item;
use super::listing::{Info, Listing};
use super::name::{Repository, last};
use super::patience::patiently;
use super::single::stem;
use super::store::{Store, folder_name, is_commit};
use super::url::{Url, encoded};
use super::{Error, Fetched, Hub, Identity};
use crate::failure::Failure;
use crate::output::say;
use crate::progress::Phase;

/// Repositories that a message names.
const MAX_NEAR: usize = 3;
/// Files that a message names.
const MAX_MISSING: usize = 4;

/// A repository at one commit.
struct Found {
    commit: String,
    listing: Listing,
}

impl Hub {
    /// What the model is, if this machine knows without asking.
    pub(super) fn known_repository(&self, repository: &Repository) -> Option<Identity> {
        let commit = self.store(repository).commit(&repository.revision)?;
        let listing = Listing::read(&self.listing_path(repository, &commit))?;
        let choice = choose(&repository.name, &listing, repository.file.as_deref()).ok()?;
        Some(identity(repository, &commit, &choice))
    }

    /// Fetches what a conversion needs and is not there. What a revision means is asked anew if
    /// it is to be `updated`, or was never known.
    pub(super) fn fetch_repository(
        &self,
        repository: &Repository,
        updated: bool,
    ) -> Result<Fetched, Failure> {
        let client = self.client()?;
        let store = self.store(repository);
        let Found { commit, listing } = self.find(&client, &store, repository, updated)?;
        let choice = choose(&repository.name, &listing, repository.file.as_deref())
            // On several lines.
            .map_err(|error| Failure::new(error.to_string()))?;
        let fetch =
            Fetch { hub: self, client: &client, store: &store, repository, commit: &commit };
        let snapshot = store.snapshot(&commit);
        let path = match &choice {
            Choice::Alone(parts) => {
                fetch.files(parts)?;
                snapshot.join(&parts[0])
            }
            Choice::Described(files) => {
                let folder = files[0].strip_suffix(last(&files[0])).unwrap_or_default();
                fetch.files(&choice::descriptions(&listing, folder))?;
                // What describes an ONNX file may lie above it.
                fetch.files(&choice::descriptions(&listing, ""))?;
                fetch.files(files)?;
                snapshot.join(&files[0])
            }
            Choice::Folder => {
                fetch.folder(&listing)?;
                snapshot
            }
        };
        // Only now: until everything is there, the revision means what it meant before.
        if !self.settings.offline {
            store.set_commit(&repository.revision, &commit)?;
        }
        Ok(Fetched { path, identity: identity(repository, &commit, &choice) })
    }

    /// Which commit is meant, and what it has.
    fn find(
        &self,
        client: &Client,
        store: &Store,
        repository: &Repository,
        updated: bool,
    ) -> Result<Found, Error> {
        let known = store.commit(&repository.revision);
        let local = known.clone().map(|commit| self.local(store, repository, commit));
        if self.settings.offline {
            return local.flatten().ok_or_else(|| Error::Offline {
                name: repository.name.clone(),
                missing: format!("nothing is there of revision {}", repository.revision),
            });
        }
        // A commit never changes.
        let updated = updated && !is_commit(&repository.revision);
        if let Some(commit) = known.as_ref().filter(|_| !updated)
            && let Some(listing) = Listing::read(&self.listing_path(repository, commit))
        {
            return Ok(Found { commit: commit.clone(), listing });
        }
        let revision = known.filter(|_| !updated).unwrap_or_else(|| repository.revision.clone());
        match self.ask(client, repository, &revision) {
            Err(error) if error.is_of_network() && local.as_ref().is_some_and(Option::is_some) => {
                say!("{error}; going on with what this machine has of {}", repository.name);
                local.flatten().ok_or(error)
            }
            asked => asked,
        }
    }

    /// What this machine has of a commit: its list of files, or else the files that are there.
    fn local(&self, store: &Store, repository: &Repository, commit: String) -> Option<Found> {
        let kept = Listing::read(&self.listing_path(repository, &commit));
        let listing = kept.or_else(|| {
            let files = store.files(&commit);
            (!files.is_empty()).then(|| Listing::of_names(files))
        });
        Some(Found { listing: listing?, commit })
    }

    /// Asks the hub, and remembers what it says.
    fn ask(
        &self,
        client: &Client,
        repository: &Repository,
        revision: &str,
    ) -> Result<Found, Error> {
        let path = format!("/api/models/{}/revision/{}", repository.name, encoded(revision, false));
        let url = self.settings.endpoint.below(&path, Some("blobs=true"));
        let info: Info =
            patiently(|| client.json(&url, repository)).map_err(|error| match error {
                Error::UnknownRepository { name, bare, with_token, .. } => {
                    let near = self.near(client, repository);
                    Error::UnknownRepository { name, bare, with_token, near }
                }
                error => error,
            })?;
        let (commit, listing) = info.checked(&url)?;
        listing.write(&self.listing_path(repository, &commit))?;
        Ok(Found { commit, listing })
    }

    /// Repositories with names like one that does not exist.
    fn near(&self, client: &Client, repository: &Repository) -> Vec<String> {
        #[derive(Deserialize)]
        struct Model {
            id: String,
        }
        let words = encoded(last(&repository.name), false);
        let query = format!("search={words}&limit=10");
        let url = self.settings.endpoint.below("/api/models", Some(&query));
        // It only helps to say more.
        let mut models: Vec<Model> = client.json(&url, repository).unwrap_or_default();
        models.retain(|model| model.id.len() < 200 && !model.id.contains(char::is_control));
        let likeness = |model: &Model| strsim::jaro_winkler(&repository.name, &model.id);
        models.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
        models.into_iter().take(MAX_NEAR).map(|model| model.id).collect()
    }

    fn store(&self, repository: &Repository) -> Store {
        Store::new(&self.settings.cache, repository)
    }

    fn listing_path(&self, repository: &Repository, commit: &str) -> PathBuf {
        self.cache.listings().join(folder_name(repository)).join(format!("{commit}.json"))
    }
}

/// What a conversion's name and key follow from.
fn identity(repository: &Repository, commit: &str, choice: &Choice) -> Identity {
    let name = repository.plain_name();
    let file = match choice {
        Choice::Alone(files) | Choice::Described(files) => files[0].as_str(),
        Choice::Folder => "",
    };
    let stem = match file {
        "" => name,
        file => format!("{name}--{}", last(stem(file))),
    };
    Identity { stem, parts: [&repository.name, commit, file].map(str::to_owned).to_vec() }
}

/// Files on their way from one commit of a repository.
struct Fetch<'a> {
    hub: &'a Hub,
    client: &'a Client,
    store: &'a Store,
    repository: &'a Repository,
    commit: &'a str,
}

impl Fetch<'_> {
    /// What describes the model, then the weights that it names.
    fn folder(&self, listing: &Listing) -> Result<(), Failure> {
        self.files(&choice::descriptions(listing, ""))?;
        let read = |file: &str| fs::read(self.store.snapshot(self.commit).join(file)).ok();
        let folders = choice::folders(read("modules.json").as_deref());
        let below: Vec<&str> = folders
            .iter()
            .filter(|folder| !folder.is_empty())
            .flat_map(|folder| choice::descriptions(listing, folder))
            .collect();
        self.files(&below)?;
        let weights: Vec<String> =
            folders.iter().flat_map(|folder| choice::weight_files(listing, folder, read)).collect();
        self.files(&weights)
    }

    /// Fetches those of some files that are not there.
    fn files(&self, files: &[impl AsRef<str>]) -> Result<(), Failure> {
        let files = files.iter().map(AsRef::as_ref);
        let missing: Vec<&str> = files.filter(|file| !self.store.has(self.commit, file)).collect();
        let Some((first, others)) = missing.split_first() else { return Ok(()) };
        let name = &self.repository.name;
        if self.hub.settings.offline {
            let mut files = missing[..missing.len().min(MAX_MISSING)].join(", ");
            if missing.len() > MAX_MISSING {
                files += "…";
            }
            let missing = format!("{files} of commit {:.7} is missing", self.commit);
            return Err(Error::Offline { name: name.clone(), missing }.into());
        }
        let facts = missing.iter().map(|file| self.facts(file)).collect::<Result<Vec<_>, _>>()?;
        let what = match others {
            [] => format!("{name}: {first}"),
            others => format!("{name}: {first} and {} more", others.len()),
        };
        let total = facts.iter().map(|(_, bytes)| bytes).sum();
        let part_bytes = |tag: &String| self.part(tag).metadata().map_or(0, |part| part.len());
        let there = facts.iter().map(|(tag, _)| part_bytes(tag)).sum();
        let phase = Phase::resumed(&format!("fetching {what}"), total, there);
        let mut before = 0;
        for (file, (tag, bytes)) in missing.into_iter().zip(&facts) {
            phase.name(file);
            self.file(file, tag, *bytes, &mut |done, _| phase.set(before + done))?;
            before += bytes;
        }
        Ok(())
    }

    /// A file's tag, which names its blob, and its length.
    fn facts(&self, file: &str) -> Result<(String, u64), Error> {
        let url = self.url(file);
        let facts = patiently(|| self.client.facts(&url, self.repository))?;
        let plain = |tag: &String| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=128).contains(&tag.len()) && tag.bytes().all(is_plain)
        };
        match (facts.etag.filter(plain), facts.bytes) {
            (Some(tag), Some(bytes)) => Ok((tag, bytes)),
            (None, _) => Err(Error::answer(&url, "the hub does not tell its ETag")),
            (_, None) => Err(Error::answer(&url, "the hub does not tell its length")),
        }
    }

    /// Fetches a file, unless its bytes are there under another name.
    fn file(
        &self,
        file: &str,
        tag: &str,
        bytes: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Failure> {
        let blob = self.store.blob(tag);
        let is_there = || blob.metadata().is_ok_and(|metadata| metadata.len() == bytes);
        if !is_there() {
            let _lock = self.store.lock(tag, file)?;
            if !is_there() {
                let part = self.part(tag);
                let failed = |error| Error::file(&part, error);
                fs::create_dir_all(blob.parent().unwrap_or(&blob)).map_err(failed)?;
                let url = self.url(file);
                let item = Item {
                    url: &url,
                    of: Some(self.repository),
                    bytes: Some(bytes),
                    // Files that LFS keeps are tagged with their hash, others with git's.
                    sha256: (tag.len() == 64).then_some(tag),
                    tag: None,
                    variable: "HF_HOME",
                };
                item.fetch(self.client, &part, progress)?;
                fs::rename(&part, &blob).map_err(failed)?;
            }
        }
        Ok(self.store.link(self.commit, file, tag)?)
    }

    /// Where what has arrived of a blob is.
    fn part(&self, tag: &str) -> PathBuf {
        self.store.blob(tag).with_added_extension("incomplete")
    }

    fn url(&self, file: &str) -> Url {
        let path =
            format!("/{}/resolve/{}/{}", self.repository.name, self.commit, encoded(file, true));
        self.hub.settings.endpoint.below(&path, None)
    }
}
