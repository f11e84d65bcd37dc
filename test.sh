#!/bin/sh
# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
# Run the tests: installs into .venv on first use, then runs pytest on the CPU in TEST_PROCESSES (2) processes.
#   sh test.sh [pytest options]
# With TEST_TENSORFLOW=1 also the tests of `evaluations/evaluator.py --backend=tensorflow`: installs requirements-tf.txt (1.5 GB).
set -eu
cd "$(dirname "$0")"
. torch_utils/venv.sh
# shellcheck disable=SC2086 # no further file, or one
prepare_python requirements.txt requirements_test.txt ${TEST_TENSORFLOW:+requirements-tf.txt}
# Several processes share few cores: one thread each is faster than threads that wait for each other.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
TEST_TENSORFLOW='' "$PY" -m pytest tests -q -n "${TEST_PROCESSES:-2}" --durations=10 "$@"
if [ -n "${TEST_TENSORFLOW:-}" ]; then
    "$PY" -m pytest tests/evaluations/detectors/test_tensorflow_backend.py -q      # TensorFlow and triton must not meet in one process
fi
