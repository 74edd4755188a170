//! A small web server for pages of this machine: files with ranges, entity tags, and the headers that
//! isolate a page, so that it may share memory between threads.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::UNIX_EPOCH;

use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

use crate::failure::Failure;

/// A browser asks for a few files at a time.
const THREADS: usize = 4;

/// Finds, or makes, a file when it is asked for.
type Find = Box<dyn Fn() -> Option<PathBuf> + Send + Sync>;

/// Files under paths.
pub(crate) struct Site {
    root: PathBuf,
    folders: Vec<(String, PathBuf)>,
    files: Vec<(String, Find)>,
}

/// What a request is answered with.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    /// The file and its bytes to send, from where on.
    body: Option<(File, u64, u64)>,
}

impl Site {
    /// A site of the files in `root`; `index.html` is its first page.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, folders: Vec::new(), files: Vec::new() }
    }

    /// Puts the files of a folder under `/name/`.
    pub(crate) fn folder(&mut self, name: &str, folder: PathBuf) {
        self.folders.push((format!("{name}/"), folder));
    }

    /// Puts under `/path` the file that `find` gives when it is asked for.
    pub(crate) fn file(
        &mut self,
        path: &str,
        find: impl Fn() -> Option<PathBuf> + Send + Sync + 'static,
    ) {
        self.files.push((path.to_owned(), Box::new(find)));
    }

    /// Serves to this machine alone until the process ends; tells the port when it is ready.
    pub(crate) fn serve(&self, port: u16, ready: impl FnOnce(u16)) -> Result<(), Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = Server::http(address).map_err(|error| {
            Failure::new(format!(
                "cannot listen on port {port}: {error}; choose another with --port"
            ))
        })?;
        ready(server.server_addr().to_ip().map_or(port, |address| address.port()));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Ok(request) = server.recv() {
                        self.respond(request);
                    }
                });
            }
        });
        Ok(())
    }

    fn respond(&self, request: Request) {
        let header = |name: &'static str| {
            let found = request.headers().iter().find(|header| header.field.equiv(name));
            found.map(|header| header.value.as_str())
        };
        let known = matches!(request.method(), Method::Get | Method::Head);
        let path = if known { self.locate(request.url()) } else { None };
        let answer = path
            .and_then(|path| {
                answer(&path, header("range"), header("if-range"), header("if-none-match")).ok()
            })
            .unwrap_or(Answer { status: 404, headers: Vec::new(), body: None });
        let headers = answer
            .headers
            .iter()
            .filter_map(|(name, value)| Header::from_bytes(name.as_bytes(), value.as_bytes()).ok())
            .collect();
        let (body, length): (Box<dyn Read + Send>, u64) = match answer.body {
            Some((file, from, length)) => match from_position(file, from) {
                Ok(file) => (Box::new(file.take(length)), length),
                Err(_) => return,
            },
            None => (Box::new(std::io::empty()), 0),
        };
        let length = usize::try_from(length).ok();
        let response = Response::new(StatusCode(answer.status), headers, body, length, None)
            .with_chunked_threshold(usize::MAX);
        // A visitor who has left is no matter.
        let _ = request.respond(response);
    }

    /// The file that a request's path stands for.
    fn locate(&self, url: &str) -> Option<PathBuf> {
        let path = url.split(['?', '#']).next()?.strip_prefix('/')?;
        if let Some((_, find)) = self.files.iter().find(|(name, _)| name == path) {
            return find();
        }
        let folder = self
            .folders
            .iter()
            .find_map(|(name, folder)| path.strip_prefix(name.as_str()).map(|rest| (folder, rest)));
        let (folder, rest) = folder.unwrap_or((&self.root, path));
        let rest = Path::new(if rest.is_empty() { "index.html" } else { rest });
        let inside = rest.components().all(|part| matches!(part, Component::Normal(_)));
        inside.then(|| folder.join(rest))
    }
}

fn from_position(mut file: File, from: u64) -> std::io::Result<File> {
    file.seek(SeekFrom::Start(from))?;
    Ok(file)
}

/// Answers a request for a file. Of ranges, `bytes=N-` is understood: the rest of a download.
fn answer(
    path: &Path,
    range: Option<&str>,
    if_range: Option<&str>,
    if_none_match: Option<&str>,
) -> std::io::Result<Answer> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    let size = metadata.len();
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let tag = format!("\"{size:x}-{:x}\"", modified.as_nanos());
    let mut headers = vec![
        ("Content-Type", media_type(path).to_owned()),
        ("Accept-Ranges", "bytes".to_owned()),
        ("Cache-Control", "no-cache".to_owned()),
        ("Cross-Origin-Opener-Policy", "same-origin".to_owned()),
        ("Cross-Origin-Embedder-Policy", "require-corp".to_owned()),
        ("Cross-Origin-Resource-Policy", "same-origin".to_owned()),
    ];
    let same = if_none_match == Some(tag.as_str());
    let asked = range
        .filter(|_| if_range.is_none_or(|wanted| wanted == tag))
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<u64>().ok());
    headers.push(("ETag", tag));
    if same {
        return Ok(Answer { status: 304, headers, body: None });
    }
    Ok(match asked {
        Some(from) if from >= size => {
            headers.push(("Content-Range", format!("bytes */{size}")));
            Answer { status: 416, headers, body: None }
        }
        Some(from) => {
            headers.push(("Content-Range", format!("bytes {from}-{}/{size}", size - 1)));
            Answer { status: 206, headers, body: Some((file, from, size - from)) }
        }
        None => Answer { status: 200, headers, body: Some((file, 0, size)) },
    })
}

fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.kinglet");
        std::fs::write(&path, b"0123456789").unwrap();
        (folder, path)
    }

    fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
        answer.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn the_rest_of_a_download_is_sent_if_the_file_is_the_same() {
        let (_folder, path) = sample();
        let whole = answer(&path, None, None, None).unwrap();
        let tag = header(&whole, "ETag").unwrap();
        assert_eq!((whole.status, whole.body.as_ref().unwrap().2), (200, 10));

        let rest = answer(&path, Some("bytes=4-"), Some(tag), None).unwrap();
        assert_eq!(rest.status, 206);
        assert_eq!(header(&rest, "Content-Range"), Some("bytes 4-9/10"));
        assert!(matches!(rest.body, Some((_, 4, 6))));

        let other = answer(&path, Some("bytes=4-"), Some("\"other\""), None).unwrap();
        assert_eq!((other.status, other.body.unwrap().2), (200, 10));
        assert_eq!(answer(&path, Some("bytes=10-"), None, None).unwrap().status, 416);
        assert_eq!(answer(&path, None, None, Some(tag)).unwrap().status, 304);
    }

    #[test]
    fn paths_stay_inside() {
        let (folder, path) = sample();
        let mut site = Site::new(folder.path().to_owned());
        site.folder("inner", folder.path().join("inner"));
        let file = path.clone();
        site.file("models/a", move || Some(file.clone()));
        site.file("models/none", || None);
        assert_eq!(site.locate("/models/a?x=1"), Some(path));
        assert_eq!(site.locate("/models/none"), None);
        assert_eq!(site.locate("/"), Some(folder.path().join("index.html")));
        assert_eq!(site.locate("/inner/b"), Some(folder.path().join("inner/b")));
        for outside in
            ["/../secret", "/inner/../../secret", "//etc/passwd", "/inner//etc/passwd", "x"]
        {
            assert_eq!(site.locate(outside), None, "{outside}");
        }
    }
}
