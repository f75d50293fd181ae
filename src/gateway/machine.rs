//! What the machine gives this process: memory and file descriptors. Where the operating system does not say (no `/proc`), nothing is limited.

use std::fs;

/// File descriptors that are kept for everything else: the store, both other ports, OCPI, logs.
const RESERVE: u64 = 128;
/// The most connections that are being refused in words; one in eight descriptors where there are few.
const POLITE: u64 = 256;

/// Memory of this process that is resident, in bytes.
pub(super) fn resident() -> Option<u64> {
    // In kilobytes there, whatever the size of a page is.
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// How many descriptors this process may have open (the soft `RLIMIT_NOFILE`); `None` if there is no limit or nobody says.
fn descriptors() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many connections have descriptors: two for each, after the reserve, which is at most half of what there is.
pub(super) fn room_for_connections() -> Option<usize> {
    descriptors().map(room)
}

/// How many connections may be refused in words at a time.
pub(super) fn room_for_refusals() -> usize {
    refusals(descriptors().unwrap_or(u64::MAX)) as usize
}

fn refusals(descriptors: u64) -> u64 {
    POLITE.min(descriptors / 8)
}

fn room(descriptors: u64) -> usize {
    let reserve = (RESERVE + refusals(descriptors)).min(descriptors / 2);
    usize::try_from((descriptors - reserve) / 2).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_needs_two_descriptors_beside_the_reserve() {
        assert_eq!([1, 64, 96, 1024, 65_536].map(room), [1, 16, 24, 384, 32_576]);
        assert_eq!([1, 96, 1024, 65_536].map(refusals), [0, 12, 128, 256]);
        assert!(resident().is_none_or(|bytes| bytes > 1 << 20));
    }
}
