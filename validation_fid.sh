#!/bin/sh
# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
# Generate images from checkpoints and measure them against their references, in one pass, without writing images:
#   sh validation_fid.sh [NAME ...]       default: all but demo-teacher
#     cifar10-uncond cifar10-cond ffhq afhqv2 imagenet     the five published checkpoints: FID of 50,000 one-step images
#     demo            newest run of recipe demo or demo-long (or NETWORK=...): 2,000 one-step images, MNIST classifier
#     demo-teacher    the teacher of this repository with its own 18-step sampler, 2,000 images
# What is absent is skipped with a line that says where it is looked for.
# Variables: NPROC processes, CHECKPOINTS=pretrained and REFS=datasets folders (REFS may be a URL, such as
#   https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs), NETWORK=snapshot.pkl instead of the one found, NUM images,
#   REPEATS=3 blocks of seeds, METRICS=fid,is, OPTIONS="further options of fid.py gen", VENV=.venv (none: current Python).
set -eu
cd "$(dirname "$0")"
. torch_utils/venv.sh

# Which checkpoints there are and what each is measured against stands in evaluations/published.py.
commands=$("${PYTHON:-python3}" evaluations/published.py fid "$@")
measured=0 failed=0

# measure NAME NUM NETWORK REFERENCE SAMPLER
measure() {
    prepare_python requirements/validation.txt
    echo "$1: $2 images of $3 against $4"
    # shellcheck disable=SC2086 # OPTIONS holds several options
    if "$PY" -m torch_utils.launch --standalone --nproc_per_node="${NPROC:-1}" fid.py gen --network="$3" --ref="$4" \
        --seeds="0-$(($2 - 1))" --repeats="${REPEATS:-1}" --metrics="${METRICS:-fid}" --sampler="$5" ${OPTIONS:-}; then
        measured=$((measured + 1))
    else
        failed=1
    fi
}

eval "$commands"
[ "$measured" -gt 0 ] || { echo "Error: nothing was measured" >&2; exit 1; }
exit "$failed"
