#!/usr/bin/env bash
# Evaluate a checkpoint as a Slurm job: launch.sh lists the variables.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

[ $# -ge 4 ] || fail 'usage: slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]'
with_slurm "$1" "$2" test.py "$3" "$4" "${@:5}"
