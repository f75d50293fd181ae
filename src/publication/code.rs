//! Which code made a release: the program's version, and a digest of the sources that make figures of sessions, so that an entry of the ledger
//! names the text that anybody can read. It needs no build script and no version control: the sources are in the program.
//!
//! Anybody can compute it: `cat src/publication/gathering.rs src/publication/people.rs $(find src/stats.rs src/stats -name '*.rs' | LC_ALL=C sort) | sha256sum`

use crate::stats::Digest;
use std::sync::OnceLock;

/// The sources, in the order of their paths as bytes: who is one person, what each adds, and all that becomes of it until it is published.
const SOURCES: [&[u8]; 21] = [
    include_bytes!("gathering.rs"),
    include_bytes!("people.rs"),
    include_bytes!("../stats.rs"),
    include_bytes!("../stats/arithmetic.rs"),
    include_bytes!("../stats/clip.rs"),
    include_bytes!("../stats/contribution.rs"),
    include_bytes!("../stats/display.rs"),
    include_bytes!("../stats/exact.rs"),
    include_bytes!("../stats/exact/hierarchy.rs"),
    include_bytes!("../stats/exact/intervals.rs"),
    include_bytes!("../stats/exact/unions.rs"),
    include_bytes!("../stats/exact/withholding.rs"),
    include_bytes!("../stats/figures.rs"),
    include_bytes!("../stats/geography.rs"),
    include_bytes!("../stats/ledger.rs"),
    include_bytes!("../stats/noise.rs"),
    include_bytes!("../stats/parameters.rs"),
    include_bytes!("../stats/period.rs"),
    include_bytes!("../stats/release.rs"),
    include_bytes!("../stats/rows.rs"),
    include_bytes!("../stats/table.rs"),
];

/// What the ledger and manifests name: `sluis 0.1.0, sources` and the SHA-256 of the sources one after another.
pub fn code() -> &'static str {
    static CODE: OnceLock<String> = OnceLock::new();
    CODE.get_or_init(|| format!("sluis {}, sources {}", env!("CARGO_PKG_VERSION"), Digest::of(&SOURCES.concat())))
}
