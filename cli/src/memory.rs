//! What the process takes of the machine's memory, as the kernel counts it.

use std::sync::OnceLock;

use crate::units;

/// What the program took before there was a model, where the system tells.
static PROGRAM: OnceLock<Option<Memory>> = OnceLock::new();

/// Memory of this process in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Most that was resident at a time, mapped files included.
    pub(crate) peak: u64,
    /// Resident now and belonging to this process alone.
    pub(crate) private: u64,
}

/// The figures, on systems that publish them under `/proc`.
pub(crate) fn measure() -> Option<Memory> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes = line.trim_start_matches(':').trim().strip_suffix("kB")?;
        kilobytes.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { peak: field("VmHWM")?, private: field("RssAnon")? })
}

/// What the program takes by itself: what it took when this was first called, which must be before
/// a model is opened.
pub(crate) fn program() -> Option<Memory> {
    *PROGRAM.get_or_init(measure)
}

/// The figures in words, empty where they are not known.
pub(crate) fn describe() -> String {
    measure().map_or_else(String::new, |memory| {
        let (peak, private) = (units::bytes(memory.peak), units::bytes(memory.private));
        format!("peak memory {peak} ({private} private)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_in_kilobytes() {
        let status = "Name:\tkinglet\nVmHWM:\t  2048 kB\nRssAnon:\t     10 kB\n";
        let memory = parse(status).unwrap();
        assert_eq!((memory.peak, memory.private), (2_097_152, 10_240));
        assert!(parse("Name:\tkinglet\n").is_none());
    }
}
