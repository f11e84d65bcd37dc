# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
# Sourced by the shell scripts: makes .venv on first use and sets PY to its interpreter.
#   prepare_python REQUIREMENTS [REQUIREMENTS ...]
# VENV=DIR uses another folder; VENV=none uses the current Python as it is.

prepare_python() {
    VENV=${VENV:-.venv}
    if [ "$VENV" = none ]; then
        PY=${PYTHON:-python3}
        return
    fi
    PY=$VENV/bin/python
    stamp=$VENV/.installed
    wanted=$(cat requirements.txt requirements/*.txt | cksum)" $*"
    if [ -x "$PY" ] && [ -f "$stamp" ] && grep -qxF "$wanted" "$stamp"; then
        return
    fi
    if ! [ -x "$PY" ]; then
        echo "Creating $VENV (once; VENV=none uses the current Python instead) ..."
        "${PYTHON:-python3}" -m venv "$VENV"
    fi
    echo "Installing $* ..."
    files=
    for file in "$@"; do files="$files -r $file"; done
    # shellcheck disable=SC2086 # the list of -r options must be split
    "$PY" -m pip install --quiet --disable-pip-version-check $files
    echo "$wanted" >> "$stamp"
    echo "Installed. For the commands that begin with python:  . $VENV/bin/activate"
}
