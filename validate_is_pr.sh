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
. evaluations/checkpoints.sh

# published NAME REFERENCE
published() {
    reference=${REFERENCE:-$2} num=${NUM:-50000} images=fid-tmp/$1
    find_checkpoint "$1" || return 0
    [ "$reference" = none ] || find_reference "$1" "$reference" "REFERENCE=FILE.npz or none" || return 0
    prepare_python requirements/validation.txt
    echo "$1: $num images of $found against $reference"
    # shellcheck disable=SC2086 # OPTIONS holds several options
    if launch generate.py --network="$found" --outdir="$images" --seeds="0-$((num - 1))" --subdirs --overwrite \
        --sampler=one_step ${OPTIONS:-} && "$PY" -m evaluations.evaluator "$images/image_pack.npz" "$reference"; then
        measured=$((measured + 1))
    else
        failed=1
    fi
}

# demo: the shipped reference holds no features of single images, which precision and recall need.
demo() {
    reference=${REFERENCE:-fid-tmp/demo-reference.npz} num=${NUM:-2000}
    find_checkpoint demo || return 0
    prepare_python requirements/validation.txt
    echo "demo: $num images of $found against $reference"
    # shellcheck disable=SC2086 # OPTIONS holds several options
    if { [ -n "${REFERENCE:-}" ] || launch fid.py ref --data=datasets/mnist-32x32.zip --dest="$reference" \
            --detector=mnist-classifier --features=10000; } \
        && launch fid.py gen --network="$found" --ref="$reference" --seeds="0-$((num - 1))" --metrics=is,pr \
            --sampler=one_step ${OPTIONS:-}; then
        measured=$((measured + 1))
    else
        failed=1
    fi
}

choose_names "cifar10-uncond cifar10-cond ffhq afhqv2 imagenet demo" "" "$@"
for name in $names; do
    case $name in
        cifar10-uncond | cifar10-cond | ffhq | afhqv2) published "$name" none ;;
        imagenet) published "$name" "$REFS/VIRTUAL_imagenet64_labeled.npz" ;;
        demo) demo ;;
    esac
done
finish
