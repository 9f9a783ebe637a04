#!/usr/bin/env bash
# Libraries and headers of Debian's arm64 packages in a folder, for the cross build (preset
# "aarch64") and for running what it makes under qemu-user. The system is not changed: apt keeps its
# lists and archives for this in the folder, and packages are unpacked, not installed.
#
# usage: tools/aarch64_sysroot.sh [FOLDER]      default: build/aarch64-sysroot
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
folder=${1:-$root/build/aarch64-sysroot}
# What CMakeLists.txt looks for; 45 MB with all that they need.
packages=(libsimdjson-dev libfmt-dev libcli11-dev libpcre2-dev libutf8proc-dev
  libcurl4-openssl-dev libssl-dev libboost1.81-dev libxxhash-dev libedit-dev libgtest-dev
  libgmock-dev)
# The compiler brings these itself.
skipped='^(libc6-dev|libc-dev-bin|linux-libc-dev|libstdc\+\+-[0-9]+-dev|libgcc-[0-9]+-dev|googletest)_'

stamp=$folder/.complete
wanted="${packages[*]}"
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then exit 0; fi
for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || {
    echo "aarch64_sysroot: needs $tool" >&2
    exit 1
  }
done

rm -rf "$folder"
apt=$folder/.apt
mkdir -p "$apt"/{state/lists/partial,cache/archives/partial}
folder=$(cd -- "$folder" && pwd -P)
apt=$folder/.apt
: >"$apt/state/status"
cat >"$apt/apt.conf" <<CONF
APT::Architecture "arm64";
#clear APT::Architectures;
APT::Architectures { "arm64"; };
Dir::State "$apt/state";
Dir::State::status "$apt/state/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "$(id -un)";
APT::Get::List-Cleanup "0";
CONF
export APT_CONFIG=$apt/apt.conf
# Lists of sources that have nothing for arm64 may fail; whether the packages are there decides.
apt-get -q -q update || true
apt-get -q -q -y install --no-install-recommends --download-only "${packages[@]}"
for archive in "$apt"/cache/archives/*.deb; do
  [[ ${archive##*/} =~ $skipped ]] && continue
  dpkg-deb -x "$archive" "$folder"
done
# The folder is for one architecture: its own headers go where the others are.
cp -a "$folder/usr/include/aarch64-linux-gnu/." "$folder/usr/include/"
# Absolute links would lead out of the folder.
find "$folder" -xtype l -lname '/*' -print0 | while IFS= read -r -d '' link; do
  target=$folder$(readlink "$link")
  [[ -e $target ]] && ln -sfn "$target" "$link"
done
rm -rf "$apt"
printf '%s\n' "$wanted" >"$stamp"
