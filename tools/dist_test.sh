#!/usr/bin/env bash
# Evaluate a checkpoint on several GPUs of this machine, or of several machines: launch.sh lists the variables.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

[ $# -ge 3 ] || fail 'usage: dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]'
with_torchrun "$3" test.py "$1" "$2" "${@:4}"
