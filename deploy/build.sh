#!/usr/bin/env bash
# Builds the server as it is deployed: compiled for what a server was seen doing under load (profile-guided optimisation), which costs less CPU
# than `cargo build --release` gives (docs/adr/0012) and takes as long. Prints the program's path.
#   deploy/build.sh
# `deploy/profile.sh` makes the profile, which belongs to the pinned Rust and to the code of its day: functions that have changed since
# are compiled as without it. Flags in RUSTFLAGS are kept; those of a cargo configuration do not apply beside it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
cd "$root"
version=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
profile=$root/deploy/profile/rust-$version.profdata
if [ ! -f "$profile" ]; then
    echo "no profile of Rust $version: run deploy/profile.sh, or build without one (cargo build --release -p formledger-api)" >&2
    exit 1
fi
# A name of its own for each profile: cargo compiles again what other flags compiled, and does not look at the file that they name.
sum=$(sha256sum "$profile")
folder=$target/deploy
mkdir -p "$folder"
kept=$folder/${sum:0:16}.profdata
cp "$profile" "$kept"

separator=$'\x1f'
flags=${CARGO_ENCODED_RUSTFLAGS-}
if [ -z "$flags" ] && [ -n "${RUSTFLAGS-}" ]; then
    read -r -a given <<<"$RUSTFLAGS"
    flags=$(IFS=$separator && echo "${given[*]}")
fi
export CARGO_ENCODED_RUSTFLAGS="${flags:+$flags$separator}-Cprofile-use=$kept"
# Named so that only the program is compiled like this, not what runs while it is compiled.
host=$(rustc -vV | sed -n 's/^host: //p')
CARGO_TARGET_DIR=$folder cargo build --release --locked --target "$host" -p formledger-api --bin formledger >&2
echo "$folder/$host/release/formledger"
