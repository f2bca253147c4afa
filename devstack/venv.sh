#!/bin/sh
# Makes or updates the virtual environment: sh devstack/venv.sh DIRECTORY. Uses $PYTHON, else the first Python of 3.11 or
# later among python3, python3.14 ... python3.11.
set -eu
directory=$1
cd "$(dirname "$0")/.."

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null
}

found=
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if new_enough "$candidate"; then
        found=$candidate
        break
    fi
done
if [ -z "$found" ]; then
    echo "This needs Python 3.11 or later; python3 is $(python3 --version 2>&1 || true)." >&2
    echo "Install one, or name it: make venv PYTHON=/path/to/python3.11" >&2
    exit 1
fi

PYTHON=$found sh devstack/packages.sh

quiet=--quiet
if ! new_enough "$directory/bin/python" || ! "$directory/bin/python" -m pip --version > /dev/null 2>&1; then
    echo "Making $directory with $("$found" --version) ..."
    "$found" -m venv --clear "$directory"
    quiet=
fi
echo "Installing what requirements-dev.txt lists (a minute or two the first time) ..."
# shellcheck disable=SC2086 - empty, or one word
"$directory/bin/python" -m pip install --disable-pip-version-check --no-input $quiet -r requirements-dev.txt
