#!/bin/sh
# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
# Generate images from checkpoints, and measure Inception Score, precision and recall as OpenAI's evaluator does:
#   sh validate_is_pr.sh [NAME ...]       default: imagenet
#     cifar10-uncond cifar10-cond ffhq afhqv2 imagenet     the five published checkpoints, 50,000 one-step images
# ImageNet is compared with VIRTUAL_imagenet64_labeled.npz. For the others there is no published reference of this
# kind, so only the Inception Score is computed, unless REFERENCE=FILE.npz names one.
# Images and image_pack.npz stay in fid-tmp/NAME. What is absent is skipped with a line that says where it is looked for.
# Variables: NPROC processes, CHECKPOINTS=pretrained and REFS=datasets folders, NETWORK=snapshot.pkl instead of the one
#   found, REFERENCE=FILE.npz or none, NUM images, OPTIONS="further options of generate.py", VENV=.venv (none: current Python).
set -eu
cd "$(dirname "$0")"
. torch_utils/venv.sh

NPROC=${NPROC:-1}
CHECKPOINTS=${CHECKPOINTS:-pretrained}
REFS=${REFS:-datasets}
measured=0 failed=0

# newest PATTERN: the last file that matches, or the pattern itself; NETWORK wins.
newest() {
    found=${NETWORK:-$1}
    [ -n "${NETWORK:-}" ] || for file in $1; do [ ! -f "$file" ] || found=$file; done
}

# skip NAME REASON
skip() {
    echo "$1: skipped, $2" >&2
    failed=1
}

# measure NAME PATTERN REFERENCE
measure() {
    name=$1 num=${NUM:-50000} reference=${REFERENCE:-$3}
    newest "$2"
    if ! [ -f "$found" ]; then
        skip "$name" "there is no checkpoint $found; put it there, or set CHECKPOINTS=folder or NETWORK=snapshot.pkl"
        return
    fi
    if [ "$reference" != none ] && ! [ -f "$reference" ]; then
        skip "$name" "there is no reference $reference; see docs/metrics.md for where to get it, or set REFERENCE=FILE.npz or none"
        return
    fi
    prepare_python requirements_validation.txt
    images=fid-tmp/$name
    echo "$name: $num images of $found against $reference"
    # shellcheck disable=SC2086 # OPTIONS holds several options
    if "$PY" -m torch_utils.launch --standalone --nproc_per_node="$NPROC" generate.py --network="$found" --outdir="$images" \
        --seeds="0-$((num - 1))" --subdirs --overwrite --sampler=one_step ${OPTIONS:-} \
        && "$PY" -m evaluations.evaluator "$images/image_pack.npz" "$reference"; then
        measured=$((measured + 1))
    else
        failed=1
    fi
}

[ $# -gt 0 ] || set -- imagenet
for name in "$@"; do
    case $name in
        cifar10-uncond) measure "$name" "$CHECKPOINTS/cifar*uncond*.pkl" none ;;
        cifar10-cond) measure "$name" "$CHECKPOINTS/cifar*[!n]cond*.pkl" none ;;
        ffhq) measure "$name" "$CHECKPOINTS/ffhq*.pkl" none ;;
        afhqv2) measure "$name" "$CHECKPOINTS/afhq*.pkl" none ;;
        imagenet) measure "$name" "$CHECKPOINTS/imagenet*.pkl" "$REFS/VIRTUAL_imagenet64_labeled.npz" ;;
        *)
            echo "Error: unknown checkpoint '$name'; use cifar10-uncond, cifar10-cond, ffhq, afhqv2 or imagenet" >&2
            exit 2 ;;
    esac
done
[ "$measured" -gt 0 ] || exit 1
exit "$failed"
