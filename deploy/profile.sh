#!/usr/bin/env bash
# Writes the profile that `deploy/build.sh` compiles the server for: builds it so that it counts what it executes, lets the benchmarks use it in
# every way on both storages, and keeps the counts in deploy/profile/. Before a release, and when the pinned Rust changes; half an hour
# on two cores. Needs rustup (for the pinned Rust's `llvm-tools`) and what tests/run installs.
#   deploy/profile.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
cd "$root"
version=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
host=$(rustc -vV | sed -n 's/^host: //p')
rustup component add llvm-tools
merge=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata

folder=$target/deploy-profile
mkdir -p "$folder"
CARGO_TARGET_DIR=$target cargo build --release --locked --target "$host" -p formledger-bench
# Counts that are written elsewhere than asked for below would lie there.
CARGO_TARGET_DIR=$folder CARGO_ENCODED_RUSTFLAGS=-Cprofile-generate=$folder \
    cargo build --release --locked --target "$host" -p formledger-api --bin formledger

counts=$(mktemp -d)
trap 'rm -rf "$counts"' EXIT
# One file for each server; a server writes it when it is asked to stop.
export LLVM_PROFILE_FILE=$counts/%p.profraw
servers=0
used() { # how many servers are started, then what of the benchmarks uses them
    servers=$((servers + $1))
    "$target/$host/release/formledger-bench" "$2" --formledger "$folder/$host/release/formledger" "${@:3}"
}
# On SQLite each number of connections is tried with one transaction for each command as well.
used 4 compare --connections 64,1200 --no-floor --rounds 1 --duration 10
used 2 compare --storage postgres --connections 64,1200 --no-floor --rounds 1 --duration 10
used 1 compare --storage postgres --tenants 1000 --connections 1200 --no-floor --rounds 1 --duration 5
used 1 requests --rounds 1 --submissions 5000
used 1 requests --storage postgres --rounds 1 --submissions 5000
used 1 history --rounds 1 --tasks 5000 --submissions 5000

written=$(find "$counts" -name '*.profraw' -size +0 | wc -l)
if [ "$written" -ne "$servers" ]; then
    echo "$written of $servers servers wrote what they counted: one did not stop when it was asked to" >&2
    exit 1
fi
mkdir -p deploy/profile
"$merge" merge --sparse --output "deploy/profile/rust-$version.profdata" "$counts"/*.profraw
ls -l "deploy/profile/rust-$version.profdata"
