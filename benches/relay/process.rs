//! What a process and its children cost: CPU time and resident memory, from /proc.

use std::fs;
use std::process::{Child, Command};

/// The core that what is measured runs on; everything else runs on core 0.
pub(crate) const MEASURED_CORE: usize = 1;

/// A process that is measured, with its children. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Kept so that the child's standard output stays open.
    pub(crate) pid: u32,
}

impl Process {
    pub(crate) fn new(child: Child) -> Self {
        let pid = child.id();
        Self { child, pid }
    }

    fn family(&self) -> Vec<u32> {
        let mut pids = vec![self.pid];
        let mut at = 0;
        while at < pids.len() {
            let path = format!("/proc/{0}/task/{0}/children", pids[at]);
            let children = fs::read_to_string(path).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|p| p.parse::<u32>().ok()));
            at += 1;
        }
        pids
    }

    /// CPU time used so far by all threads, those that have ended too, in microseconds; exact to a hundredth of a second.
    pub(crate) fn cpu(&self) -> f64 {
        let of = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |at: usize| fields.get(at).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
            ticks(11) + ticks(12)
        };
        // A tick is a hundredth of a second on every Linux that matters.
        self.family().into_iter().map(of).sum::<f64>() * 10_000.0
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        descriptors(&self.family())
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> f64 {
        let of = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default().to_owned();
            line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0)
        };
        self.family().into_iter().map(of).sum()
    }
}

/// Open descriptors of some processes together.
pub(crate) fn descriptors(pids: &[u32]) -> usize {
    pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok()).map(Iterator::count).sum()
}

impl Drop for Process {
    fn drop(&mut self) {
        // Children first: nginx's master starts them again otherwise.
        let _ = Command::new("kill").args(["-TERM", &self.pid.to_string()]).status();
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells children of this program how many cores there are: one that runs on one of them only sees one.
const CORES: &str = "SLUIS_BENCH_CORES";

/// Cores of the machine that this program was started on.
#[expect(clippy::disallowed_methods, reason = "a bench has no configuration")]
pub(crate) fn cores() -> usize {
    let told = std::env::var(CORES).ok().and_then(|n| n.parse().ok());
    told.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// A command that runs on one core only, where the machine has two and `taskset`.
pub(crate) fn pinned(program: &str, core: usize) -> Command {
    let cores = cores();
    let mut command = if cores > 1 && Command::new("taskset").arg("-V").output().is_ok() {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string(), program]);
        command
    } else {
        Command::new(program)
    };
    command.env(CORES, cores.to_string());
    command
}
