#!/usr/bin/env bash
# Try the batch on a SLURM of two pretended nodes, with two pretended GPUs each, on this machine alone
# (make test-cluster). Needs root, and Debian's slurm-wlm and munge, which are installed if they are not there. What
# is started and written, in $work and in /etc/slurm, is stopped and removed at the end; the packages stay.
# With arguments, they are run as a command in place of the checks: tests/cluster/slurm.sh sinfo
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo PYTHONDONTWRITEBYTECODE=1 bash "$0" "$@"
cd "$(dirname "$0")/../.."

work=/run/cam_utils-slurm
mark="# Written by cam_utils/tests/cluster/slurm.sh, which removes it at its end."
files=(/etc/slurm/slurm.conf /etc/slurm/gres.conf)  # elsewhere srun in a job would not find them
daemons=(slurmd-one slurmd-two slurmctld munged)

fail() {
  echo "cluster: $1" >&2
  exit 1
}

for file in "${files[@]}"; do
  if [ -e "$file" ] && ! grep -qxF "$mark" "$file"; then
    fail "$file is not of this script: this machine has a SLURM of its own, which is left alone"
  fi
done
exec 9>$work.lock
flock -n 9 || fail "another one is under way"

# A daemon is stopped by the number in its file, if that is still a process of that name.
stop() {
  local pid state signal
  pid=$(cat "$work/$1.pid" 2>/dev/null) || return 0
  for signal in TERM KILL; do
    for _ in $(seq 50); do
      [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${1%%-*}" ] || return 0
      state=$(awk '$1 == "State:" { print $2 }' "/proc/$pid/status" 2>/dev/null) || return 0
      [ "$state" != Z ] || return 0  # ended; in some containers nobody takes note of it
      kill -"$signal" "$pid" 2>/dev/null || return 0
      sleep 0.2
    done
  done
}

stop_all() {
  if [ -e "$work/slurmctld.pid" ]; then
    for state in PENDING RUNNING; do timeout 10 scancel --quiet --partition=gpu --state=$state || true; done
    for _ in $(seq 30); do
      [ -n "$(timeout 10 squeue --noheader 2>/dev/null)" ] || break  # the processes of a job end with it
      sleep 0.5
    done
  fi
  for name in "${daemons[@]}"; do stop "$name"; done
}

finish() {
  local status=$?
  trap '' INT TERM
  [ "$status" = 0 ] || tail -n 20 "$work"/*.log >&2 || true
  stop_all
  rm -rf "$work" "$work.lock" "${files[@]}"
  exit "$status"
}

if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
fi

trap finish EXIT
trap 'exit 130' INT TERM
stop_all  # what a killed script has left
rm -rf "$work"
mkdir -p "$work/state" "$work/spool-one" "$work/spool-two" /etc/slurm
host=$(hostname -s)

# Keys, sockets, ports and states of its own: nothing is shared with a munge or SLURM that this machine may run.
# More CPUs and memory than there may be are pretended, since the jobs here need next to none.
printf '%s\n' "$mark" "Name=gpu File=/dev/null" "Name=gpu File=/dev/zero" >/etc/slurm/gres.conf
cat >/etc/slurm/slurm.conf <<CONF
$mark
ClusterName=pretended
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$work/munge.socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool-%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
MinJobAge=43200
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs=4 RealMemory=131072 Gres=gpu:2
NodeName=one NodeHostname=$host NodeAddr=127.0.0.1 Port=16818
NodeName=two NodeHostname=$host NodeAddr=127.0.0.1 Port=16819
PartitionName=gpu Nodes=one,two Default=YES MaxTime=INFINITE State=UP
CONF
(umask 077 && head -c 128 /dev/urandom >"$work/munge.key")
munged --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
  --log-file="$work/munged.log" --seed-file="$work/munged.seed" 9>&-
slurmctld 9>&-
for name in one two; do slurmd -N $name 9>&-; done
for _ in $(seq 60); do
  states=$(sinfo --noheader --Node --format=%T 2>/dev/null | xargs || true)
  [ "$states" != "idle idle" ] || break
  sleep 0.5
done
[ "$states" = "idle idle" ] || fail "the nodes do not become idle: $states"

if [ $# -gt 0 ]; then
  "$@"
  exit
fi
# Without the tests' own configuration, which imports torch and more.
.venv/bin/python -m pytest -q -c /dev/null --rootdir=. --noconftest -p no:cacheprovider --basetemp="$work/tests" \
  --durations=0 --durations-min=1 tests/cluster/checks.py | tee "$work/checks.log"
echo "cluster: $(grep -oE '^[0-9]+ passed' "$work/checks.log" | cut -d' ' -f1) checks passed"
