#!/bin/sh
# Slurm's programs from Debian's packages, unless they are here. Where that is not possible: one sentence, exit code 1.
set -eu
PATH="$PATH:/usr/sbin:/sbin"

missing() {
    for program in munged slurmctld slurmd sbatch srun; do
        command -v "$program" >/dev/null || return 0
    done
    return 1
}

fail() {
    echo "error: Slurm is not installed and $1: install slurm-wlm and munge (22.05 or newer), then run this again" >&2
    exit 1
}

missing || exit 0
command -v apt-get >/dev/null || fail "there is no apt-get"
if [ "$(id -u)" = 0 ]; then
    run=
elif sudo -n true 2>/dev/null; then
    run=sudo
else
    fail "installing it needs root"
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
echo "installing slurm-wlm and munge"
{
    $run apt-get -qq update &&
        $run apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends slurm-wlm munge
} >"$log" 2>&1 || fail "apt-get cannot install it ($(grep -m 1 '^[EW]:' "$log"))"
missing && fail "apt-get has not brought all of its programs"
exit 0
