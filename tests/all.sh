#!/usr/bin/env bash
# Every check of this repository, the quick ones first; stops at the first that fails. Needs Rust on a Debian or Ubuntu, and root
# or sudo only if Python or its venv module is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

step="start"
# Called when the script ends, in whatever way.
farewell() {
    local status=$?
    if [[ -n ${interop:-} ]]; then kill "$interop" 2>/dev/null || true; fi
    if ((status != 0)); then
        printf '\n!!! FAILED after %d s, in step: %s\n' "$SECONDS" "$step" >&2
    fi
    exit "$status"
}
trap farewell EXIT

begin() {
    step=$1
    printf '\n=== [%4d s] %s\n' "$SECONDS" "$step"
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

install_packages() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

target=${CARGO_TARGET_DIR:-target}
venv=$target/test-venv

begin "openssl"
# The tests have it make RSA keys.
command -v openssl >/dev/null || install_packages openssl

begin "libfaketime"
# Moves the clock in tests/interop/test_faults.py. Without it, those rows are skipped and say so.
compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || install_packages faketime || echo "notice: there is no libfaketime, so the clock does not jump"

begin "chromium"
# Looks at the page of a release in tests/interop/test_statistics_page.py. Without it, those tests are skipped and say so.
command -v chromium chromium-browser google-chrome >/dev/null || install_packages chromium || echo "notice: there is no Chromium, so no browser looks at the page of a release"

begin "Python environment"
command -v python3 >/dev/null || install_packages python3 python3-venv
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "the tests need Python 3.11 or newer; this is $(python3 --version)" >&2
    exit 1
}
mkdir -p "$target"
if [[ ! -x $venv/bin/pip ]]; then
    # Debian ships the venv module without ensurepip, which shows only when it is used.
    rm -rf "$venv"
    python3 -m venv "$venv" >/dev/null 2>&1 || {
        rm -rf "$venv"
        install_packages python3-venv
        python3 -m venv "$venv"
    }
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/interop/requirements.txt

begin "cargo fmt"
cargo fmt --check

begin "fuzz targets"
# Their bodies and corpus are run by the tests below; this only sees that the fuzzer's own workspace still fits. tests/fuzz.sh runs it.
cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null

begin "cargo clippy"
cargo clippy --all-targets --locked -- -D warnings

begin "cargo doc"
RUSTDOCFLAGS="-Dwarnings" cargo doc --no-deps --locked

begin "cargo deny"
PATH=$PATH:$(realpath "$target")/tools/bin
# Built once per target directory, without optimisation, which would take longer than all it ever does; a machine without the registry goes on
# without it, and says so.
command -v cargo-deny >/dev/null || cargo install --quiet --debug --locked --version 0.20.2 --root "$target/tools" cargo-deny || true
if command -v cargo-deny >/dev/null; then
    cargo deny --locked check bans licenses sources 2>"$target/deny.txt" || {
        cat "$target/deny.txt"
        exit 1
    }
    if cargo deny fetch db >/dev/null 2>&1; then
        cargo deny --locked check advisories
    else
        echo "notice: the advisory database is out of reach, so advisories were not checked"
    fi
else
    echo "notice: cargo-deny could not be installed, so licences, bans and advisories were not checked"
fi

begin "cargo check of what a production image is built from"
cargo check --locked --no-default-features

begin "cargo test --test cdr"
# Builds the program under test too, and writes the CDRs that models of others read in the interop tests.
cargo test --locked --test cdr

# Both wait for sockets and clocks more than they count, so they go side by side: what the interop tests say is told when they are through.
begin "interop tests, beside cargo test"
mkdir -p "$target/under-test"
# A run that failed may have left a gateway that still runs the old one.
cp --remove-destination "$target/debug/sluis" "$target/under-test/"
SLUIS=$(realpath "$target/under-test/sluis") "$venv/bin/pytest" tests/interop >"$target/interop.txt" 2>&1 &
interop=$!

begin "cargo test"
cargo test --locked

begin "interop tests"
wait "$interop" || {
    tail -n 60 "$target/interop.txt"
    exit 1
}
tail -n 3 "$target/interop.txt"

begin "the demonstration"
"$target/debug/sluis" demo --once >"$target/demo.txt" || {
    tail -n 40 "$target/demo.txt"
    exit 1
}
tail -n 9 "$target/demo.txt"

begin "Autobahn, but for the big messages and compression"
SLUIS=$target/debug/sluis tests/autobahn.sh both '1.*' '2.*' '3.*' '4.*' '5.*' '6.*' '7.*' '10.*'

printf '\n=== [%4d s] done\nall tests passed\n' "$SECONDS"
