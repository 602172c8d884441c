#!/usr/bin/env bash
# A build inside a Slurm allocation: a Ray node on each machine, the build on the first. Again and again the same line:
#   sbatch pipelines/cluster/slurm.sh --source vqa.jsonl --out runs/mine --config internvl2-8b n=16
# Five minutes before its time is over the build is asked to stop; it then exits with 75 and the job is queued again.
# A site fills in these six lines (or gives them to sbatch), and MMPR, how mmpr is started on a node.
#SBATCH --nodes=2
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --time=04:00:00
#SBATCH --partition=gpu
#SBATCH --job-name=mmpr
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
MMPR=${MMPR:-.venv/bin/mmpr}

set -uo pipefail
ray=$(dirname "$MMPR")/ray
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
port=$((20000 + SLURM_JOB_ID % 10000)) # another job on the same machines takes another one
export RAY_ADDRESS="$head:$port" RAY_USAGE_STATS_ENABLED=0 SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"

# Whoever reaches Ray's ports can run programs as you: between users of the same machines stands Ray's token.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN="${RAY_AUTH_TOKEN:-$(openssl rand -hex 32)}"

start=("$ray" start --block --disable-usage-stats --num-cpus="$SRUN_CPUS_PER_TASK") # its GPUs Ray finds by itself
on() { srun --overlap --nodes=1 --ntasks=1 --nodelist="$1" "${@:2}" & }
on "$head" "${start[@]}" --head --port="$port" --dashboard-host=127.0.0.1
timeout 300 bash -c 'until "$0" status > /dev/null 2>&1; do sleep 2; done' "$ray" || { echo "Ray did not start"; exit 1; }
for host in "${hosts[@]:1}"; do on "$host" "${start[@]}" --address="$RAY_ADDRESS"; done

"$MMPR" build "$@" &
build=$!
trap 'kill -TERM $build' TERM
while :; do # a trap ends `wait` before the build has ended
    wait $build
    code=$?
    kill -0 $build 2> /dev/null || break
done
trap - TERM
kill $(jobs -p) 2> /dev/null
wait

if [ $code -eq 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
