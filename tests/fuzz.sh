#!/usr/bin/env bash
# Runs the fuzz targets one after the other (fuzz/README.md): tests/fuzz.sh [SECONDS OF EACH] [TARGET ...]. Stops at the first finding, whose
# input is then in fuzz/artifacts. Needs a C++ compiler; installs cargo-fuzz into the target directory if it is not there.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' fuzz/Cargo.toml)

tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")
PATH=$PATH:$tools/bin
command -v cargo-fuzz >/dev/null || cargo install --quiet --locked --version 0.13.2 --root "$tools" cargo-fuzz

# The sanitizer and the coverage counters are options of the nightly compiler; this lets the stable one take them too.
export RUSTC_BOOTSTRAP=1
for target in "${targets[@]}"; do
    corpus=fuzz/target/corpus/$target
    cargo run --quiet --locked --example fuzz_corpus -- unpack "$target" "$corpus"
    cargo fuzz run "$target" "$corpus" -- -max_total_time="$seconds" -max_len=4096 -timeout=10 -print_final_stats=1
done
