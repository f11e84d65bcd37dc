# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
# Sourced by validation_fid.sh and validate_is_pr.sh: which checkpoints they know, where they look, what is skipped.

NPROC=${NPROC:-1}
CHECKPOINTS=${CHECKPOINTS:-pretrained}
REFS=${REFS:-datasets}
DEMO_RUNS="training-runs/*-demo/network-snapshot-*.pkl training-runs/*-demo-long/network-snapshot-*.pkl"
measured=0 failed=0 asked=

# choose_names DEFAULTS OTHERS [NAME ...]: sets `names`; a name that is neither a default nor among the others is refused.
choose_names() {
    names=$1 known="$1 $2"
    shift 2
    [ $# -eq 0 ] || asked=yes names=$*
    for name in $names; do
        case " $known " in
            *" $name "*) ;;
            *) echo "Error: unknown checkpoint '$name'; use one of: $known" >&2
               exit 2 ;;
        esac
    done
}

# checkpoint_pattern NAME: prints where its snapshot is looked for, file patterns.
checkpoint_pattern() {
    case $1 in
        cifar10-uncond) echo "$CHECKPOINTS/cifar*uncond*.pkl" ;;
        cifar10-cond) echo "$CHECKPOINTS/cifar*[!n]cond*.pkl" ;;
        ffhq) echo "$CHECKPOINTS/ffhq*.pkl" ;;
        afhqv2) echo "$CHECKPOINTS/afhq*.pkl" ;;
        imagenet) echo "$CHECKPOINTS/imagenet*.pkl" ;;
        demo) echo "$DEMO_RUNS" ;;
        demo-teacher) echo "pretrained/edm-mnist-32x32-cond-ve.pkl" ;;
    esac
}

# find_checkpoint NAME: sets `found` to NETWORK, or else to the last file by name (runs and snapshots are numbered).
find_checkpoint() {
    pattern=$(checkpoint_pattern "$1")
    # shellcheck disable=SC2012,SC2086 # several patterns; names that the scripts of this repository give
    found=${NETWORK:-$(ls -d $pattern 2>/dev/null | sort | tail -n 1)}
    if ! [ -f "$found" ]; then
        skip "$1" "there is no checkpoint ${found:-$pattern}; put it there, or set CHECKPOINTS=folder or NETWORK=snapshot.pkl"
        return 1
    fi
}

# find_reference NAME FILE VARIABLE: is there a reference? VARIABLE is what the user may set instead.
find_reference() {
    case $2 in
        *://*) return ;;
    esac
    [ -f "$2" ] || {
        skip "$1" "there is no reference $2; docs/metrics.md says where to get it, or set $3"
        return 1
    }
}

# skip NAME REASON: absent is a failure only for names that were asked for.
skip() {
    echo "$1: skipped, $2" >&2
    [ -z "$asked" ] || failed=1
}

# launch SCRIPT OPTIONS: in NPROC processes.
launch() {
    "$PY" -m torch_utils.launch --standalone --nproc_per_node="$NPROC" "$@"
}

# finish: ends the script.
finish() {
    [ "$measured" -gt 0 ] || {
        echo "Error: nothing was measured" >&2
        exit 1
    }
    exit "$failed"
}
