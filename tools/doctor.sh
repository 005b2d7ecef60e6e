#!/bin/sh
# Is everything here that building zjobs needs? Prints what is missing and how to get it on this machine.
# Usage: tools/doctor.sh PYTHON   (PYTHON may be empty: then none was found)
set -u
python=${1:-}
need_cargo=1.89
missing=

lacks() { # what
    missing="$missing
  - $1"
}

if [ -z "$python" ]; then
    lacks "Python 3.11 or newer (found: $(python3 --version 2>/dev/null || echo none))"
elif ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    lacks "the venv module of $python"
fi

command -v cc >/dev/null 2>&1 || lacks "a C compiler (no cc on the path): Rust links with it"

if command -v cargo >/dev/null 2>&1; then
    have=$(cargo --version | awk '{print $2}')
    oldest=$(printf '%s\n%s\n' "$need_cargo" "$have" | sort -t. -k1,1n -k2,2n | head -n 1)
    [ "$oldest" = "$need_cargo" ] || lacks "cargo $need_cargo or newer (found: $have)"
else
    lacks "cargo $need_cargo or newer (found: none)"
fi

[ -n "$missing" ] || exit 0

rustup="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh    # Rust, into your home folder"
system=$(uname -s)
[ ! -r /etc/os-release ] || system=$(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-} ${VERSION_ID:-}")
case $system in
"debian  12" | "debian 12")
    advice="sudo apt install python3-venv gcc cargo-web    # Rust from the security archive"
    ;;
*debian* | *ubuntu*)
    # Where python3 is older than 3.11 (Ubuntu 22.04), 3.11 is a package of its own.
    venv=python3-venv
    [ -n "$python" ] || python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || venv=python3.11-venv
    advice="sudo apt install $venv gcc curl
  $rustup"
    ;;
*fedora* | *rhel*)
    advice="sudo dnf install python3 gcc curl
  $rustup"
    ;;
Darwin)
    advice="xcode-select --install    # the C compiler
  brew install python@3.13
  $rustup"
    ;;
*)
    advice="Python, a C compiler: with the system's package manager
  $rustup"
    ;;
esac

cat >&2 <<END
zjobs cannot be built here yet. Missing:$missing

Get it with:
  $advice

then run make again. "make PYTHON=python3.13 ..." chooses another interpreter.
END
exit 1
