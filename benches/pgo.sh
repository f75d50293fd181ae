#!/usr/bin/env bash
# Builds sluis by a profile of its own work: an instrumented build serves the traffic of benches/relay, and what it did guides a second build.
# A tenth less CPU, for three builds more (docs/performance.md). Wants llvm-profdata of rustc's LLVM or a newer one: LLVM_PROFDATA,
# `rustup component add llvm-tools`, or the distribution's package. Ends with the path of the program.
set -euo pipefail
cd "$(dirname "$0")/.."
merge=${LLVM_PROFDATA:-$(compgen -G "$(rustc --print sysroot)/lib/rustlib/*/bin/llvm-profdata" || command -v llvm-profdata || true)}
if ! "$merge" merge --version >/dev/null 2>&1 && ! "$merge" --version >/dev/null 2>&1; then
  echo "llvm-profdata is not there: name it with LLVM_PROFDATA" >&2
  exit 1
fi
work=$PWD/target/pgo
rm -rf "$work/raw"
RUSTFLAGS="-Cprofile-generate=$work/raw" cargo build --release --locked --bin sluis --target-dir "$work/trained"
for traffic in "" unbilled; do
  # shellcheck disable=SC2086 # one word or none
  BENCH_BINARY="$work/trained/release/sluis" cargo bench --locked --bench relay -- $traffic cpu sluis
done
"$merge" merge -o "$work/sluis.profdata" "$work"/raw/*.profraw
RUSTFLAGS="-Cprofile-use=$work/sluis.profdata" cargo build --release --locked --bin sluis --target-dir "$work/guided"
echo "$work/guided/release/sluis"
