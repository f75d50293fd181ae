#!/usr/bin/env bash
# The Autobahn cases on both faces of the gateway: tests/autobahn.sh [server|client|both] [CASE ...]. A case may be a glob, such as 6.*.
# The gateway is the debug build, or the one that the environment variable SLUIS names.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
venv=$target/autobahn-venv
if [[ ! -x $venv/bin/pip ]]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/autobahn/requirements.txt
if [[ -z ${SLUIS:-} ]]; then
    cargo build --quiet --locked
    SLUIS=$target/debug/sluis
fi
SLUIS=$(realpath "$SLUIS") # it runs elsewhere
exec "$venv/bin/python" tests/autobahn/faces.py "$SLUIS" "${@:-both}"
