#!/bin/bash
# One machine as a Slurm cluster, without systemd and without accounting: slurm_cluster.sh up DIR, slurm_cluster.sh down DIR
# Needs root, and: apt-get install -y slurm-wlm munge. Its clients need SLURM_CONF=DIR/slurm.conf.
set -eu
what=$1 dir=$2 host=$(hostname -s)

down() {
  export SLURM_CONF=$dir/slurm.conf
  scancel --user="$(id -un)" 2>/dev/null || true
  for _ in $(seq 50); do  # a step that can tell nobody of its end would stay
    [ -z "$(squeue -h 2>/dev/null)" ] && break
    sleep 0.2
  done
  for daemon in slurmd slurmctld munged; do
    if [ -f "$dir/run/$daemon.pid" ]; then kill "$(cat "$dir/run/$daemon.pid")" 2>/dev/null || true; fi
  done
}

up() {
  mkdir -p "$dir"/{state,spool,log,run}
  chmod 755 "$dir" "$dir/run"
  head -c 1024 /dev/urandom > "$dir/munge.key"
  chmod 600 "$dir/munge.key"
  cat > "$dir/slurm.conf" <<CONF
ClusterName=ditbench
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${SLURM_TEST_PORT:-16817}
SlurmdPort=$((${SLURM_TEST_PORT:-16817} + 1))
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.sock,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
  export SLURM_CONF=$dir/slurm.conf
  munged --key-file="$dir/munge.key" --socket="$dir/run/munge.sock" --pid-file="$dir/run/munged.pid" \
    --log-file="$dir/log/munged.log" --seed-file="$dir/run/munged.seed"
  slurmctld
  slurmd -N "$host"
  for _ in $(seq 150); do
    [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && return
    sleep 0.2
  done
  echo "Slurm did not come up; see $dir/log" >&2
  down
  return 1
}

"$what"
