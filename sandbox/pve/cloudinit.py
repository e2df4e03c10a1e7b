"""The data that PVE hands to cloud-init: what qemu-server's PVE/QemuServer/Cloudinit.pm makes at each start.

User data is the snippet that `cicustom` names, or else made from the VM's config; network data comes from
`ipconfigN`, in version 1 of cloud-init's format; meta data holds an instance-id that is the SHA-1 of both, so a
change of either makes a new instance of the guest. They reach it as a CD-ROM labelled `cidata` (NoCloud).
"""

import hashlib
import ipaddress
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

Config = dict[str, Any]


class MissingSnippet(Exception):
    """`cicustom` names a volume that isn't there."""


def properties(text: str) -> dict[str, str]:
    """A property string, such as `ip=192.0.2.83/24,gw=192.0.2.1`."""
    return dict(part.split('=', 1) for part in text.split(',') if '=' in part)


def numbered(config: Config, prefix: str) -> dict[int, str]:
    found = ((re.fullmatch(prefix + r'(\d+)', key), value) for key, value in config.items())
    return dict(sorted((int(match.group(1)), str(value)) for match, value in found if match))


def mac_of(net: str) -> str:
    """The hardware address in a `netN`, such as `virtio=BC:24:11:00:00:07,bridge=vmbr0`."""
    return next(value for value in properties(net).values() if re.fullmatch(r'([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}', value))


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def user_data(config: Config) -> str:
    lines = ['#cloud-config', f'hostname: {config["name"]}', 'manage_etc_hosts: true']
    if config.get('searchdomain'):
        lines.append(f'fqdn: {config["name"]}.{config["searchdomain"]}')
    user = config.get('ciuser')
    if user:
        lines.append(f'user: {user}')
    if user == 'root':
        lines.append('disable_root: False')
    if config.get('cipassword'):
        lines.append(f'password: {config["cipassword"]}')
    keys = [key.strip() for key in unquote(str(config.get('sshkeys', ''))).split('\n') if key.strip()]
    if keys:
        lines += ['ssh_authorized_keys:', *(f'  - {key}' for key in keys)]
    lines += ['chpasswd:', '  expire: False']
    if user != 'root':
        lines += ['users:', '  - default']
    if str(config.get('ciupgrade', 1)) == '1':
        lines.append('package_upgrade: true')
    return '\n'.join(lines) + '\n'


def network_data(config: Config) -> str:
    lines = ['version: 1', 'config:']
    addresses = numbered(config, 'ipconfig')
    for index, net in numbered(config, 'net').items():
        lines += ['    - type: physical', f'      name: eth{index}',
                  f'      mac_address: {quoted(mac_of(net).lower())}', '      subnets:']
        lines += subnets(properties(addresses.get(index, '')))
    servers = re.split(r'[,;\s]+', str(config.get('nameserver', '')))
    domains = re.split(r'[,;\s]+', str(config.get('searchdomain', '')))
    if any(servers) or any(domains):
        lines += ['    - type: nameserver', '      address:', *(f'      - {quoted(each)}' for each in servers if each)]
        lines += ['      search:', *(f'      - {quoted(each)}' for each in domains if each)]
    return '\n'.join(lines) + '\n'


def subnets(ip: dict[str, str]) -> list[str]:
    lines = []
    if ip.get('ip') == 'dhcp':
        lines.append('      - type: dhcp4')
    elif 'ip' in ip:
        interface = ipaddress.ip_interface(ip['ip'])
        lines += ['      - type: static', f'        address: {quoted(str(interface.ip))}',
                  f'        netmask: {quoted(str(interface.netmask))}']
        if 'gw' in ip:
            lines.append(f'        gateway: {quoted(ip["gw"])}')
    if ip.get('ip6') == 'auto':
        lines.append('      - type: ipv6_slaac')
    elif ip.get('ip6') == 'dhcp':
        lines.append('      - type: dhcp6')
    elif 'ip6' in ip:
        lines += ['      - type: static6', f'        address: {quoted(ip["ip6"])}']
        if 'gw6' in ip:
            lines.append(f'        gateway: {quoted(ip["gw6"])}')
    return lines


def snippet(volume: str, storages: dict[str, Config]) -> str:
    """What a volume such as `local:snippets/mqtt-01.user-data.yaml` holds."""
    storage, _, name = volume.partition(':')
    folder = storages.get(storage, {}).get('path')
    file = Path(folder, name) if folder and name.startswith('snippets/') and '..' not in name else None
    if file is None or not file.is_file():
        raise MissingSnippet(f"volume '{volume}' does not exist")
    return file.read_text()


def documents(config: Config, storages: dict[str, Config]) -> dict[str, str]:
    """The files on the CD-ROM."""
    custom = properties(str(config.get('cicustom', '')))
    user = snippet(custom['user'], storages) if 'user' in custom else user_data(config)
    network = snippet(custom['network'], storages) if 'network' in custom else network_data(config)
    instance = hashlib.sha1((user + network).encode()).hexdigest()
    meta = snippet(custom['meta'], storages) if 'meta' in custom else f'instance-id: {instance}\n'
    vendor = {'vendor-data': snippet(custom['vendor'], storages)} if 'vendor' in custom else {}
    return {'user-data': user, 'network-config': network, 'meta-data': meta, **vendor}


def write_drive(folder: Path, files: dict[str, str]) -> Path:
    """Makes the CD-ROM with the program that PVE uses, and leaves nothing else behind: it holds the host's key."""
    source, image = folder / 'cidata', folder / 'cidata.iso'
    source.mkdir(mode=0o700, exist_ok=True)
    mask = os.umask(0o077)
    try:
        for name, text in files.items():
            (source / name).write_text(text)
        subprocess.run(['genisoimage', '-quiet', '-iso-level', '3', '-R', '-V', 'cidata', '-o', str(image), str(source)],
                       check=True, capture_output=True)
    finally:
        os.umask(mask)
        for name in files:
            (source / name).unlink(missing_ok=True)
        source.rmdir()
    return image
