//! The `[frames]` section: what a station's conversation may weigh, how fast it may come, how long an answer is waited for.

use super::file::Reader;
use crate::session::{Allowance, Bounds};
use std::time::Duration;

/// Reads the section. `max_frame` is the most bytes of any frame.
pub(super) fn read(reader: &mut Reader<'_>, max_frame: usize) -> Bounds {
    let Bounds { short, middle, patience, station } = Bounds::default();
    let bounds = Bounds {
        short: reader.number("frames.short_bytes", short as u64, 1024, 1 << 20) as usize,
        middle: reader.number("frames.middle_bytes", middle as u64, 1024, 16 << 20) as usize,
        patience: Duration::from_secs(reader.number("frames.answer_seconds", patience.as_secs(), 30, 3600)),
        station: Allowance {
            burst: reader.number("frames.burst", station.burst.into(), 100, 10_000_000) as u32,
            per_second: reader.number("frames.per_second", station.per_second.into(), 1, 100_000) as u32,
            bytes_per_frame: reader.number("frames.bytes_per_frame", station.bytes_per_frame.into(), 64, 1 << 20) as u32,
            patience: Duration::from_secs(reader.number("frames.flood_seconds", station.patience.as_secs(), 1, 86_400)),
        },
    };
    if bounds.short > bounds.middle {
        reader.mistake("frames.short_bytes", "must not be more than frames.middle_bytes");
    }
    // A small limit on all frames is one on these too; that needs no second key.
    Bounds { short: bounds.short.min(max_frame), middle: bounds.middle.min(max_frame), ..bounds }
}
