#!/bin/sh
# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
# Generate images from checkpoints and measure them against their references, in one pass, without writing images:
#   sh validation_fid.sh [NAME ...]       default: all but demo-teacher
#     cifar10-uncond cifar10-cond ffhq afhqv2 imagenet     the five published checkpoints: FID of 50,000 one-step images
#     demo            newest run of recipe demo (or NETWORK=...): 2,000 one-step images, MNIST classifier
#     demo-teacher    the teacher of this repository with its own 18-step sampler, 2,000 images
# What is absent is skipped with a line that says where it is looked for.
# Variables: NPROC processes, CHECKPOINTS=pretrained and REFS=datasets folders (REFS may be a URL, such as
#   https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs), NETWORK=snapshot.pkl instead of the one found, NUM images,
#   REPEATS=3 blocks of seeds, METRICS=fid,is, OPTIONS="further options of fid.py gen", VENV=.venv (none: current Python).
set -eu
cd "$(dirname "$0")"
. torch_utils/venv.sh

NPROC=${NPROC:-1}
CHECKPOINTS=${CHECKPOINTS:-pretrained}
REFS=${REFS:-datasets}
DEMO_REFERENCE=datasets/mnist-32x32-train-ref-mnist-classifier.npz
measured=0 failed=0

# newest PATTERN: the last file that matches, or the pattern itself; NETWORK wins.
newest() {
    found=${NETWORK:-$1}
    [ -n "${NETWORK:-}" ] || for file in $1; do [ ! -f "$file" ] || found=$file; done
}

# skip NAME REASON: absent is a failure only for names that were asked for.
skip() {
    echo "$1: skipped, $2" >&2
    [ -z "$asked" ] || failed=1
}

# measure NAME NUM PATTERN REFERENCE [fid.py gen options]
measure() {
    name=$1 num=${NUM:-$2} reference=$4
    newest "$3"
    shift 4
    if ! [ -f "$found" ]; then
        skip "$name" "there is no checkpoint $found; put it there, or set CHECKPOINTS=folder or NETWORK=snapshot.pkl"
        return
    fi
    case $reference in
        *://*) ;;
        *) [ -f "$reference" ] || {
            skip "$name" "there is no reference $reference; see docs/metrics.md for where to get it, or set REFS=folder or URL"
            return
        } ;;
    esac
    prepare_python requirements_validation.txt
    echo "$name: $num images of $found against $reference"
    # shellcheck disable=SC2086 # OPTIONS holds several options
    if "$PY" -m torch_utils.launch --standalone --nproc_per_node="$NPROC" fid.py gen --network="$found" --ref="$reference" \
        --seeds="0-$((num - 1))" --repeats="${REPEATS:-1}" --metrics="${METRICS:-fid}" "$@" ${OPTIONS:-}; then
        measured=$((measured + 1))
    else
        failed=1
    fi
}

asked=${1:-}
[ $# -gt 0 ] || set -- cifar10-uncond cifar10-cond ffhq afhqv2 imagenet demo
for name in "$@"; do
    case $name in
        cifar10-uncond) measure "$name" 50000 "$CHECKPOINTS/cifar*uncond*.pkl" "$REFS/cifar10-32x32.npz" --sampler=one_step ;;
        cifar10-cond) measure "$name" 50000 "$CHECKPOINTS/cifar*[!n]cond*.pkl" "$REFS/cifar10-32x32.npz" --sampler=one_step ;;
        ffhq) measure "$name" 50000 "$CHECKPOINTS/ffhq*.pkl" "$REFS/ffhq-64x64.npz" --sampler=one_step ;;
        afhqv2) measure "$name" 50000 "$CHECKPOINTS/afhq*.pkl" "$REFS/afhqv2-64x64.npz" --sampler=one_step ;;
        imagenet) measure "$name" 50000 "$CHECKPOINTS/imagenet*.pkl" "$REFS/imagenet-64x64.npz" --sampler=one_step ;;
        demo) measure "$name" 2000 "training-runs/*-demo/network-snapshot-*.pkl" "$DEMO_REFERENCE" ;;
        demo-teacher) measure "$name" 2000 pretrained/edm-mnist-32x32-cond-ve.pkl "$DEMO_REFERENCE" --sampler=edm ;;
        *)
            echo "Error: unknown checkpoint '$name'; use cifar10-uncond, cifar10-cond, ffhq, afhqv2, imagenet, demo or demo-teacher" >&2
            exit 2 ;;
    esac
done
if [ "$measured" = 0 ]; then
    echo "Error: nothing was measured" >&2
    exit 1
fi
exit "$failed"
