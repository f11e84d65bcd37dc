#!/bin/sh
# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
# Generate images from a checkpoint and measure them against its reference:
#   sh validation_fid.sh [NAME ...]       default: demo
#     demo            newest run of recipe demo (or NETWORK=...), 2,000 one-step images, MNIST classifier
#     demo-teacher    the teacher of this repository with its own 18-step sampler, 2,000 images
# Variables: NPROC processes, NETWORK=snapshot.pkl, NUM images, VENV=.venv (none: current Python).
set -eu
cd "$(dirname "$0")"
. torch_utils/venv.sh

NPROC=${NPROC:-1}
NUM=${NUM:-2000}

# measure NAME NETWORK REFERENCE [generate.py options]
measure() {
    name=$1 network=$2 reference=$3
    shift 3
    if ! [ -f "$network" ]; then
        echo "$name: skipped, $network is absent; train it (sh train.sh $name) or set NETWORK=snapshot.pkl" >&2
        return 1
    fi
    prepare_python requirements_validation.txt
    images=fid-tmp/$name
    rm -rf "$images"
    "$PY" -m torch_utils.launch --standalone --nproc_per_node="$NPROC" generate.py --network="$network" \
        --outdir="$images" --seeds="0-$((NUM - 1))" --subdirs --no-pack "$@"
    "$PY" -m torch_utils.launch --standalone --nproc_per_node="$NPROC" fid.py calc --images="$images" \
        --ref="$reference" --num="$NUM"
}

reference=datasets/mnist-32x32-train-ref-mnist-classifier.npz
status=0
for name in "${@:-demo}"; do
    case $name in
        demo)
            newest=$(ls -d training-runs/*-demo/network-snapshot-*.pkl 2>/dev/null | tail -n 1)
            measure demo "${NETWORK:-${newest:-training-runs/*-demo/network-snapshot-*.pkl}}" "$reference" || status=1 ;;
        demo-teacher)
            measure demo-teacher "${NETWORK:-pretrained/edm-mnist-32x32-cond-ve.pkl}" "$reference" --sampler=edm || status=1 ;;
        *)
            echo "Error: unknown checkpoint '$name'; use demo or demo-teacher" >&2
            exit 2 ;;
    esac
done
exit $status
