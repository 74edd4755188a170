//! Models from the hub, and from any other address: what a conversion needs is fetched over HTTPS
//! and kept, and from then on it is a checkpoint of this machine.
//!
//! | file | what it knows |
//! |---|---|
//! | `name.rs`, `url.rs` | what a user writes |
//! | `settings.rs` | the environment: token, mirror, folders, offline |
//! | `client.rs`, `patience.rs` | requests, redirects, refusals; what is tried again |
//! | `listing.rs`, `choice.rs`, `single.rs` | what a repository has, and which of it is the model |
//! | `download.rs` | one file: resumed, checked |
//! | `store.rs` | Hugging Face's cache, which other tools share |
//! | `repository.rs`, `address.rs` | all of it together |

mod address;
mod choice;
mod client;
mod download;
mod error;
mod listing;
mod name;
mod patience;
mod repository;
mod settings;
mod single;
mod store;
mod url;

use std::path::PathBuf;

use crate::cache::Cache;
use crate::failure::Failure;
use client::Client;
use settings::Settings;

pub(crate) use error::Error;
pub(crate) use name::{ENDINGS, Remote};
pub(crate) use settings::{go_offline, is_offline};

/// What a user's text means if it is no path and no catalog name: a model in the network, or
/// nothing.
///
/// # Errors
/// If it begins like an address or a hub's name and goes on like none.
pub(crate) fn remote(text: &str) -> Result<Option<Remote>, Error> {
    Remote::parse(text, &settings::this_endpoint()?)
}

/// The hub as this machine's user sees it.
pub(crate) struct Hub {
    settings: Settings,
    cache: Cache,
}

/// A checkpoint on this machine.
pub(crate) struct Fetched {
    /// A file, or a folder.
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
}

/// What tells a checkpoint from all others.
pub(crate) struct Identity {
    /// A name for files that are made of it.
    pub(crate) stem: String,
    /// What its conversions depend on.
    pub(crate) parts: Vec<String>,
}

impl Hub {
    pub(crate) fn new(cache: &Cache) -> Result<Self, Error> {
        Ok(Self { settings: Settings::read()?, cache: cache.clone() })
    }

    /// What a model is, if this machine knows it without asking.
    pub(crate) fn known(&self, remote: &Remote) -> Option<Identity> {
        match remote {
            Remote::Repository(repository) => self.known_repository(repository),
            Remote::Address(url) => self.known_address(url),
        }
    }

    /// Fetches what a conversion needs, unless it is there; if it is to be `updated`, what has
    /// changed since, too.
    pub(crate) fn fetch(&self, remote: &Remote, updated: bool) -> Result<Fetched, Failure> {
        match remote {
            Remote::Repository(repository) => self.fetch_repository(repository, updated),
            Remote::Address(url) => self.fetch_address(url, updated),
        }
    }

    fn client(&self) -> Result<Client, Error> {
        Client::new(&self.settings)
    }
}
