#!/bin/sh
# Print the folder where cargo keeps compiled crates: one per Cargo.lock and compiler, in the user's cache, shared by
# clones (tools/turn.py keeps them apart). Without a cache folder that can be written: target/ in this clone.
# With --prune: remove such folders that nobody used for two weeks, and print nothing.
set -eu
clone=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/zjobs

if [ "${1:-}" = --prune ]; then
    [ ! -d "$cache" ] || find "$cache" -maxdepth 1 -name 'target-*' -mtime +14 -exec rm -rf {} +
    exit 0
fi

key=$({ cat "$clone/Cargo.lock"; rustc -vV 2>/dev/null || :; } | cksum | tr ' ' '-')
folder=$cache/target-$key
if [ -n "${XDG_CACHE_HOME:-}${HOME:-}" ] && mkdir -p "$folder" 2>/dev/null && [ -w "$folder" ]; then
    touch "$folder"
    echo "$folder"
else
    echo "$clone/target"
fi
