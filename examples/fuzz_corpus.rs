//! Packs and unpacks the corpus of the fuzz targets (`fuzz/README.md`).
//!
//! `unpack TARGET DIRECTORY` writes the seeds and what was kept of a target as files; `pack TARGET DIRECTORY` keeps the files of a directory, smallest
//! first, as far as they fit.

use sluis::fuzz::corpus;
use std::path::{Path, PathBuf};

/// Bytes that are kept of one target.
const MOST: usize = 400 << 10;
/// Inputs larger than this are not kept: they say little that a smaller one does not.
const LARGEST: usize = 8 << 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, target, directory] = &arguments[..] else { return Err("usage: unpack|pack TARGET DIRECTORY".into()) };
    let kept = PathBuf::from(format!("fuzz/corpus/{target}.pack"));
    match what.as_str() {
        "unpack" => {
            std::fs::create_dir_all(directory)?;
            let packed = std::fs::read(&kept).unwrap_or_default();
            let packed = corpus::unpack(&packed).ok_or("the packed file is damaged")?;
            for (number, input) in corpus::seeds(target).into_iter().chain(packed).enumerate() {
                std::fs::write(Path::new(directory).join(format!("seed-{number:05}")), input)?;
            }
        }
        "pack" => {
            let seeds = corpus::seeds(target);
            let mut inputs = Vec::new();
            for entry in std::fs::read_dir(directory)? {
                let input = std::fs::read(entry?.path())?;
                if input.len() <= LARGEST && !seeds.contains(&input) {
                    inputs.push(input);
                }
            }
            inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
            inputs.dedup();
            let mut size = 0;
            inputs.retain(|input| {
                size += input.len() + 4;
                size <= MOST
            });
            std::fs::create_dir_all("fuzz/corpus")?;
            std::fs::write(kept, corpus::pack(&inputs))?;
        }
        _ => return Err("usage: unpack|pack TARGET DIRECTORY".into()),
    }
    Ok(())
}
