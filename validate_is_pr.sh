#!/bin/sh
# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
# Generate images from checkpoints, and measure Inception Score, precision and recall:
#   sh validate_is_pr.sh [NAME ...]       default: all
#     cifar10-uncond cifar10-cond ffhq afhqv2 imagenet     the five published checkpoints, 50,000 one-step images, as OpenAI's
#                     evaluator measures them; images and image_pack.npz stay in fid-tmp/NAME
#     demo            newest run of recipe demo or demo-long (or NETWORK=...): 2,000 one-step images, MNIST classifier,
#                     against 10,000 images of datasets/mnist-32x32.zip
# ImageNet is compared with VIRTUAL_imagenet64_labeled.npz. For the other published ones there is no published reference
# of this kind, so only the Inception Score is computed, unless REFERENCE=FILE.npz names one.
# What is absent is skipped with a line that says where it is looked for.
# Variables: NPROC processes, CHECKPOINTS=pretrained and REFS=datasets folders, NETWORK=snapshot.pkl instead of the one
#   found, REFERENCE=FILE.npz or none, NUM images, OPTIONS="further options of generate.py (demo: of fid.py gen)",
#   VENV=.venv (none: current Python).
set -eu
cd "$(dirname "$0")"
. torch_utils/venv.sh

# Which checkpoints there are and what each is measured against stands in evaluations/published.py.
commands=$("${PYTHON:-python3}" evaluations/published.py is_pr "$@")
measured=0 failed=0

# launch SCRIPT OPTIONS: in NPROC processes.
launch() {
    "$PY" -m torch_utils.launch --standalone --nproc_per_node="${NPROC:-1}" "$@"
}

# published NAME NUM NETWORK REFERENCE SAMPLER
# shellcheck disable=SC2086 # OPTIONS holds several options
published() {
    launch generate.py --network="$3" --outdir="fid-tmp/$1" --seeds="0-$(($2 - 1))" --subdirs --overwrite \
        --sampler="$5" ${OPTIONS:-} && "$PY" -m evaluations.evaluator "fid-tmp/$1/image_pack.npz" "$4"
}

# demo NUM NETWORK REFERENCE SAMPLER: makes the reference, unless there is another.
# shellcheck disable=SC2086 # OPTIONS holds several options
demo() {
    { [ -n "${REFERENCE:-}" ] || launch fid.py ref --data=datasets/mnist-32x32.zip --dest="$3" \
        --detector=mnist-classifier --features=10000; } \
        && launch fid.py gen --network="$2" --ref="$3" --seeds="0-$(($1 - 1))" --metrics=is,pr --sampler="$4" ${OPTIONS:-}
}

# measure NAME NUM NETWORK REFERENCE SAMPLER
measure() {
    prepare_python requirements/validation.txt
    echo "$1: $2 images of $3 against $4"
    if case $1 in demo) demo "$2" "$3" "$4" "$5" ;; *) published "$@" ;; esac; then
        measured=$((measured + 1))
    else
        failed=1
    fi
}

eval "$commands"
[ "$measured" -gt 0 ] || { echo "Error: nothing was measured" >&2; exit 1; }
exit "$failed"
