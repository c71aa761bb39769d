#!/bin/sh
# Runs a command as on a disk whose sync takes MICROSECONDS longer: bench/slow-disk.sh MICROSECONDS COMMAND [ARGUMENT]…
# What a rented machine's network volume costs (about 1,000) decides what group commit is worth. Before the command starts, syncs are
# timed as every user that a contestant runs as: the loader only warns of a library it cannot load, and one contestant alone would be slow.
set -eu

# Syncs that are timed of each user.
SYNCS=20

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
if [ $# -lt 2 ]; then
    echo "usage: $0 MICROSECONDS COMMAND [ARGUMENT]…" >&2
    exit 2
fi
case $1 in '' | *[!0-9]*) echo "\`$1\` is not a number of microseconds" >&2 && exit 2 ;; esac
SLOW_DISK_US=$1
shift
export SLOW_DISK_US

# A folder that every user may enter: Postgres runs as a user without privileges where root runs the figures. It stays, because
# the command takes the place of this script.
folder=$(mktemp -d)
chmod 755 "$folder"
library=$folder/slow-disk.so
case $library in *[[:space:]:]*) echo "LD_PRELOAD cannot name \`$library\`: set TMPDIR to a folder without spaces and colons" >&2 && exit 2 ;; esac
cc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$library" "$here/slow-disk.c"
chmod 644 "$library"

time_syncs() { # what to preload, where to write, then what runs a command as somebody; microseconds of one `dd`
    preload=$1
    place=$2
    shift 2
    began=$(date +%s%N)
    at=0
    while [ "$at" -lt "$SYNCS" ]; do
        "$@" env LD_PRELOAD="$preload" dd if=/dev/zero of="$place/probe" bs=512 count=1 conv=fdatasync status=none
        at=$((at + 1))
    done
    echo $((($(date +%s%N) - began) / 1000 / SYNCS))
}

prove() { # who, then what runs a command as them
    who=$1
    shift
    place=$(mktemp -d)
    chmod 777 "$place"
    bare=$(time_syncs "" "$place" "$@")
    slowed=$(time_syncs "$library" "$place" "$@")
    rm -rf "$place"
    # Half of it: a busy machine runs the same command faster or slower by milliseconds.
    if [ $((slowed - bare)) -lt $((SLOW_DISK_US / 2)) ]; then
        echo "A sync of $who took $slowed µs with $library and $bare µs without, which is not $SLOW_DISK_US µs longer: it is not loaded" >&2
        exit 1
    fi
}

# The delay has to stand out from starting `dd`, which takes a millisecond and on a busy machine ten: the proof asks for more.
asked=$SLOW_DISK_US
SLOW_DISK_US=$((asked + 20000))
prove "$(id -un)"
if [ "$(id -u)" -eq 0 ]; then
    for user in postgres nobody; do
        if id "$user" >/dev/null 2>&1; then
            prove "$user" setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups
        fi
    done
fi
SLOW_DISK_US=$asked
LD_PRELOAD=$library exec "$@"
