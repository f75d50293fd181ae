//! What the log does when whoever reads it stalls, comes back, or cannot be written to.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

use sluis::log::Queue;
use sluis::metrics::Metrics;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// The bound only ends a test that has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program's own log, into a pipe that nobody reads at first: who logs does not wait, the memory that it takes is bounded, and what is
/// missing is counted and told, to the line.
#[test]
fn a_reader_that_stalls_costs_lines_and_when_it_is_back_it_is_told_how_many() {
    let page = Metrics::install().unwrap();
    let (reader, pipe) = std::io::pipe().unwrap();
    let queue = Queue::start(pipe).unwrap();
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(Arc::clone(&queue)).init();
    let said = 100_000;
    for number in 0..said {
        tracing::info!(number, "a line of some hundred bytes, as the log of a gateway has them");
    }
    // The pipe is full, and so is the queue. Now somebody reads.
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    let (mut read, mut missing, mut bytes, mut last) = (0, 0, 0, None);
    while read + missing < said {
        let text = lines.recv_timeout(PATIENCE).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        if let Some(lost) = line["lines"].as_u64() {
            missing += lost;
        } else {
            let number = line["number"].as_u64();
            assert!(last < number, "in their order");
            last = number;
            read += 1;
        }
        bytes += text.len();
    }
    assert!(missing > 0 && read > 0);
    assert_eq!(read + missing, said, "each line is read or counted");
    assert!(bytes < 5 << 20, "{bytes} bytes were kept");
    let page = page.render();
    let counted = page.lines().find_map(|line| line.strip_prefix("sluis_log_lines_lost_total ")).unwrap().parse::<u64>().unwrap();
    // Another test of this file loses one as well.
    assert!((missing..=missing + 1).contains(&counted), "{counted} counted, {missing} told");
}

/// A disk that takes half a line and is full, fails for a while, and works again.
#[derive(Clone, Default)]
struct Disk {
    holds: Arc<Mutex<(Vec<u8>, Option<usize>)>>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let (holds, room) = &mut *self.holds.lock().unwrap();
        let fits = room.map_or(bytes.len(), |room| room.min(bytes.len()));
        if fits == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        *room = room.map(|room| room - fits);
        holds.extend_from_slice(&bytes[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_that_was_cut_off_spoils_no_other() {
    let disk = Disk::default();
    disk.holds.lock().unwrap().1 = Some("first\nsec".len());
    let queue = Queue::start(disk.clone()).unwrap();
    let says = |line: &str| (&*queue).write_all(line.as_bytes()).unwrap();
    let until = |text: &str| {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while disk.holds.lock().unwrap().0 != text.as_bytes() {
            assert!(tokio::time::Instant::now() < deadline, "it holds {:?}", String::from_utf8_lossy(&disk.holds.lock().unwrap().0));
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    says("first\n");
    says("second\n");
    until("first\nsec");
    disk.holds.lock().unwrap().1 = None;
    says("third\n");
    until("first\nsec\nthird\n");
    queue.end(PATIENCE);
}

#[test]
fn the_end_waits_until_all_is_written_but_not_for_a_reader_that_does_not_read() {
    let disk = Disk::default();
    let queue = Queue::start(disk.clone()).unwrap();
    for number in 0..1000 {
        (&*queue).write_all(format!("{number}\n").as_bytes()).unwrap();
    }
    queue.end(PATIENCE);
    assert!(disk.holds.lock().unwrap().0.ends_with(b"\n999\n"));
    let (_reader, pipe) = std::io::pipe().unwrap();
    let queue = Queue::start(pipe).unwrap();
    for _ in 0..1000 {
        (&*queue).write_all(&[b'x'; 1000]).unwrap();
    }
    let start = tokio::time::Instant::now();
    queue.end(Duration::from_millis(50));
    assert!(start.elapsed() < PATIENCE);
}
