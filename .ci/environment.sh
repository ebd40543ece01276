# Sourced by run and full: a fresh virtual environment, in the root of the project, removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
"${PYTHON:-python3}" -m venv "$venv"
export PATH="$venv/bin:$PATH"
export PIP_DISABLE_PIP_VERSION_CHECK=1
export OPENBLAS_NUM_THREADS=1 # more spin on small matrices, beside the workers of pytest
unset PYTHONPATH

step() {
    echo "+ $* ($SECONDS s)"
}
