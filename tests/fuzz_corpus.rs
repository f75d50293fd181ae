//! The fuzz targets without a fuzzer: their seeds, the corpus that is kept in `fuzz/corpus`, and some thousand inputs by chance.
#![cfg(feature = "fuzz")]

use sluis::fuzz::{Body, TARGETS, corpus};
use std::path::Path;

fn body(name: &str) -> Body {
    TARGETS.iter().find(|(target, _)| *target == name).unwrap().1
}

/// Says which input it was before the panic goes on.
fn replay(name: &str, what: &str, input: &[u8]) {
    let body = body(name);
    if let Err(panic) = std::panic::catch_unwind(|| body(input)) {
        eprintln!("{name}, {what}: {}", input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

fn kept(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/corpus/{name}.pack"));
    let packed = std::fs::read(&path).unwrap_or_else(|_| panic!("{} is missing", path.display()));
    corpus::unpack(&packed).unwrap()
}

/// Seeds, then what was kept, then inputs by chance: noise, and seeds with a few bytes changed, cut or joined.
fn try_all(name: &str, chances: u64) {
    let seeds = corpus::seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    let kept = kept(name);
    for (number, input) in seeds.iter().enumerate() {
        replay(name, &format!("seed {number}"), input);
    }
    for (number, input) in kept.iter().enumerate() {
        replay(name, &format!("kept {number}"), input);
    }
    for seed in 0..chances {
        let mut dice = corpus::noise(seed, 16);
        let mut roll = |sides: usize| {
            let (high, low) = (dice.pop().unwrap_or_default(), dice.pop().unwrap_or_default());
            (usize::from(high) << 8 | usize::from(low)) % sides.max(1)
        };
        let mut input = match roll(3) {
            0 => corpus::noise(seed, 20 + roll(400)),
            _ => seeds[roll(seeds.len())].clone(),
        };
        for _ in 0..roll(4) {
            let at = roll(input.len());
            match roll(4) {
                0 => input.truncate(at),
                1 => input.insert(at.min(input.len()), roll(256) as u8),
                _ => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (seed % 8)),
            }
        }
        replay(name, &format!("chance {seed}"), &input);
    }
}

#[test]
fn every_target_has_a_binary_and_a_corpus() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
        let binary = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(binary.contains(&format!("sluis::fuzz::{name}::run")), "{name} runs another body");
        kept(name);
    }
    let size: u64 = std::fs::read_dir(fuzz.join("corpus")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(size < 3 << 20, "the corpus has grown to {size} bytes");
}

#[test]
fn frame() {
    try_all("frame", 5000);
}

#[test]
fn treat() {
    try_all("treat", 3000);
}

#[test]
fn session() {
    try_all("session", 1000);
}

#[test]
fn policy() {
    try_all("policy", 200);
}

#[test]
fn handshake() {
    try_all("handshake", 5000);
}

#[test]
fn vault() {
    try_all("vault", 1500);
}

#[test]
fn websocket() {
    try_all("websocket", 5000);
}

#[test]
fn ocpi() {
    try_all("ocpi", 1500);
}
