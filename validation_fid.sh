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
. evaluations/checkpoints.sh

# measure NAME NUM REFERENCE SAMPLER
measure() {
    find_checkpoint "$1" && find_reference "$1" "$3" "REFS=folder or URL" || return 0
    num=${NUM:-$2}
    prepare_python requirements/validation.txt
    echo "$1: $num images of $found against $3"
    # shellcheck disable=SC2086 # OPTIONS holds several options
    if launch fid.py gen --network="$found" --ref="$3" --seeds="0-$((num - 1))" --repeats="${REPEATS:-1}" \
        --metrics="${METRICS:-fid}" --sampler="$4" ${OPTIONS:-}; then
        measured=$((measured + 1))
    else
        failed=1
    fi
}

choose_names "cifar10-uncond cifar10-cond ffhq afhqv2 imagenet demo" "demo-teacher" "$@"
for name in $names; do
    case $name in
        cifar10-uncond | cifar10-cond) measure "$name" 50000 "$REFS/cifar10-32x32.npz" one_step ;;
        ffhq | afhqv2 | imagenet) measure "$name" 50000 "$REFS/$name-64x64.npz" one_step ;;
        demo) measure "$name" 2000 datasets/mnist-32x32-train-ref-mnist-classifier.npz one_step ;;
        demo-teacher) measure "$name" 2000 datasets/mnist-32x32-train-ref-mnist-classifier.npz edm ;;
    esac
done
finish
