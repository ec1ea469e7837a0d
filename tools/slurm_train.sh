#!/usr/bin/env bash
# Train as a Slurm job: launch.sh lists the variables.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

[ $# -ge 4 ] || fail 'usage: slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]'
with_slurm "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"
