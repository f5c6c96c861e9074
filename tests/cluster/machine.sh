#!/usr/bin/env bash
# Process 1 of one machine of the rack: builds its root, waits for its cable, becomes sshd.
#   machine.sh DISK ADDRESS/PREFIX KEY.PUB SHARED [SEEN...]
# DISK keeps what the machine writes, over power cycles too; /tmp, /run and /dev/shm are new each time. The root is
# this box's, copied on write, with an empty home. SEEN are folders that the new /tmp and home would hide: the
# interpreter, the virtual environment, the data cache. What is not private here is the kernel and its clock.
set -euo pipefail
disk=$1 address=$2 key=$3 shared=$4
shift 4
root=$disk/root
mkdir -p "$disk"/{root,upper,work,home/.ssh}

copied() { # FOLDER AT NAME: mounts a folder of this box, copied on write
  mkdir -p "$2" "$disk/$3/upper" "$disk/$3/work"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$disk/$3/upper,workdir=$disk/$3/work" "$2"
}

copied / "$root" system
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts" # the launcher asks for a terminal
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for i in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${i%:*}" "$root/dev/${i#*:}"; done
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount --bind "$disk/home" "$root/root"
n=0
for folder in "$@"; do
  n=$((n + 1))
  case $folder in /root/* | /tmp/* | /run/*) copied "$folder" "$root$folder" "seen$n" ;; esac
done
mkdir -p "$root$shared" "$root/run/sshd"
mount --bind "$shared" "$root$shared"
chmod 700 "$root/root" "$root/root/.ssh"
cp "$key" "$root/root/.ssh/authorized_keys"
[[ -e $root/root/hostkey ]] || ssh-keygen -q -t ed25519 -N '' -f "$root/root/hostkey"
printf '127.0.0.1 localhost\n%s %s\n' "${address%/*}" "$(hostname)" >"$root/etc/hosts"

for ((tries = 0; tries < 200; tries++)); do
  ip link show eth0 >"$root/dev/null" 2>&1 && break
  sleep 0.05
done
ip link set lo up
ip address replace "$address" dev eth0
ip link set eth0 up
cd "$root"
exec chroot "$root" /usr/sbin/sshd -D -e -f /dev/null -o HostKey=/root/hostkey -o PidFile=none -o UsePAM=no \
  -o PasswordAuthentication=no -o AuthorizedKeysFile=.ssh/authorized_keys -o MaxStartups=100 -o MaxSessions=100 \
  -o Subsystem="sftp internal-sftp"
