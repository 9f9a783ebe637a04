#!/usr/bin/env bash
# Proves the two commands of README.md on a bare Debian 12: debootstrap (minbase) into a temporary
# folder, a clean clone of HEAD inside, and there, through chroot:
#
#   ./rillw run "Why is the sky blue?"     from nothing
#   ./rillw run …                          again: must do no set-up work
#   ./rillw test                           from nothing
#
# Prints how long each took. Exits 1 when one fails. Needs root, debootstrap and unshare.
#
# The guest gets this machine's ways to the outside and nothing else: apt's configuration, pip's
# configuration (files, PIP_* variables, and the local folders that they name), proxies,
# certificates, resolv.conf. What they are is read from this machine.
#
#   --skip-test      only the `run` half
#   --ccache DIR     lend the guest this compiler cache: shows that all works, not how long it takes
#   --keep           leave the folder for a look inside; it is named at the end
#   --folder DIR     where to build it (default: a new folder in ${TMPDIR:-/var/tmp})
set -euo pipefail

source_root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
skip_test=false
keep=false
ccache=
parent=${TMPDIR:-/var/tmp}
arguments=("$@")
while [[ $# -gt 0 ]]; do
  case $1 in
    --skip-test) skip_test=true ;;
    --keep) keep=true ;;
    --folder)
      parent=$2
      shift
      ;;
    --ccache)
      ccache=$2
      shift
      ;;
    *)
      sed -n '2,/^set -euo/p' "${BASH_SOURCE[0]}" | sed -n 's/^# \{0,1\}//p'
      [[ $1 == --help ]] && exit 0
      exit 2
      ;;
  esac
  shift
done

say() { printf 'check_bare_debian: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

[[ $(id -u) -eq 0 ]] || die "needs root, for chroot"
for tool in debootstrap unshare chroot git; do
  command -v "$tool" >/dev/null || die "needs $tool (Debian: apt install debootstrap util-linux git)"
done
# In a mount namespace of its own, whatever this mounts is gone when it ends, however it ends.
if [[ ${RILL_CHECK_NAMESPACE:-} != 1 ]]; then
  RILL_CHECK_NAMESPACE=1 exec unshare --mount --propagation private \
    "${BASH_SOURCE[0]}" "${arguments[@]}"
fi

guest=$(mktemp -d "$parent/rill-bare-debian.XXXXXX")
# shellcheck disable=SC2317 # the trap below calls it
finish() {
  local status=$?
  # Nothing of the host may be mounted below the folder when it is removed.
  awk -v below="$guest/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r |
    while read -r mounted; do umount -l "$mounted"; done
  if grep -q " $guest/" /proc/self/mounts; then
    say "could not unmount everything below $guest; left as it is"
  elif $keep; then
    say "left in $guest"
  else
    rm -rf --one-file-system "$guest"
  fi
  exit "$status"
}
trap finish EXIT

# Copies a file or folder of the host to the same place in the guest, links resolved.
copy_in() {
  local path
  for path in "$@"; do
    [[ -e $path ]] || continue
    mkdir -p "$guest$(dirname -- "$path")"
    rm -rf "${guest:?}$path"
    cp -rL --preserve=mode "$path" "$guest$path" 2>/dev/null || true
  done
}

mount_in() {
  mkdir -p "$guest$1"
  mount --bind "$1" "$guest$1"
  mount -o remount,bind,ro "$guest$1"
}

# --- the system ---------------------------------------------------------------------------------
# shellcheck disable=SC2016 # $(SITE) is apt-get's own format language
mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
  awk '$2 == "bookworm" { print $1; exit }')
[[ -n $mirror ]] || die "apt here knows no mirror of Debian bookworm"
eval "$(apt-config shell apt_http_proxy Acquire::http::Proxy apt_https_proxy Acquire::https::Proxy)"
[[ -z ${apt_http_proxy:-} || $apt_http_proxy == DIRECT ]] || export http_proxy=$apt_http_proxy
[[ -z ${apt_https_proxy:-} || $apt_https_proxy == DIRECT ]] || export https_proxy=$apt_https_proxy
say "debootstrap --variant=minbase bookworm from $mirror"
start=$SECONDS
debootstrap --variant=minbase bookworm "$guest" "$mirror" >"$guest.log" 2>&1 || {
  tail -n 20 "$guest.log" >&2
  die "debootstrap failed"
}
rm -f "$guest.log"
say "minimal Debian: $((SECONDS - start)) s, $(du -sm "$guest" | cut -f1) MB"

rm -f "$guest/etc/apt/sources.list"
copy_in /etc/apt /usr/share/keyrings /etc/resolv.conf /etc/hosts \
  /etc/pip.conf /etc/xdg/pip /etc/ssl/certs /usr/local/share/ca-certificates
for file in .config/pip .pip; do
  [[ ! -e ${HOME:-/root}/$file ]] || {
    mkdir -p "$guest/root/$(dirname "$file")"
    cp -rL "${HOME:-/root}/$file" "$guest/root/$file"
  }
done
# The guest's own ca-certificates package writes the bundle anew: what the host trusts beyond
# Debian's list has to be where that package looks.
bundle=/etc/ssl/certs/ca-certificates.crt
if [[ -f $bundle ]]; then
  mkdir -p "$guest/usr/local/share/ca-certificates"
  cp "$bundle" "$guest/usr/local/share/ca-certificates/host-bundle.crt"
fi
# Local folders that pip is told to look in. An index called …/simple refers to files beside it.
while read -r path; do
  [[ $path != */simple ]] || path=${path%/simple}
  [[ -d $path ]] || continue
  case $path in / | /etc* | /usr | /root | /home) continue ;; esac
  grep -q " $guest$path " /proc/self/mounts || mount_in "$path"
done < <(python3 -m pip config list 2>/dev/null | sed -n "s/^[^=]*='\(.*\)'\$/\1/p" |
  tr ' ' '\n' | sed 's|^file://||' | grep '^/' | sort -u)
if [[ -n $ccache ]]; then
  say "with the compiler cache $ccache: build times below are not those of a bare machine"
  mkdir -p "$guest/root/.cache/ccache"
  mount --bind "$ccache" "$guest/root/.cache/ccache"
fi
mount -t proc proc "$guest/proc"
mount --rbind /dev "$guest/dev"

# The tests' data, where it is here: without it many tests skip themselves.
shared=${RILL_SHARED_DATA:-$source_root/../shared/data}
if [[ -d $shared ]]; then
  mkdir -p "$guest/root/shared/data"
  mount --bind "$shared" "$guest/root/shared/data"
  mount -o remount,bind,ro "$guest/root/shared/data"
else
  say "no shared data here: tests that need it will be skipped"
fi

# --- the repository -----------------------------------------------------------------------------
git clone -q --no-hardlinks "$source_root" "$guest/root/rill"
say "commit $(git -C "$source_root" log -1 --format='%h %s')"
git -C "$source_root" diff --quiet HEAD || say "note: uncommitted changes are not in the clone"

environment=(HOME=/root USER=root LANG=C.UTF-8
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
while IFS= read -r variable; do environment+=("$variable"); done < <(env |
  grep -E '^(PIP_[A-Z_]+|[a-zA-Z]+_proxy|[A-Z]+_PROXY|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)=')
inside() { chroot "$guest" env -i "${environment[@]}" bash -c "cd /root/rill && $1" </dev/null; }

# timed WHAT COMMAND: runs COMMAND in the guest, says how long it took.
timed() {
  local begin end status=0
  begin=$(date +%s%N)
  inside "$2" || status=$?
  end=$(date +%s%N)
  last_ms=$(((end - begin) / 1000000))
  say "$1: $last_ms ms, exit status $status"
  return "$status"
}

failed=0
answer=$guest/root/answer.txt
# $answer is written by the guest, so its name is the guest's.
timed "first ./rillw run" './rillw run --temperature 0 -n 200 "Why is the sky blue?" >/root/answer.txt' ||
  failed=1
[[ ! -s $answer ]] || sed 's/^/  | /' "$answer" >&2
[[ -s $answer ]] || {
  say "no answer on stdout"
  failed=1
}
timed "second ./rillw run" './rillw run --temperature 0 -n 1 "Hi" >/root/second.txt 2>/root/second.err' ||
  failed=1
if grep -q '^rillw:' "$guest/root/second.err"; then
  say "the second start did set-up work:"
  grep '^rillw:' "$guest/root/second.err" >&2
  failed=1
fi
# From the call to the end of the answer's one token.
if [[ $last_ms -ge 500 ]]; then
  say "the second start took $last_ms ms: expected less than 500 (on a machine with nothing else to do)"
  failed=1
fi
if ! $skip_test; then
  timed "./rillw test" './rillw test' || failed=1
fi
[[ $failed -eq 0 ]] && say "both commands work on a bare Debian 12"
exit "$failed"
