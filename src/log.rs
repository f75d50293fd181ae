//! The log's lines on their way to whoever reads them. Who has something to say never waits for the reader: a line is put into a queue, and
//! a thread of its own writes it. A reader that stalls (a full disk, a hung journal, a container's log driver) costs lines, which are
//! counted, and nothing else.

use crate::metrics;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most bytes that wait to be written: some eight thousand lines, as many as a storm of stations says while a busy reader catches up. The
/// thread that writes may hold as many again, and memory that grows by doubling takes up to twice what is in it: 8 MiB at the very most.
const ROOM: usize = 2 << 20;
/// The most memory that is kept for the next lines once a queue is empty.
const KEPT: usize = 64 << 10;
/// How long a reader that takes nothing at the moment, and says so, is left alone.
const PAUSE: Duration = Duration::from_millis(10);

/// Lines that wait to be written.
pub struct Queue {
    room: usize,
    lines: Mutex<Lines>,
    /// There is something to write, or no more will come.
    filled: Condvar,
    /// All is written.
    emptied: Condvar,
}

#[derive(Default)]
struct Lines {
    waiting: Vec<u8>,
    /// Whether the thread is at it.
    writing: bool,
    /// Lines lost that the log has not told of yet.
    lost: u64,
    ended: bool,
}

impl Queue {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        Self::with_room(ROOM, out)
    }

    fn with_room(room: usize, out: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self { room, lines: Mutex::default(), filled: Condvar::new(), emptied: Condvar::new() });
        let ours = Arc::clone(&queue);
        std::thread::Builder::new().name("sluis-log".into()).spawn(move || ours.write_to(out))?;
        Ok(queue)
    }

    /// Returns when all lines are written, but waits for the reader no longer than so. What is said after it is not written.
    pub fn end(&self, patience: Duration) {
        let mut lines = self.lines();
        lines.ended = true;
        self.filled.notify_one();
        let _ = self.emptied.wait_timeout_while(lines, patience, |lines| lines.writing || !lines.waiting.is_empty());
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: writes whatever has come, all of it at once, until no more will.
    fn write_to(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        // Whether the last line was cut off in its middle: what comes next must not be taken for the rest of it.
        let mut torn = false;
        let mut flows = true;
        while self.take(&mut taken) {
            if flows {
                self.tell();
            }
            let begun = !torn || write(&mut out, b"\n").is_empty();
            let left = if begun { write(&mut out, &taken) } else { &taken };
            if begun {
                torn = taken[..taken.len() - left.len()].last().is_some_and(|byte| *byte != b'\n');
            }
            flows = left.is_empty();
            if !flows {
                self.lose(lines_in(left));
            }
        }
    }

    /// Takes all that waits, as soon as there is something; `false` if there never will be.
    fn take(&self, taken: &mut Vec<u8>) -> bool {
        taken.clear();
        if taken.capacity() > KEPT {
            *taken = Vec::new();
        }
        let mut lines = self.lines();
        lines.writing = false;
        if lines.waiting.is_empty() {
            self.emptied.notify_all();
        }
        let mut lines =
            self.filled.wait_while(lines, |lines| lines.waiting.is_empty() && !lines.ended).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut lines.waiting, taken);
        lines.writing = !taken.is_empty();
        lines.writing
    }

    fn lose(&self, lost: u64) {
        self.lines().lost += lost;
        metrics::log_lines_lost(lost);
    }

    /// Says how much is missing. To be called when the queue has just been emptied: this line finds room, and stands where the others would.
    fn tell(&self) {
        let lost = std::mem::take(&mut self.lines().lost);
        if lost > 0 {
            tracing::warn!(lines = lost, "log lines are missing here: they could not be written, or not fast enough");
        }
    }
}

/// A line at a time, which is how the log comes.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines();
        if lines.waiting.len() + line.len() > self.room {
            drop(lines);
            self.lose(1);
        } else {
            let first = lines.waiting.is_empty();
            lines.waiting.extend_from_slice(line);
            drop(lines);
            // The thread looks again before it sleeps, so only the first line has to wake it.
            if first {
                self.filled.notify_one();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes, and returns what could not be.
fn write<'a>(out: &mut impl Write, mut rest: &'a [u8]) -> &'a [u8] {
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => break,
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A pipe that another process has set so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            Err(_) => break,
        }
    }
    rest
}

fn lines_in(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}
