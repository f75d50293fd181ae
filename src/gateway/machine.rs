//! What the machine gives this process: memory and file descriptors. Where the operating system does not say (no `/proc`), nothing is limited.

use std::fs;
use std::os::fd::RawFd;

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

/// Has the operating system make its table of this process's descriptors long enough for so many connections. It grows by itself, to twice its length
/// each time, but a process of several threads waits 10 to 15 ms for that: the thread that accepts does, and every station on it.
pub(super) fn make_room_for(connections: usize) {
    let needed = (connections as u64).saturating_mul(2).saturating_add(RESERVE + POLITE);
    let last = needed.min(descriptors().unwrap_or(u64::MAX)).saturating_sub(1);
    if let Ok(last) = RawFd::try_from(last) {
        // For a moment, a descriptor with the last number of all: the table stays as long as that. Without it, it grows as it always has.
        drop(rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), last));
    }
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

    /// Regression: each time that the table of descriptors doubled, all stations on a thread waited 10 to 15 ms.
    #[test]
    fn the_table_of_descriptors_is_long_before_stations_come() {
        let length = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
            line.trim().parse::<u64>().unwrap()
        };
        // More than this process has needed so far, if it may have so many.
        let connections = room_for_connections().unwrap_or(usize::MAX).min(length() as usize + 1000);
        make_room_for(connections);
        assert!(length() >= 2 * connections as u64, "{} for {connections}", length());
        make_room_for(1);
        assert!(length() >= 2 * connections as u64, "it does not shrink");
    }

    #[test]
    fn each_connection_needs_two_descriptors_beside_the_reserve() {
        assert_eq!([1, 64, 96, 1024, 65_536].map(room), [1, 16, 24, 384, 32_576]);
        assert_eq!([1, 96, 1024, 65_536].map(refusals), [0, 12, 128, 256]);
        assert!(resident().is_none_or(|bytes| bytes > 1 << 20));
    }
}
