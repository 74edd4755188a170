//! What the environment says about the hub, by the names that its own tools use.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Error;
use super::url::Url;

/// The hub itself.
const ENDPOINT: &str = "https://huggingface.co";
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Whether the command line forbids to fetch anything.
static OFFLINE: AtomicBool = AtomicBool::new(false);

/// Fetches nothing from now on, as `--offline` asks for.
pub(crate) fn go_offline() {
    OFFLINE.store(true, Ordering::Relaxed);
}

/// Whether nothing may be fetched: by `--offline`, or by the hub's own variables.
pub(crate) fn is_offline() -> bool {
    let named = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"];
    OFFLINE.load(Ordering::Relaxed) || named.iter().any(|name| is_true(variable(name)))
}

/// Where the hub is.
pub(super) fn this_endpoint() -> Result<Url, Error> {
    endpoint(variable("HF_ENDPOINT"))
}

fn endpoint(named: Option<OsString>) -> Result<Url, Error> {
    let named = named.map(|value| value.to_string_lossy().into_owned());
    Url::parse(named.as_deref().unwrap_or(ENDPOINT))
        .map_err(|reason| setting("HF_ENDPOINT", reason))
}

/// Where the hub is, who asks, and where files are kept.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) endpoint: Url,
    pub(super) token: Option<String>,
    pub(super) token_file: PathBuf,
    /// The folder with `models--org--name`, which other tools share.
    pub(super) cache: PathBuf,
    pub(super) offline: bool,
    /// How long a connection may be silent.
    pub(super) silence: Duration,
    /// Certificates to trust instead of those that come along, in PEM.
    pub(super) certificates: Option<PathBuf>,
}

impl Settings {
    /// Of this process.
    pub(super) fn read() -> Result<Self, Error> {
        Ok(Self { offline: is_offline(), ..Self::of(variable, env::home_dir())? })
    }

    fn of(read: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Result<Self, Error> {
        let path =
            |name: &str| read(name).map(|value| from_home(PathBuf::from(value), home.as_deref()));
        let text = |name: &str| -> Result<Option<String>, Error> {
            let not_text = |_| setting(name, "it is not UTF-8");
            read(name).map(|value| value.into_string().map_err(not_text)).transpose()
        };
        let root = path("HF_HOME").or_else(|| {
            let caches =
                path("XDG_CACHE_HOME").or_else(|| Some(home.as_deref()?.join(".cache")))?;
            Some(caches.join("huggingface"))
        });
        let root = root.ok_or_else(|| {
            setting(
                "HF_HOME",
                "the environment names no home folder; set it to a folder with room for models",
            )
        })?;
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| root.join("token"));
        Ok(Self {
            endpoint: endpoint(read("HF_ENDPOINT"))?,
            token: match text("HF_TOKEN")?.or(text("HUGGING_FACE_HUB_TOKEN")?) {
                Some(token) => checked("HF_TOKEN", &token)?,
                None if is_true(read("HF_HUB_DISABLE_IMPLICIT_TOKEN")) => None,
                None => match fs::read_to_string(&token_file) {
                    Ok(token) => checked(&token_file.display().to_string(), &token)?,
                    Err(_) => None,
                },
            },
            token_file,
            cache: path("HF_HUB_CACHE")
                .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| root.join("hub")),
            offline: false,
            silence: match text("HF_HUB_DOWNLOAD_TIMEOUT")? {
                None => SILENCE,
                Some(seconds) => match seconds.parse() {
                    Ok(seconds @ 1..=86_400) => Duration::from_secs(seconds),
                    _ => {
                        return Err(setting(
                            "HF_HUB_DOWNLOAD_TIMEOUT",
                            "it is no number of seconds",
                        ));
                    }
                },
            },
            certificates: path("SSL_CERT_FILE"),
        })
    }
}

/// A token goes into a line of a request, and nothing else may.
fn checked(place: &str, token: &str) -> Result<Option<String>, Error> {
    let token = token.trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(setting(place, "the token in it has characters that no token has"));
    }
    Ok(Some(token.to_owned()).filter(|token| !token.is_empty()))
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn setting(what: &str, reason: &str) -> Error {
    Error::Setting { what: what.to_owned(), reason: reason.to_owned() }
}

/// A path whose `~` is the home folder.
fn from_home(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

fn is_true(value: Option<OsString>) -> bool {
    let value = value.unwrap_or_default().to_string_lossy().to_ascii_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Settings, Error> {
        let read = |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        Settings::of(read, Some(PathBuf::from("/home/me")))
    }

    #[test]
    fn the_hubs_own_variables_count() {
        let settings = of(&[]).unwrap();
        assert_eq!(settings.endpoint.to_string(), "https://huggingface.co/");
        assert_eq!(settings.cache, Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!(settings.token, None);
        assert_eq!(of(&[("HF_HOME", "~/hf")]).unwrap().cache, Path::new("/home/me/hf/hub"));
        let both =
            of(&[("HF_HOME", "/a"), ("HF_HUB_CACHE", "/b"), ("HF_TOKEN", " hf_x\n")]).unwrap();
        assert_eq!((both.cache.as_path(), both.token.as_deref()), (Path::new("/b"), Some("hf_x")));
        assert_eq!(both.token_file, Path::new("/a/token"));
    }

    #[test]
    fn the_token_may_be_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        assert_eq!(of(&[("HF_HOME", home)]).unwrap().token.as_deref(), Some("hf_file"));
        let named = of(&[("HF_HOME", home), ("HF_TOKEN", "hf_env")]).unwrap();
        assert_eq!(named.token.as_deref(), Some("hf_env"));
        let without = of(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).unwrap();
        assert_eq!(without.token, None);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, value) in [
            ("HF_ENDPOINT", "http://mirror.example"),
            ("HF_ENDPOINT", "mirror"),
            ("HF_TOKEN", "a b"),
            ("HF_TOKEN", "a\r\nHost: x"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "soon"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "0"),
        ] {
            let error = of(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
