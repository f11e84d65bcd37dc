#!/bin/sh
# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
# Run a recipe (training/recipes.py):
#   sh train.sh                           recipe demo: distil the MNIST teacher of this repository
#   sh train.sh --list [--json]           list the recipes
#   sh train.sh NAME [train.py options]   run a recipe; later options win, and -n only prints what they come to
#   sh train.sh own DATA=photos.zip       your own images: convert, train a teacher, distil it, measure (own --help)
#   sh train.sh --check NAME              what a recipe needs, what is missing, and how long it will take here
# Variables, also as words of the command: NPROC=8 processes per node (torchrun), DATA=FILE.zip training images
#   (default: the recipe's, in datasets/),
#   TEACHER=FILE.pkl or URL (default: the recipe's, in pretrained/), OUTDIR=training-runs, VENV=.venv (none: current Python),
#   TORCHRUN="--nnodes=2 ..." torchrun options for several nodes, COMPARE=0 no closing table of the demo
#   (full: its teacher measured anew, minutes instead of the stored row).
set -eu
cd "$(dirname "$0")"
. torch_utils/venv.sh

# compare RUN_DIR: the closing table and picture of a demo run.
compare() {
    student=$(ls "$1"/network-snapshot-*.pkl | tail -n 1) remeasure=''
    [ "${COMPARE:-1}" != full ] || remeasure=--remeasure
    # shellcheck disable=SC2086 # nothing, or one option
    "$PY" -m evaluations.teacher_and_student --teacher="${TEACHER:-pretrained/edm-mnist-32x32-cond-ve.pkl}" \
        --student="$student" --ref=datasets/mnist-32x32-train-ref-mnist-classifier.npz --detector=mnist-classifier \
        --data="${DATA:-datasets/mnist-32x32.zip}" --num=2000 --batch=100 --outdir="$1" $remeasure
    "$PY" report.py "$1" || :       # once more, with the comparison; a complete run does not fail for its page
}

for word in "$@"; do            # NAME=VALUE is a variable
    shift
    case $word in
        [A-Z]*=*) export "${word?}" ;;
        *) set -- "$@" "$word" ;;
    esac
done
case ${1:-demo} in
    --list)
        shift
        case "$*" in '' | --json) exec "${PYTHON:-python3}" -m training.recipes "$@" ;; esac
        echo "Error: --list takes nothing but --json, not: $*" >&2
        exit 2
        ;;
    -h | --help) exec sed -n '5,15s/^# \{0,1\}//p' train.sh ;;
    own)
        prepare_python requirements.txt
        shift
        exec "$PY" -m workflow.own "$@"
        ;;
    --check)
        shift
        checked=${1:-demo}
        [ $# -eq 0 ] || shift
        set -- "$checked" --check "$@"
        ;;
esac
name=${1:-demo} outdir=${OUTDIR:-training-runs} flat='' only_print=''
[ $# -eq 0 ] || shift
for option in "$@"; do
    case $option in
        -n | --dry-run | --check | --help) only_print=1 ;;
        --outdir=*) outdir=${option#--outdir=} ;;
        --nosubdir) flat=1 ;;
    esac
done
[ "${VENV:-}" = none ] || "${PYTHON:-python3}" -m training.recipes "$name" "$@"  # refuses before anything is installed
prepare_python requirements.txt
[ -z "$only_print" ] || exec "$PY" train.py --recipe="$name" "$@"

# shellcheck disable=SC2086 # TORCHRUN holds several options
set -- -m torch_utils.launch --nproc_per_node="${NPROC:-1}" ${TORCHRUN:---standalone} train.py --recipe="$name" "$@"
case $name:${COMPARE:-1} in
    demo-teacher:* | *:0) ;;
    demo:1 | demo-*:1 | demo:full | demo-*:full)
        trap : TERM USR1        # a preempted run returns its code, see docs/training.md
        "$PY" "$@"
        [ -n "$flat" ] || outdir=$(ls -d "$outdir"/[0-9][0-9][0-9][0-9][0-9]-* | tail -n 1)
        compare "$outdir"
        exit ;;
esac
exec "$PY" "$@"                 # signals reach the launcher
