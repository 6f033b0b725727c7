#!/bin/sh
# Installs hypha from the archive beside this script.
#
#   sh install.sh [--prefix DIR] [--units]
#
# --prefix DIR   where: programs to DIR/bin, pages for man to DIR/share/man (default /usr/local)
# --units        the units of systemd too, to DIR/lib/systemd/system; DIR is /usr or /usr/local, or ends so (the root of an image)
#
# An installed version is replaced; programs that run keep theirs until they are restarted.
set -eu

fail() {
  printf 'Cannot install: %s\n' "$1" >&2
  exit 1
}

prefix=/usr/local
units=no
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) [ -n "${2-}" ] || fail "--prefix needs a folder"; prefix=$2; shift 2 ;;
    --units) units=yes; shift ;;
    *) fail "unknown argument $1; known are --prefix DIR and --units" ;;
  esac
done

prefix=${prefix%/}
case $prefix in
  /*) ;;
  *) prefix=$PWD/$prefix ;;
esac
# systemd looks for units and for programs in its own folders alone.
case $units$prefix in
  no* | */usr | */usr/local) ;;
  *) fail "--units needs the prefix /usr or /usr/local: systemd finds no unit and no program in $prefix" ;;
esac

command -v sha256sum > /dev/null || fail "sha256sum is missing (Debian: coreutils)"
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
[ -f SHA256SUMS ] || fail "$here/SHA256SUMS is missing: get it from where the archive comes from"
archives=$(sed -n 's/^[0-9a-f]\{64\}  \(hypha-.*\.tar\.gz\)$/\1/p' SHA256SUMS)
[ -n "$archives" ] || fail "$here/SHA256SUMS names no archive"
machine=$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
archive=$(printf '%s\n' "$archives" | grep -- "-$machine\.tar\.gz\$") ||
  fail "$(echo $archives) is for another machine than this one ($(uname -s) $(uname -m))"
[ "$(printf '%s\n' "$archive" | wc -l)" -eq 1 ] ||
  fail "$here/SHA256SUMS names several archives for this machine: $(echo $archive); keep the files of one release in this folder"
[ -f "$archive" ] || fail "the archive that $here/SHA256SUMS names is missing"
grep -F -- "  $archive" SHA256SUMS | sha256sum -c - > /dev/null || fail "$here/$archive is not the file that SHA256SUMS names: get it again"

mkdir -p "$prefix/bin" 2> /dev/null && [ -w "$prefix/bin" ] ||
  fail "$prefix/bin cannot be written: run it with sudo, or choose a folder with --prefix"
work=$(mktemp -d "$prefix/.hypha-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
tar -xzf "$archive" -C "$work" --strip-components 1

# Also of a libc that is too old, or a file system that runs no programs: what is installed stays then.
version=$("$work/bin/hypha" certutil --version 2> "$work/said") ||
  fail "the program of $here/$archive does not run on this machine: $(cat "$work/said")"

# The executable first, in one step: the links of a former version start the new one.
mv -f "$work/bin/hypha" "$prefix/bin/hypha"
for link in "$work"/bin/hypha-*; do
  name=$(basename "$link")
  ln -sf hypha "$prefix/bin/.$name.new" && mv -f "$prefix/bin/.$name.new" "$prefix/bin/$name"
done
place() { # FOLDER-IN-ARCHIVE FOLDER
  mkdir -p "$2"
  for file in "$work/$1"/*; do mv -f "$file" "$2/"; done
}
place man "$prefix/share/man/man1"
place completions/bash "$prefix/share/bash-completion/completions"
place completions/zsh "$prefix/share/zsh/site-functions"
place completions/fish "$prefix/share/fish/vendor_completions.d"
rm -rf "$prefix/share/doc/hypha"
place doc "$prefix/share/doc/hypha"
[ "$units" = no ] || place systemd "$prefix/lib/systemd/system"

printf 'Installed %s in %s\n' "hypha ${version#hypha-certutil v}" "$prefix"
case :$PATH: in
  *:"$prefix/bin":*) ;;
  *) printf 'Put it on the path: export PATH="%s/bin:$PATH"\n' "$prefix" ;;
esac
[ "$units" = no ] || printf 'Units: systemctl daemon-reload, then as in %s/share/doc/hypha/docs/operations.md, "Run as services"\n' "$prefix"
