//! Addresses: as much of them as a download needs.

use std::fmt;
use std::net::IpAddr;

/// `https://host:port/path?query`, or the same with `http` on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    secure: bool,
    /// Host and, unless it is the usual one, port, in lower case.
    authority: String,
    /// Begins with a slash.
    path: String,
    query: Option<String>,
}

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    /// If it is no address, holds a password, or is not encrypted and leads to another machine.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("it has no `https://`")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("only https is spoken"),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it has characters that an address cannot have");
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.contains('@') {
            return Err("it holds a name or a password");
        }
        let authority = authority.to_ascii_lowercase();
        let usual = if secure { ":443" } else { ":80" };
        let authority = authority.strip_suffix(usual).unwrap_or(&authority).to_owned();
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        let url = Self { secure, authority, path, query };
        if url.host().is_empty() {
            return Err("it has no host");
        }
        if !secure && !url.is_loopback() {
            return Err("it is not encrypted; write https");
        }
        Ok(url)
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The path, from its first slash.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Host without a port.
    fn host(&self) -> &str {
        match self.authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, _)) => host,
            None => self.authority.split(':').next().unwrap_or_default(),
        }
    }

    /// Whether it leads to this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether two addresses are of one server.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.secure == other.secure && self.authority == other.authority
    }

    /// An address below this one, by its path from a slash on, and its query.
    pub(super) fn below(&self, path: &str, query: Option<&str>) -> Self {
        let path = format!("{}{path}", self.path.trim_end_matches('/'));
        Self { path, query: query.map(str::to_owned), ..self.clone() }
    }

    /// A file in the folder of this one.
    pub(super) fn beside(&self, file: &str) -> Self {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        Self { path: format!("{folder}/{}", encoded(file, true)), query: None, ..self.clone() }
    }

    /// Where a server sends those who ask for this address.
    pub(super) fn join(&self, location: &str) -> Result<Self, &'static str> {
        let scheme = if self.secure { "https" } else { "http" };
        let target = if location.contains("://") {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{}{location}", self.authority)
        } else {
            let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{}{folder}/{location}", self.authority)
        };
        let target = Self::parse(&target)?;
        if target.is_loopback() && !self.is_loopback() {
            return Err("it leads from another machine to this one");
        }
        Ok(target)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

/// A text as it stands in an address; slashes stay if they are `separators`.
pub(super) fn encoded(text: &str, separators: bool) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || separators && byte == b'/'
    };
    let mut encoded = String::new();
    for byte in text.bytes() {
        match plain(byte) {
            true => encoded.push(byte.into()),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The text of a part of an address; what is not UTF-8 then is replaced.
pub(super) fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|&digit| (digit as char).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((16 * high + low) as u8);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in
            ["https://a.b/c/d?e=f", "https://a.b:8443/", "http://127.0.0.1:80/x", "http://[::1]:5/"]
        {
            let url = Url::parse(text).unwrap();
            assert_eq!(Url::parse(&url.to_string()), Ok(url.clone()), "{text}");
        }
        assert_eq!(Url::parse("HTTPS://A.B:443").unwrap().to_string(), "https://a.b/");
        for text in [
            "http://a.b/c",
            "ftp://a.b/",
            "https://",
            "https:///x",
            "https://me:pw@a.b/",
            "https://a b/",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        // A name that only begins like this machine's.
        assert!(Url::parse("http://localhost.example/").is_err());
        assert!(Url::parse("http://127.0.0.1.example/").is_err());
    }

    #[test]
    fn redirects_lead_where_they_may() {
        let from = Url::parse("https://a.b/c/d?e").unwrap();
        for (location, expected) in [
            ("https://x.y/z", "https://x.y/z"),
            ("//x.y/z", "https://x.y/z"),
            ("/z?q", "https://a.b/z?q"),
            ("z", "https://a.b/c/z"),
        ] {
            assert_eq!(from.join(location).unwrap().to_string(), expected);
        }
        for location in
            ["http://a.b/", "https://localhost/", "http://127.0.0.1/", "file:///etc/passwd"]
        {
            assert!(from.join(location).is_err(), "{location}");
        }
        let local = Url::parse("http://127.0.0.1:9/a").unwrap();
        assert!(local.join("http://localhost:8/").is_ok());
    }

    #[test]
    fn texts_are_encoded() {
        assert_eq!(encoded("a b/ü", true), "a%20b/%C3%BC");
        assert_eq!(encoded("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(decoded("refs%2Fpr%2F1%"), "refs/pr/1%");
    }
}
