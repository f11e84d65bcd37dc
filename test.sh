#!/bin/sh
# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
# Check the style with ruff, then run the tests on the CPU in TEST_PROCESSES (2) processes; installs into .venv on first use.
#   sh test.sh [pytest options]           everything
#   sh test.sh --fast [pytest options]    about a minute: without tests that start processes, kill runs or take long
# With TEST_TENSORFLOW=1 also the tests of `evaluations/evaluator.py --backend=tensorflow`: installs requirements/tensorflow.txt
# (1.5 GB).
set -eu
cd "$(dirname "$0")"
. torch_utils/venv.sh
# shellcheck disable=SC2086 # no further file, or one
prepare_python requirements.txt requirements/test.txt ${TEST_TENSORFLOW:+requirements/tensorflow.txt}
"$PY" -m ruff check . || { echo "Style: what ruff can mend, it mends with: $PY -m ruff check --fix ." >&2; exit 1; }
"$PY" -m ruff format --quiet --check . || { echo "Style: format the files with: $PY -m ruff format ." >&2; exit 1; }
# A file stays in one process, since its tests share what they have made; tests/conftest.py has the long files begin.
TEST_TENSORFLOW='' "$PY" -m pytest tests -q -n "${TEST_PROCESSES:-2}" --dist=loadfile --no-loadscope-reorder --durations=10 "$@"
if [ -n "${TEST_TENSORFLOW:-}" ]; then
    "$PY" -m pytest tests/evaluations/detectors/test_tensorflow_backend.py -q      # TensorFlow and triton must not meet in one process
fi
