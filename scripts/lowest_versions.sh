#!/usr/bin/env bash
# Whether the lower bounds of pyproject.toml are true: installs the lowest version that each of them allows (what comes
# along with these is the newest that fits) and runs the tests with it. That an old release is warned of being so, by
# what it rests on, is no failure.
#
#   scripts/lowest_versions.sh [VENV [PYTEST ARGUMENTS ...]]     VENV: default .venv-lowest; brought up to date if there
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv-lowest}
shift || true
if [ ! -x "$venv/bin/uv" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
fi
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --resolution lowest-direct -e '.[test]'
"$venv/bin/python" -m pytest -W ignore::DeprecationWarning -W ignore::FutureWarning -n "${WORKERS:-2}" "$@"
