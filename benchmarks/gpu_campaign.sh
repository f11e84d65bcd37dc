#!/bin/sh
# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
# Everything that is to be proved on a GPU, in pieces of under nine minutes:
#   sh benchmarks/gpu_campaign.sh PIECE [--device=cpu]
# PIECE, in the order of their worth, with the minutes they take at most:
#   tests (9)    versions and peaks, tests with --device=cuda, a process group of one rank through NCCL, number types,
#                compiled stages against eager ones; again until all are done
#   cifar (9)    the four CIFAR-10 recipes: reference, faithful, fast; images/s, stages, memory at the official batch,
#                profile of the fast step; compiling takes minutes, so again until all four are done
#   large (9)    the six others likewise, ImageNet's with 32 images: 128 need more than 80 GB
#   demo (9)     demo killed and resumed to its end, demo in the fast mode, closing tables, sampling
#   teacher (9)  the photographs teacher, a part of its training; again and again until it is done
#   student (9)  GDD-I on it, likewise
# Prints a Markdown block for docs/performance.md, which is also $OUT/PIECE.md. A step that fails or runs over its limit
# does not stop the others. The same command again goes on: what was done is kept in $KEEP.
# Variables: DATA=FILE.zip for teacher and student, OUT=gpu_results (at most 8 small files), KEEP=gpu_keep, PYTHON=python3, LIMIT=530 seconds for the piece,
#   DEVICE=cuda. No network: packages that are missing are carried as wheels in .whl/.
# With --device=cpu all steps run in a tiny form, which proves the script and nothing else.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-gpu_results} KEEP=${KEEP:-gpu_keep} PYTHON=${PYTHON:-python3} DEVICE=${DEVICE:-cuda} LIMIT=${LIMIT:-530} piece=''
for argument in "$@"; do
    case $argument in
        --device=*) DEVICE=${argument#--device=} ;;
        tests | cifar | large | demo | teacher | student) piece=$argument ;;
        *) piece='' && break ;;
    esac
done
[ -n "$piece" ] || { sed -n '5,23s/^# \{0,1\}//p' "$0" >&2; exit 2; }
export VENV=none PYTHON PYTHONUNBUFFERED=1 OUT
mkdir -p "$OUT" "$KEEP/done" "$KEEP/logs" "$KEEP/tables"
KEEP=$(cd "$KEEP" && pwd) OUT=$(cd "$OUT" && pwd)
export TORCHINDUCTOR_CACHE_DIR="${TORCHINDUCTOR_CACHE_DIR:-$KEEP/inductor}"       # what is compiled once
begin=$(date +%s) rows="$KEEP/$piece.rows"
: >"$rows"

if ls .whl/*.whl >/dev/null 2>&1; then
    [ -d "$KEEP/site" ] || "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$KEEP/site" .whl/*.whl
    export PYTHONPATH="$KEEP/site"
fi
if [ "$DEVICE" = cpu ]; then tiny=1; else tiny=''; fi

say() { printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4" | tee -a "$rows" >&2; }

# step NAME SECONDS COMMAND...: run a command unless it is done; its last line is its result.
step() {
    name=$1 limit=$2
    shift 2
    log="$KEEP/logs/$piece-$name.log" mark="$KEEP/done/$piece-$name" left=$((LIMIT - $(date +%s) + begin))
    if [ -e "$mark" ]; then
        say "$name" "done before" "$(cat "$mark")" "$(last "$log")"
        return 0
    fi
    if [ "$left" -lt $((limit / 2)) ]; then
        say "$name" "no time left" - "run the piece again"
        return 1
    fi
    [ -z "$tiny" ] && [ "$limit" -le "$left" ] || limit=$left       # the tiny form runs beside other tests
    start=$(date +%s)
    timeout -k 20 "$limit" "$@" >"$log" 2>&1
    code=$? spent=$(($(date +%s) - start))
    [ "$code" -ne 0 ] || echo "$spent" >"$mark"
    say "$name" "status $code" "$spent" "$(last "$log")"
    return "$code"
}
last() { grep -v '^$' "$1" | tail -n 1 | tr '|\r' '/ ' | cut -c1-400; }
skip() { say "$1" skipped - "$2"; }

# measured NAME RECIPE SECONDS OPTION...: one recipe through benchmarks.throughput.
measured() {
    name=$1 recipe=$2 limit=$3
    shift 3
    case $recipe in *imagenet) set -- "$@" --batch=32 ;; esac
    step "$name" "$limit" "$PYTHON" -m benchmarks.throughput --recipe="$recipe" --device="$DEVICE" --seconds="${SECONDS_EACH:-2}" "$@"
}

# compared RECIPE: the three modes side by side, as a table of its own; what fast compiles is there by then.
compared() {
    if [ "$tiny" ]; then measured "$1" "$1" 60 --mode=fast --batch=2 --json="$KEEP/tables/$1.json"; else
        measured "$1-compile" "$1" 300 --mode=fast &&
            measured "$1" "$1" 200 --mode=reference,faithful,fast --out="$KEEP/tables/$1"; fi
}

# train NAME LIMIT OPTION...: a run whose states stay in $KEEP, so that the next piece goes on with it.
train() {
    name=$1 limit=$2
    shift 2
    step "$name" "$limit" "$PYTHON" train.py --device="$DEVICE" --nosubdir --outdir="$KEEP/$name" --resume=auto "$@"
}

# killed NAME OPTION...: start a run, end it as a scheduler does after its first tick, and expect exit code 75.
killed() {
    folder="$KEEP/$1"
    shift
    rm -rf "$folder"
    "$PYTHON" train.py --device="$DEVICE" --nosubdir --outdir="$folder" "$@" &
    run=$! waited=0
    while kill -0 "$run" 2>/dev/null && [ ! -s "$folder/stats.jsonl" ] && [ "$waited" -lt 600 ]; do
        sleep 0.2
        waited=$((waited + 1))
    done
    kill -TERM "$run" 2>/dev/null
    wait "$run"
    code=$?
    [ "$code" -eq 75 ] && echo "ended with 75 after SIGTERM: $(ls "$folder" | grep -c '^training-state') state(s)"
}

# known RECIPE: whether train.py has it.
known() { "$PYTHON" -m training.recipes | grep -q "^  $1 "; }

# photographs RECIPE: as much training as fits into the piece.
photographs() {
    if ! known "$1"; then
        skip "$1" "no recipe of this name in training/recipes.py"
    elif [ ! -e "$(data_of "$1")" ]; then
        skip "$1" "$(data_of "$1") is missing"
    else
        # SIGTERM lets the run write its state and end with 75; the same piece goes on from there.
        part "$@"
    fi
}
data_of() { [ -n "${DATA:-}" ] && echo "$DATA" || "$PYTHON" -c "import sys; from training.recipes import RECIPES; print(RECIPES[sys.argv[1]].data_path)" "$1"; }
part() {
    recipe=$1
    shift
    start=$(date +%s) log="$KEEP/logs/$piece-$recipe.log"
    timeout --preserve-status -s TERM -k 60 "$((LIMIT - 60))" "$PYTHON" train.py --recipe="$recipe" --device="$DEVICE" \
        --nosubdir --outdir="$KEEP/$recipe" --resume=auto "$@" >"$log" 2>&1
    say "$recipe" "status $?" "$(($(date +%s) - start))" "$(last "$log")"
    snapshot=$(ls "$KEEP/$recipe"/network-snapshot-*.pkl 2>/dev/null | tail -n 1)
    [ -z "$snapshot" ] || split -b 15M "$snapshot" "$OUT/$recipe.pkl."       # files that come back are small
    cp "$(ls "$KEEP/$recipe"/fakes-*.png 2>/dev/null | tail -n 1)" "$OUT/$recipe.png" 2>/dev/null || true
}

case $piece in
    tests)
        step machine 60 "$PYTHON" -m benchmarks.gpu_probe --device="$DEVICE" --seconds="$([ "$tiny" ] && echo 0 || echo 2)"
        if [ ! -d tests/cuda ]; then skip cuda-tests 'no folder tests/cuda'
        elif [ "$tiny" ]; then step cuda-tests 60 "$PYTHON" -m pytest -q --collect-only tests/cuda
        else step cuda-tests 240 "$PYTHON" -m pytest -v --device="$DEVICE" -m 'not compiled' tests/cuda; fi
        if [ "$tiny" ]; then skip number-types 'minutes on a CPU'; else
            step number-types 60 "$PYTHON" -m benchmarks.gradient_precision --device="$DEVICE"; fi
        if [ "$tiny" ]; then skip one-rank 'NCCL needs a GPU'; else
            step one-rank 90 env FORCE_PROCESS_GROUP=1 "$PYTHON" -m benchmarks.throughput --recipe=demo --mode=faithful \
                --seconds=2 --device="$DEVICE"; fi
        if [ "$tiny" ]; then skip compiled 'compiles for a GPU only'; else
            step compiled 240 "$PYTHON" -m pytest -v --device="$DEVICE" -m compiled tests/cuda; fi
        ;;
    cifar)
        if [ "$tiny" ]; then
            compared demo
            set -- --recipe=demo --batch=2 --iterations=1
        else
            compared gdd-i-cifar10
            set -- --recipe=gdd-i-cifar10
        fi
        step profile 200 "$PYTHON" -m benchmarks.profile_step --perf=fast --device="$DEVICE" --out="$KEEP/tables/profile.txt" "$@"
        [ "$tiny" ] || for recipe in gdd-cifar10 gdd-i-cifar10-cond gdd-cifar10-cond; do compared "$recipe"; done
        ;;
    large)
        if [ "$tiny" ]; then skip gdd-i-ffhq 'too large for a CPU'; else
            for recipe in gdd-i-ffhq gdd-i-imagenet gdd-ffhq gdd-imagenet gdd-i-afhqv2 gdd-afhqv2; do compared "$recipe"; done
        fi
        ;;
    demo)
        if [ "$tiny" ]; then set -- --duration=0.00002 --batch=4 --class-embed=random --d-resolution=32 --grid=0
            images=4 steps=2; else set --; images=2000 steps=18; fi
        table() {
            step "table-$1" 90 "$PYTHON" -m evaluations.teacher_and_student --teacher=pretrained/edm-mnist-32x32-cond-ve.pkl \
                --student="$(ls "$KEEP/$1"/network-snapshot-*.pkl | tail -n 1)" --num="$images" --steps="$steps" --batch=100 \
                --ref=datasets/mnist-32x32-train-ref-mnist-classifier.npz --outdir="$KEEP/$1"
        }
        if [ -e "$KEEP/done/demo-demo" ] || killed demo --recipe=demo "$@" >"$KEEP/logs/demo-killed.log" 2>&1; then
            say killed "status 0" - "ended with 75 after SIGTERM"
        else
            say killed "status 1" - "$(last "$KEEP/logs/demo-killed.log")"
        fi
        train demo 150 --recipe=demo "$@" && table demo && cp "$KEEP/demo/comparison.png" "$OUT/demo.png"
        if [ "$tiny" ]; then skip demo-fast 'the same steps again'; else
            measured demo-compile demo 240 --mode=fast
            train demo-fast 150 --recipe=demo --perf=fast && table demo-fast && cp "$KEEP/demo-fast/comparison.png" "$OUT/demo-fast.png"
        fi
        if [ "$tiny" ]; then set -- --num=2 --batch=2; else set -- --num=10000 --batch=256; fi
        step sampling 60 "$PYTHON" -m benchmarks.sampling --device="$DEVICE" "$@"
        ;;
    teacher) photographs cifar10-small-teacher ;;
    student) photographs cifar10-small-gdd-i ;;      # TEACHER=FILE names another teacher than the recipe's
esac

block() {
    printf '### Campaign, piece %s, on %s\n\n| step | end | seconds | last line |\n|---|---|---:|---|\n' "$piece" "$DEVICE"
    cat "$rows"
    if [ "$piece" = cifar ] || [ "$piece" = large ]; then
        printf '\n'
        first=''
        for recipe in $(grep -o '^| gdd[^ ]*' "$rows" | cut -c3- | grep -v -e '-compile$'); do
            file="$KEEP/tables/$recipe.md"
            [ -e "$file" ] || continue
            [ -n "$first" ] || head -n 2 "$file"
            first=$file
            grep "^| $recipe" "$file"
        done
        [ -z "$first" ] || tail -n 2 "$first"
        [ "$piece" = large ] || [ ! -e "$KEEP/tables/profile.txt" ] || { printf '\n```\n'; head -n 25 "$KEEP/tables/profile.txt"; printf '```\n'; }
    fi
    if [ -e "$KEEP/demo/comparison.md" ] && [ "$piece" = demo ]; then
        for name in demo demo-fast; do
            [ ! -e "$KEEP/$name/comparison.md" ] || { printf '\n%s:\n\n' "$name"; cat "$KEEP/$name/comparison.md"; }
        done
    fi
    [ "$piece" != tests ] || [ ! -e "$KEEP/logs/tests-number-types.log" ] || { printf '\n'; cat "$KEEP/logs/tests-number-types.log"; }
}
block | tee "$OUT/$piece.md"
tar czf "$OUT/$piece-logs.tar.gz" -C "$KEEP" logs tables
! grep -q 'status [1-9]' "$rows"
