#!/bin/sh
# Postgres' archive_command: copies one finished segment of the log to the archive, for recovery to any moment since a base backup.
#   archive-wal.sh PATH NAME ARCHIVE
# Success is said only when the whole segment is on disk. A segment that is there already, byte for byte, is a success too: Postgres asks
# again when it was interrupted before it heard the answer. A different one of that name is an error that only a person can solve.
set -eu
path=$1 name=$2 archive=$3
if [ -e "$archive/$name" ]; then
    cmp -s "$path" "$archive/$name" && exit
    echo "archive-wal.sh: another file is in the archive as $name: two servers archive there, or it was damaged" >&2
    exit 1
fi
# Hidden, and what an interruption left is written again. Not `$name.partial`: Postgres archives the last segment of a timeline by that name.
copy=$archive/.$name.copying
cp "$path" "$copy"
sync "$copy"
mv "$copy" "$archive/$name"
sync "$archive"
