#!/bin/sh
# Makes the disks of the sandbox's templates from Debian's packages.
#
#   build-images.sh TREE OUT PROGRAM…
#
# TREE is a root file system that mmdebstrap made; the PROGRAMs go to its /usr/local/bin. OUT gets a kernel, an
# initrd and four disks: cloud-init's modules in the order of Debian or of NixOS, with and without host keys.
set -eu
tree=$1 out=$2
shift 2

# The guests have no boot loader: QEMU starts this kernel itself.
cp "$tree"/boot/vmlinuz-* "$out/vmlinuz"
cp "$tree"/boot/initrd.img-* "$out/initrd"
rm -rf "$tree"/boot/* "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/var/log/*.log

# What a deployment brings to a NixOS host, sops-nix's two steps among it.
for program in "$@"; do
    install -m 0755 "$program" "$tree/usr/local/bin/"
done

echo 'LABEL=root / ext4 defaults 0 1' >"$tree/etc/fstab"
echo 'datasource_list: [ NoCloud, None ]' >"$tree/etc/cloud/cloud.cfg.d/90_dpkg.cfg"
# There is no locale to set, no partition to grow.
printf 'locale: false\ngrowpart: { mode: "off" }\n' >"$tree/etc/cloud/cloud.cfg.d/91_guest.cfg"
# Nobody reads these before a test is over, and under emulation they cost seconds.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-timesyncd.service getty@tty1.service; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done

disk() {
    truncate -s 3G "$out/$1.raw"
    mke2fs -q -t ext4 -L root -E lazy_itable_init=1 -d "$tree" "$out/$1.raw"
}

keys=$out/host-keys
mkdir "$keys"

# As Debian ships it: openssh-server made keys when it was installed, and `ssh` is one of cloud_init_modules.
disk debian-keys
mv "$tree"/etc/ssh/ssh_host_* "$keys/"
disk debian-bare

# As nixpkgs orders it (nixos/modules/services/system/cloud-init.nix): `ssh` is the last of cloud_config_modules, and
# nothing says that sshd starts after those.
sed -i -e '/^cloud_init_modules:/,/^$/{/^ *- ssh$/d}' "$tree/etc/cloud/cloud.cfg"
sed -i -e '/^cloud_config_modules:/,/^$/{s/^$/ - ssh\n/}' "$tree/etc/cloud/cloud.cfg"
# As nixpkgs' sshd module: a key is made before sshd starts, where there is none.
cat >"$tree/etc/systemd/system/sshd-keygen.service" <<'UNIT'
[Unit]
Description=SSH host key generation
Before=ssh.service

[Service]
Type=oneshot
RemainAfterExit=true
ExecStart=/bin/sh -c '[ -s /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key'

[Install]
WantedBy=multi-user.target
UNIT
# cloud-init's early stages come before it, as they do on NixOS; the unit is theirs by another name.
mkdir -p "$tree/etc/systemd/system/ssh.service.d" "$tree/etc/systemd/system/sshd-keygen.service.d"
printf '[Unit]\nWants=sshd-keygen.service\nAfter=sshd-keygen.service\n' >"$tree/etc/systemd/system/ssh.service.d/keygen.conf"
printf '[Unit]\nAfter=cloud-init.service\n' >"$tree/etc/systemd/system/sshd-keygen.service.d/order.conf"
disk nixos-bare
cp -p "$keys"/* "$tree/etc/ssh/"
disk nixos-keys
rm -r "$keys"
