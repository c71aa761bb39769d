#!/bin/sh
# Runs a command as on a disk whose sync takes MICROSECONDS longer: bench/slow-disk.sh MICROSECONDS COMMAND [ARGUMENT]…
# What a rented machine's network volume costs (about 1,000) decides what group commit is worth. The figures' `fdatasync` line shows it.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
if [ $# -lt 2 ]; then
    echo "usage: $0 MICROSECONDS COMMAND [ARGUMENT]…" >&2
    exit 2
fi
case $1 in '' | *[!0-9]*) echo "\`$1\` is not a number of microseconds" >&2 && exit 2 ;; esac
library=${CARGO_TARGET_DIR:-$here/../target}/slow-disk.so
mkdir -p "$(dirname -- "$library")"
library=$(CDPATH= cd -- "$(dirname -- "$library")" && pwd)/slow-disk.so
cc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$library" "$here/slow-disk.c"
SLOW_DISK_US=$1
shift
export SLOW_DISK_US
LD_PRELOAD=$library exec "$@"
