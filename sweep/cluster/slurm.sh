# Ray starts on every node of the job, the sweep runs beside its head, and all that was started here is ended in
# the end: nothing of another job, not even of one on the same node. Lines above are this job's own.
set -uo pipefail
requeues=${SLURM_RESTART_COUNT:-0}
cpus=${SLURM_CPUS_PER_TASK:-1}
nodes=$SLURM_JOB_NUM_NODES
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(hostname):$((20000 + SLURM_JOB_ID % 12000)) # a port of the job's own, as is its folder
folder=/tmp/ray-$SLURM_JOB_ID

# Only who has this job's environment, its owner, can use this Ray.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')

steps=() sweep=
finish() {
  trap '' TERM USR2
  if ((${#steps[@]})); then
    kill "${steps[@]}" 2>/dev/null # srun then kills what it started
    wait "${steps[@]}" 2>/dev/null
  fi
  srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --overlap rm -rf "$folder"
}
trap finish EXIT
# Before the time limit, or if the machines are wanted for others: checkpoint what runs, then go on later.
warned=
trap 'warned=yes; [[ -n $sweep ]] && kill -USR2 "$sweep" 2>/dev/null' USR2
trap '[[ -n $sweep ]] && kill -TERM "$sweep" 2>/dev/null' TERM

# Ray on one node. If the job is cancelled, Slurm starts nothing more and soon kills what is left, so that the folder
# is removed at its first signal: Ray gets some seconds before.
with_folder='
  asked() {
    for ((i = 0; i < 16; i++)); do kill -0 "$ray" 2>/dev/null && sleep 0.5; done
    kill -KILL "$ray" 2>/dev/null
    rm -rf "$0"
    exit
  }
  trap asked TERM
  "$@" &
  ray=$!
  wait "$ray"
'

ray_start() { # COUNT NAMES OPTION...: starts Ray there, with what the job has of these nodes
  local count=$1 names=$2
  shift 2
  srun --nodes="$count" --ntasks="$count" --ntasks-per-node=1 --nodelist="$names" --overlap \
    --cpus-per-task="$cpus" "${ray_gpus[@]}" bash -c "$with_folder" "$folder" \
    "$bin/ray" start --block --temp-dir="$folder" --num-cpus="$cpus" --num-gpus="$gpus" \
    --dashboard-agent-listen-port=0 "$@" >>"$log" 2>&1 &
  steps+=($!)
}
ray_gpus=()
((gpus > 0)) && ray_gpus=(--gpus-per-node="$gpus")
log=$out.slurm-$SLURM_JOB_ID.ray.log
mkdir -p "$(dirname "$out")"
ray_start 1 "$first" --head --port="${address#*:}" --include-dashboard=false
for ((waited = 0; waited < 120; waited++)); do
  (exec 3<>"/dev/tcp/${address%:*}/${address#*:}") 2>/dev/null && break
  kill -0 "${steps[0]}" 2>/dev/null || break
  sleep 1
done
if ((nodes > 1)); then
  others=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | tail -n +2 | paste -sd,)
  ray_start $((nodes - 1)) "$others" --address="$address"
fi

status=130
if [[ -z $warned ]]; then
  "$bin/sweep" run "$file" --out "$out" --address "$address" --workers $((nodes - 1)) "${options[@]}" &
  sweep=$!
fi
while [[ -n $sweep ]] && kill -0 "$sweep" 2>/dev/null; do # a signal interrupts `wait`
  wait "$sweep"
  status=$?
done
# 130: it has checkpointed; the other one: it had not even begun to listen.
if [[ -n $warned && ($status == 130 || $status == $((128 + $(kill -l USR2)))) ]]; then
  if ((requeues < most_requeues)); then
    echo "requeued ($((requeues + 1)) of at most $most_requeues times)"
    finish
    trap - EXIT
    scontrol requeue "$SLURM_JOB_ID"
    sleep 60 # Slurm ends this run of the job meanwhile
  fi
  echo "not requeued: it was already, $requeues times; to go on, sbatch this script again"
fi
exit "$status"
