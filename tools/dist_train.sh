#!/usr/bin/env bash
# Train on several GPUs of this machine, or of several machines: launch.sh lists the variables.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

[ $# -ge 2 ] || fail 'usage: dist_train.sh CONFIG GPUS [options of tools/train.py]'
with_torchrun "$2" train.py "$1" "${@:3}"
