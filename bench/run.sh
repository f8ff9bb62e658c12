#!/usr/bin/env bash
# Compares Countersign with a hand-written server and with the physical limit.
# Starts everything itself, ends it, and prints a table. Flags are the
# program's: -rounds N -dur SECONDS -conns N -scenarios a,b -events N -audited -keep
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(uname -s)" != Linux ]; then
  echo "the comparison reads /proc and runs on Linux only" >&2
  exit 1
fi
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
echo "building (the first time takes a minute or two)" >&2
go build -o "$programs/countersign" ./cmd/countersign
go build -o "$programs/bench" ./bench
"$programs/bench" -countersign "$programs/countersign" "$@"
