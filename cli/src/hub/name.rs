//! What a user writes for a model that is in the network.

use super::Error;
use super::url::Url;

/// Hosts of the hub, whose pages are names of repositories.
const HOSTS: [&str; 3] = ["huggingface.co", "www.huggingface.co", "hf.co"];
/// Endings of files that hold weights.
pub(crate) const ENDINGS: [&str; 7] =
    ["kinglet", "gguf", "safetensors", "bin", "pt", "pth", "onnx"];
/// Parts of a page's address between a repository and a revision.
const VIEWS: [&str; 4] = ["resolve", "blob", "raw", "tree"];

/// A model in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    /// A repository of the hub, or a file of one.
    Repository(Repository),
    /// A file at an address.
    Address(Url),
}

/// A repository of the hub: `org/name`, and what of it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// `org/name`, or the name alone that the oldest models have.
    pub(crate) name: String,
    /// Branch, tag or commit.
    pub(crate) revision: String,
    /// A file, or a part of its name (`Q8_0`).
    pub(crate) file: Option<String>,
    /// Whether it was written as a path might be, without `hf:`.
    pub(crate) bare: bool,
}

impl Remote {
    /// Reads `hf:org/name`, `org/name`, each with `:file` and `@revision` behind it, or an address.
    /// `None` if it can only be a path.
    ///
    /// # Errors
    /// If it begins like one of them and goes on like none.
    pub(crate) fn parse(text: &str, endpoint: &Url) -> Result<Option<Self>, Error> {
        let refused = |reason| Error::Name { given: text.to_owned(), reason };
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("https://") || lower.starts_with("http://") {
            let url = Url::parse(text).map_err(refused)?;
            // A mirror may have files at addresses of its own.
            let is_page =
                !is_model(url.path()) || url.path().split('/').any(|part| VIEWS.contains(&part));
            let on_hub = HOSTS.contains(&url.authority()) || is_page && url.same_origin(endpoint);
            if on_hub && let Some(path) = below(&url, endpoint) {
                return Repository::of_page(path).map(Self::Repository).map(Some).map_err(refused);
            }
            return Ok(Some(Self::Address(url)));
        }
        let prefixes = ["hf://", "hf:", "huggingface.co/", "www.huggingface.co/", "hf.co/"];
        if let Some(prefix) = prefixes.iter().find(|prefix| lower.starts_with(**prefix)) {
            let repository = Repository::parse(&text[prefix.len()..]).map_err(refused)?;
            return Ok(Some(Self::Repository(repository)));
        }
        let bare = Repository::parse(text)
            .ok()
            .filter(|repository| repository.name.contains('/') && !is_model(&repository.name));
        Ok(bare.map(|repository| Self::Repository(Repository { bare: true, ..repository })))
    }

    /// Whether it was written as a path might be.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self, Self::Repository(repository) if repository.bare)
    }

    /// The name of a repository as part of a file's name: `org--name`.
    pub(crate) fn repository(&self) -> Option<String> {
        match self {
            Self::Repository(repository) => Some(repository.plain_name()),
            Self::Address(_) => None,
        }
    }

    /// What the model is called for short.
    pub(crate) fn short_name(&self) -> &str {
        let (name, file) = match self {
            Self::Repository(repository) => return last(&repository.name),
            Self::Address(url) => (url.path(), last(url.path())),
        };
        let stem = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending)?.strip_suffix('.'));
        Some(stem.unwrap_or(file)).filter(|stem| !stem.is_empty()).unwrap_or(name)
    }
}

impl Repository {
    /// `org--name`, which no other repository is called, as no part of a name has two dashes.
    pub(crate) fn plain_name(&self) -> String {
        self.name.replace('/', "--")
    }

    /// `org/name[:file][@revision]`, the two in any order.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let end = text.find([':', '@']).unwrap_or(text.len());
        let (name, mut rest) = text.split_at(end);
        let mut repository = Self::new(name)?;
        while let Some(mark) = rest.chars().next() {
            let body = &rest[1..];
            let end = body.find(if mark == ':' { '@' } else { ':' }).unwrap_or(body.len());
            let (value, after) = body.split_at(end);
            rest = after;
            match mark {
                ':' if is_path(value) => repository.file = Some(value.to_owned()),
                ':' => return Err("what stands behind `:` is no name of a file"),
                _ if is_path(value) => repository.revision = value.to_owned(),
                _ => return Err("what stands behind `@` is no branch, tag or commit"),
            }
        }
        Ok(repository)
    }

    /// `org/name/resolve/main/file` and the like.
    fn of_page(path: &str) -> Result<Self, &'static str> {
        let path = super::url::decoded(path);
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match parts.first() {
            Some(&"datasets") => return Err("it is a data set, not a model"),
            Some(&"spaces") => return Err("it is a space, not a model"),
            _ => {}
        }
        let view = parts.iter().take(3).position(|part| VIEWS.contains(part)).filter(|&at| at > 0);
        let name = parts[..view.unwrap_or(parts.len())].join("/");
        let mut repository = Self::new(&name)?;
        let mut rest = &parts[view.map_or(parts.len(), |at| at + 1)..];
        // `refs/pr/1` is one revision.
        let n = if rest.first() == Some(&"refs") { 3 } else { 1 };
        if !rest.is_empty() {
            let revision;
            (revision, rest) = rest.split_at(n.min(rest.len()));
            repository.revision = revision.join("/");
        }
        let file = rest.join("/");
        if !is_path(&repository.revision) || !file.is_empty() && !is_path(&file) {
            return Err("its address names no file of a repository");
        }
        repository.file = Some(file).filter(|file| !file.is_empty());
        Ok(repository)
    }

    fn new(name: &str) -> Result<Self, &'static str> {
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() > 2 || name.len() > 200 || !parts.iter().all(|part| is_name(part)) {
            return Err("a repository is written as org/name");
        }
        let (name, revision) = (name.to_owned(), "main".to_owned());
        Ok(Self { name, revision, file: None, bare: false })
    }
}

/// The path of a page below the hub's own address.
fn below<'a>(url: &'a Url, endpoint: &Url) -> Option<&'a str> {
    if !url.same_origin(endpoint) {
        return Some(url.path());
    }
    url.path().strip_prefix(endpoint.path().trim_end_matches('/'))
}

/// Whether a name ends like that of a file with weights.
fn is_model(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending))
}

/// The last part of a path.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A part of a repository's name, by the hub's own rule.
fn is_name(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let edge = |c: Option<char>| c.is_some_and(|c| c != '.' && c != '-');
    part.chars().all(plain)
        && edge(part.chars().next())
        && edge(part.chars().next_back())
        && !part.contains("--")
        && !part.contains("..")
}

/// Whether a name can only be a path below a folder, on any system.
pub(super) fn is_path(name: &str) -> bool {
    let plain =
        |c: char| !matches!(c, '\\' | ':' | '"' | '<' | '>' | '|' | '?' | '*') && !c.is_control();
    let part = |part: &str| !part.is_empty() && part.len() < 256 && part != "." && part != "..";
    name.len() < 1024 && name.chars().all(plain) && name.split('/').all(part)
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
