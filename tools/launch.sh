# Sourced by dist_*.sh and slurm_*.sh: starts a tool in several processes.

# The command that goes on with a training, which a stopped one prints.
MMIFORMER_RESUME=$(
    for name in PYTHON NNODES NODE_RANK MASTER_ADDR PORT GPUS GPUS_PER_NODE CPUS_PER_TASK SRUN_ARGS; do
        [ -z "${!name+x}" ] || printf '%s=%q ' "$name" "${!name}"
    done
    printf '%q' "$0"
    printf ' %q' "$@"
)
export MMIFORMER_RESUME="${MMIFORMER_RESUME% --resume} --resume"

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHON=${PYTHON:-python}
export PYTHONPATH="$(dirname "$TOOLS")${PYTHONPATH:+:$PYTHONPATH}"

fail() { # fail MESSAGE
    echo "$(basename "$0"): error: $1" >&2
    exit 2
}

check_number() { # check_number NAME VALUE MEANING
    [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1, $3, must be a positive integer, not '$2'"
}

check_port() {
    [[ ${PORT:-1} =~ ^[1-9][0-9]{0,4}$ ]] && ((${PORT:-1} < 65536)) || fail "PORT must be from 1 to 65535, not '$PORT'"
}

check_python() {
    "$PYTHON" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' 2>/dev/null ||
        fail "PYTHON='$PYTHON' is not a Python with torch; activate the environment, or set PYTHON=.venv/bin/python"
}

# with_torchrun GPUS TOOL ARGUMENT...: run tools/TOOL in GPUS processes on this machine. Variables:
#   NNODES       number of machines (default: 1); with more than one also
#   NODE_RANK    number of this machine, from 0
#   MASTER_ADDR  address of machine 0
#   PORT         free port of machine 0 (default: 29500; with one machine, any free one)
with_torchrun() {
    local gpus=$1 tool=$2 nodes=${NNODES:-1} where
    shift 2
    check_number GPUS "$gpus" 'the number of GPUs of this machine'
    check_number NNODES "$nodes" 'the number of machines'
    check_port
    if ((nodes > 1)); then
        [[ ${NODE_RANK:-} =~ ^[0-9]+$ ]] && ((NODE_RANK < nodes)) ||
            fail "with NNODES=$nodes each machine needs a NODE_RANK from 0 to $((nodes - 1)), not '${NODE_RANK:-}'"
        [ -n "${MASTER_ADDR:-}" ] || fail "with NNODES=$nodes each machine needs MASTER_ADDR, the address of machine 0"
        where=(--node-rank "$NODE_RANK" --master-addr "$MASTER_ADDR" --master-port "${PORT:-29500}")
    elif [ -n "${PORT:-}" ]; then
        where=(--master-addr 127.0.0.1 --master-port "$PORT")
    else
        where=(--standalone --local-addr 127.0.0.1)
    fi
    check_python
    # exec: a signal to the script reaches torchrun, which then ends all processes.
    exec "$PYTHON" -m torch.distributed.run --nnodes "$nodes" --nproc-per-node "$gpus" "${where[@]}" \
        "$TOOLS/$tool" "$@" --launcher pytorch
}

# with_slurm PARTITION JOB_NAME TOOL ARGUMENT...: run tools/TOOL as a Slurm job, one task per GPU. Variables:
#   GPUS           number of GPUs, over all machines (default: 8)
#   GPUS_PER_NODE  number of GPUs of each machine (default: 8, or GPUS where that is less)
#   CPUS_PER_TASK  cores per GPU (default: 5)
#   PORT           free port of the first machine (default: 29500)
#   SRUN_ARGS      further options of srun
with_slurm() {
    local partition=$1 name=$2 tool=$3 gpus=${GPUS:-8}
    shift 3
    check_number GPUS "$gpus" 'the number of GPUs over all machines'
    local each=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    check_number GPUS_PER_NODE "$each" 'the number of GPUs of each machine'
    check_number CPUS_PER_TASK "${CPUS_PER_TASK:-5}" 'the number of cores of each GPU'
    check_port
    ((gpus % each == 0)) || fail "GPUS=$gpus is not a multiple of GPUS_PER_NODE=$each"
    command -v srun >/dev/null || fail 'srun not found: run this on a machine with Slurm'
    # A job that Slurm kills, at its time limit or because a machine failed, cannot say it any more.
    [ "$tool" != train.py ] || echo "If this job ends early, go on with: $MMIFORMER_RESUME" >&2
    # shellcheck disable=SC2086 # SRUN_ARGS is several words
    MASTER_PORT=${PORT:-29500} exec srun --partition "$partition" --job-name "$name" --gres "gpu:$each" \
        --ntasks "$gpus" --ntasks-per-node "$each" --cpus-per-task "${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} "$PYTHON" -u "$TOOLS/$tool" "$@" --launcher slurm
}
