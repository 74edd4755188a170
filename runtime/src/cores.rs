//! How many threads the machine is good for.

use std::collections::BTreeSet;
use std::path::Path;

/// Physical cores this process may use: threads of one core share its arithmetic units and its
/// way to memory, so a second one slows a region down more often than it helps.
///
/// Linux tells which threads share a core; elsewhere every logical processor counts.
pub(crate) fn available() -> usize {
    // Knows affinity and the quotas of containers.
    let logical = std::thread::available_parallelism().map_or(1, |n| n.get());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    physical(&status, Path::new("/sys/devices/system/cpu")).map_or(logical, |n| n.min(logical))
}

/// Cores with a processor that `status` allows; `None` where the system does not say.
fn physical(status: &str, cpus: &Path) -> Option<usize> {
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = BTreeSet::new();
    for cpu in parse_list(allowed)? {
        let topology = cpus.join(format!("cpu{cpu}/topology"));
        // A processor that is switched off has no topology.
        let Ok(core) = std::fs::read_to_string(topology.join("thread_siblings_list")) else {
            continue;
        };
        cores.insert(core);
    }
    (!cores.is_empty()).then_some(cores.len())
}

/// Numbers of a list such as `0-2,5`.
fn parse_list(list: &str) -> Option<Vec<usize>> {
    /// More processors than Linux can be built for.
    const LIMIT: usize = 1 << 14;
    let mut numbers = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > LIMIT {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_count_once_and_affinity_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        for (cpu, siblings) in ["0,4", "1,5", "2,6", "3,7"].iter().cycle().take(8).enumerate() {
            let topology = folder.path().join(format!("cpu{cpu}/topology"));
            std::fs::create_dir_all(&topology).unwrap();
            std::fs::write(topology.join("thread_siblings_list"), format!("{siblings}\n")).unwrap();
        }
        let count = |list: &str| {
            physical(&format!("Name:\tx\nCpus_allowed_list:\t{list}\n"), folder.path())
        };
        assert_eq!(count("0-7"), Some(4));
        assert_eq!(count("0-63"), Some(4));
        assert_eq!(count("0,4"), Some(1));
        assert_eq!(count("2-4,6"), Some(3));
        assert_eq!(count("8"), None);
        assert_eq!(count("nonsense"), None);
        assert_eq!(count("3-1"), None);
        assert_eq!(count("0-99999999"), None);
        assert_eq!(physical("", folder.path()), None);
        assert!(available() >= 1);
    }
}
