#!/bin/sh
# Repeats the published figures from source: builds the server as it is deployed, this tool and (where there is a Go toolchain) the Go
# comparison, then runs everything. Arguments go to `formledger-bench figures`. Takes about 20 minutes with the defaults.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH= cd -- "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
export CARGO_TARGET_DIR="$target"

server=$(bash "$root/deploy/build.sh")
(cd "$root" && cargo build --release --locked -p formledger-bench)
if go_program=$(CARGO_TARGET_DIR=$target "$here/go/build.sh"); then
    set -- --go "$go_program" "$@"
else
    echo "going on without the Go comparison" >&2
fi
exec "$target/release/formledger-bench" figures --formledger "$server" "$@"
