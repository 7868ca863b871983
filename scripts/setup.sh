#!/bin/sh
# Installs everything that Holdfast's source needs into this folder: .venv (Python packages, Node) and
# sidecar/node_modules. Each step is stamped with a hash of what it was made from, so that a second run does nothing.
# Usage: scripts/setup.sh [--tests]      --tests: what only the tests need as well
set -eu
cd "$(dirname "$0")/.."

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { printf '\033[1;31mError:\033[0m %s\n' "$*" >&2; exit 1; }
digest() { cat "$@" | sha256sum | cut -d ' ' -f 1; }
stamped() { [ "$(cat "$1" 2>/dev/null || true)" = "$2" ]; }

# One set-up at a time: two makes in one folder would install over each other.
if [ "${HOLDFAST_SETUP_LOCKED:-}" != 1 ] && command -v flock >/dev/null 2>&1; then
    HOLDFAST_SETUP_LOCKED=1 exec flock scripts/setup.sh "$0" "$@"
fi

# --- Python ---------------------------------------------------------------------------------------------------------
python=""
for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done

if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    [ -n "$python" ] || fail "Python 3.11 or newer is needed. On Debian or Ubuntu: apt-get install python3 python3-venv"
    say "Making the environment (.venv) with $($python --version)"
    rm -rf .venv
    "$python" -m venv .venv || {
        rm -rf .venv
        fail "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv"
    }
fi

wanted=$(digest requirements.txt)
if ! stamped .venv/.holdfast-packages "$wanted"; then
    if [ ! -x .venv/bin/uv ]; then
        say "Installing uv, which installs the rest"
        pin=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements.txt)
        .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$pin" ||
            fail "pip could not install uv. Check that the Python package index can be reached."
    fi
    # uv does not read pip's configuration; where that names an index of its own, it is meant for this too.
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
        [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
    fi
    say "Installing the Python packages of requirements.txt"
    .venv/bin/uv pip sync --python .venv/bin/python --require-hashes --strict --compile-bytecode requirements.txt ||
        fail "The Python packages could not be installed. The lines above say why; run make again to go on."
    printf '%s' "$wanted" >.venv/.holdfast-packages
    rm -f .venv/.holdfast-editable
fi

wanted="$(digest pyproject.toml) $PWD"
if ! stamped .venv/.holdfast-editable "$wanted"; then
    .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable . ||
        fail "Holdfast could not be installed into .venv. The lines above say why."
    printf '%s' "$wanted" >.venv/.holdfast-editable
fi
# Compiled once, here: where PYTHONDONTWRITEBYTECODE is set, as in many containers, every start would else compile all
# modules again, which takes longer than the rest of the start.
.venv/bin/python -m compileall -q src

# --- the sidecar ----------------------------------------------------------------------------------------------------
wanted=$(digest sidecar/package-lock.json)
if ! stamped sidecar/node_modules/.holdfast-lock "$wanted" || [ ! -d sidecar/node_modules/typescript ]; then
    say "Installing the WhatsApp engine's packages from sidecar/package-lock.json"
    # No package needs its install script (protobufjs' only prints), so none is run.
    progress=""
    [ -t 2 ] || progress="--no-progress"
    (cd sidecar && PATH="$OLDPWD/.venv/bin:$PATH" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error $progress) ||
        fail "npm could not install the packages. Check that its registry can be reached, then run make again."
    printf '%s' "$wanted" >sidecar/node_modules/.holdfast-lock
fi

# --- a browser, a connection pooler and proxies, for the tests -------------------------------------------------------
if [ "${1:-}" = "--tests" ]; then
    .venv/bin/python scripts/browser.py
    .venv/bin/python scripts/debian.py
fi
