//! A hub that is spoken to over TLS, with a certificate of an authority made for this test.
//!
//! `openssl` made both (`server/tls`); the authority's key was thrown away.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod server;

use std::io::{BufRead, BufReader, Read, Write, copy};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use server::machine::{Machine, fails, succeeds};

/// Passes requests on to `hub`; gives the address that speaks TLS.
fn secured(hub: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/tls");
    let certificate = CertificateDer::from_pem_file(folder.join("localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("localhost.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let (config, hub) = (Arc::new(config), hub.trim_start_matches("http://").to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let hub = hub.clone();
            // A client that does not trust the server leaves, and that is no failure of it.
            thread::spawn(move || pass(StreamOwned::new(connection, stream), &hub).ok());
        }
    });
    format!("https://localhost:{port}")
}

fn pass(client: impl Read + Write, hub: &str) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && client.read_line(&mut head)? > 0 {}
    let mut hub = TcpStream::connect(hub)?;
    hub.write_all(head.as_bytes())?;
    copy(&mut hub, client.get_mut())?;
    client.get_mut().flush()
}

#[test]
fn certificates_are_checked() {
    let machine = Machine::with("llama");
    let address = secured(&machine.hub.address);
    let pull = || {
        let mut command = machine.command(&["pull", "hf:org/name"]);
        command.env("HF_ENDPOINT", &address);
        command
    };
    let message = fails(&mut pull());
    assert!(message.contains("certificate") && message.contains("SSL_CERT_FILE"), "{message}");
    assert_eq!(machine.hub.requests().len(), 0);

    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/tls/authority.pem");
    succeeds(pull().env("SSL_CERT_FILE", authority));
    assert!(machine.repository().join("refs/main").is_file());
}
