#!/usr/bin/env bash
# Installs what Offshoot needs to build, run and test on Debian and Ubuntu: system packages through apt, Node packages
# through npm. Does only what is missing, and says what it does.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$1"; }
stop() {
  printf 'setup: %s\n' "$1" >&2
  exit 1
}

# Package, and what it is for. One line a package, so that the list can be read.
packages() {
  cat <<'LIST'
qemu-system-x86   the hypervisor
qemu-utils        qemu-img, qemu-io: disks of the tests
busybox-static    user land of the default image
cpio              initial ramdisk of the default image
e2fsprogs         mkfs.ext4: root disk of the default image
kmod              order of the guest's kernel modules
binutils          strip: a smaller Node in the image; bare guest of the tests
xz-utils          kernel modules packed with xz
zstd              kernel modules packed with zstd
iproute2          bridge of the tap network
nftables          rules of the tap network
build-essential   better-sqlite3, where no prebuilt one fits; bare guest and C library of the tests
python3           node-gyp, for the same; Python library of the tests
xfsprogs          file systems with reflinks in the tests, where run as root
btrfs-progs       the same
sudo              the privileged helper of the tests' unprivileged daemon
LIST
}

[ "$(uname -s)/$(uname -m)" = Linux/x86_64 ] || stop "Offshoot runs on Linux on x86_64, this is $(uname -s) on $(uname -m)"
[ -r "${OFFSHOOT_OS_RELEASE:-/etc/os-release}" ] || stop 'cannot tell the distribution: /etc/os-release is missing'
distribution=$(. "${OFFSHOOT_OS_RELEASE:-/etc/os-release}" && echo "${ID:-unknown}")
case $distribution in
  debian | ubuntu) ;;
  *) stop "knows Debian and Ubuntu, this is '$distribution': install the packages listed in scripts/setup.sh yourself, then run 'npm ci'" ;;
esac

check_node() {
  local version major
  version=$(node --version)
  major=${version#v}
  [ "${major%%.*}" -ge 20 ] || stop "needs Node 20 or later, this is $version: install a newer one from nodejs.org, then run this again"
}
! command -v node >/dev/null || check_node

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    stop "needs root to run '$*', and sudo is not installed: run that as root, then run this again"
  fi
}
apt_install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; }
refreshed=
refresh() {
  [ -z "$refreshed" ] || return 0
  say 'apt-get update'
  as_root apt-get update -q
  refreshed=yes
}
has_candidate() { [[ $(apt-cache policy "$1" 2>/dev/null) =~ Candidate:\ [^\(] ]]; }

# The image build downloads the guest's kernel by package name.
case $distribution in debian) kernel=linux-image-cloud-amd64 ;; ubuntu) kernel=linux-image-virtual ;; esac
has_candidate "$kernel" || refresh

missing=()
while read -r package _; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done < <(packages)
if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${missing[*]}"
  refresh
  apt_install "${missing[@]}"
else
  say 'system packages are there'
fi

if ! command -v node >/dev/null; then
  offered=$(apt-cache policy nodejs 2>/dev/null | sed -n 's/.*Candidate: \([0-9]*\).*/\1/p')
  [ "${offered:-0}" -ge 20 ] || stop "needs Node 20 or later, there is none and apt offers ${offered:-none}: install it from nodejs.org, then run this again"
  say 'installing nodejs and npm'
  apt_install nodejs npm
  check_node
fi

# Native packages are built for one Node: its ABI belongs to what is installed.
want=$({ cat package-lock.json; node -p process.versions.modules; } | sha256sum | cut -d' ' -f1)
stamp=node_modules/.offshoot-setup
if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
  say 'Node packages are there'
else
  say 'npm ci'
  npm ci --no-audit --no-fund
  echo "$want" >"$stamp"
fi
say 'done'
