"""Real guests: one QEMU for each running VM of the sandbox.

A guest's disk is an overlay of its template's image. Its only network is QEMU's user-mode one, cut off from
everything but one forwarded port: the guest's SSH server answers on a loopback address of its own. The kernel is
started directly, so the images need no boot loader; from there on the guest boots as on any node.
"""

import asyncio
import base64
import ipaddress
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any, Callable, TypedDict

import cloudinit
from async_timeout import timeout

Values = dict[str, Any]

MIB = 1024**2
# More than this no guest of a sandbox gets, whatever its config says.
MEMORY_LIMIT = 1024
START_SECONDS = 20


class GuestSettings(TypedDict):
    """What the sandbox writes for this module (see sandbox/prepare.ts)."""

    folder: str
    kernel: str
    initrd: str
    accelerator: str
    sshPort: int
    tether: str
    # A template's VM id, in JSON a text, and its disk.
    disks: dict[str, str]


class GuestError(Exception):
    """A guest can't be started or reached; the message is for the task's log."""


class NoAgent(Exception):
    """The guest's agent doesn't answer."""


class JsonChannel:
    """A unix socket on which each line is a JSON object: QEMU's monitor and the guest agent's serial port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, path: Path) -> 'JsonChannel':
        # By a short name: a unix socket's path may not be longer than 107 bytes.
        folder = os.open(path.parent, os.O_PATH)
        try:
            streams = await asyncio.open_unix_connection(f'/proc/self/fd/{folder}/{path.name}', limit=64 * MIB)
        finally:
            os.close(folder)
        return cls(*streams)

    async def __aenter__(self) -> 'JsonChannel':
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(self, message: Values, prefix: bytes = b'') -> None:
        self._writer.write(prefix + json.dumps(message).encode() + b'\n')
        await self._writer.drain()

    async def receive(self) -> Values:
        line = await self._reader.readline()
        if not line:
            raise ConnectionError('closed')
        return json.loads(line.lstrip(b'\xff'))

    async def answer(self) -> Values:
        """The next answer; events in between are of no interest."""
        while True:
            message = await self.receive()
            if 'return' in message or 'error' in message:
                return message


class Guest:
    def __init__(self, vmid: int, folder: Path, address: str, port: int) -> None:
        self.vmid, self.folder, self.address, self.port = vmid, folder, address, port
        self.process: asyncio.subprocess.Process | None = None
        # Two callers on the agent's one serial port would read each other's answers.
        self._agent_lock = asyncio.Lock()

    @property
    def disk(self) -> Path:
        return self.folder / 'disk.qcow2'

    @property
    def serial(self) -> Path:
        return self.folder / 'serial.log'

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def monitor(self, command: str) -> Values:
        """Says one thing to QEMU (QMP: qemu.org/docs, 'QEMU Machine Protocol')."""
        async with await JsonChannel.open(self.folder / 'qmp.sock') as channel:
            await channel.receive()
            for each in ('qmp_capabilities', command):
                await channel.send({'execute': each})
                answer = await channel.answer()
            return answer

    async def agent(self, command: str, arguments: Values | None = None, seconds: float = 10) -> Any:
        """Asks the agent in the guest (qemu.org/docs, 'QEMU Guest Agent Protocol Reference')."""
        if not self.running:
            raise NoAgent('the guest is off')
        try:
            async with self._agent_lock, timeout(seconds):
                async with await JsonChannel.open(self.folder / 'agent.sock') as channel:
                    await self._synchronize(channel)
                    await channel.send({'execute': command, 'arguments': arguments or {}})
                    answer = await channel.answer()
        except (OSError, asyncio.TimeoutError, ValueError) as error:
            raise NoAgent(str(error) or 'no answer in time') from error
        if 'error' in answer:
            raise GuestError(answer['error'].get('desc', 'the agent refused'))
        return answer['return']

    @staticmethod
    async def _synchronize(channel: JsonChannel) -> None:
        """What an earlier caller left on the line is skipped up to our own mark."""
        mark = int.from_bytes(os.urandom(4), 'big')
        await channel.send({'execute': 'guest-sync-delimited', 'arguments': {'id': mark}}, prefix=b'\xff')
        while (await channel.answer()).get('return') != mark:
            pass

    async def agent_says_shut_down(self) -> bool:
        try:
            await self.agent('guest-ping', seconds=2)
            async with timeout(2):
                async with await JsonChannel.open(self.folder / 'agent.sock') as channel:
                    # There is no answer to this one.
                    await channel.send({'execute': 'guest-shutdown'})
                    return True
        except (NoAgent, GuestError, OSError, asyncio.TimeoutError):
            return False

    async def ended(self, seconds: float) -> bool:
        if self.process is None:
            return True
        try:
            await asyncio.wait_for(self.process.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

    async def cut(self) -> None:
        """Takes the power away."""
        if self.running and self.process:
            self.process.kill()
            await self.process.wait()


class Guests:
    """The guests of the sandbox, by VM id."""

    def __init__(self, settings: GuestSettings, api_address: str, storages: dict[str, Values]) -> None:
        self._settings, self._storages = settings, storages
        self._net = api_address.split('.')[1]
        self._guests: dict[int, Guest] = {}
        # Which template's disk a VM's disk came from.
        self._origin: dict[int, str] = {int(vmid): disk for vmid, disk in settings['disks'].items()}

    def get(self, vmid: int) -> Guest | None:
        return self._guests.get(vmid)

    def cloned(self, source: int, clone: int) -> None:
        if source in self._origin:
            self._origin[clone] = self._origin[source]

    async def removed(self, vmid: int) -> None:
        guest = self._guests.pop(vmid, None)
        if guest:
            await guest.cut()
            shutil.rmtree(guest.folder, ignore_errors=True)
        if str(vmid) not in self._settings['disks']:
            self._origin.pop(vmid, None)

    def address(self, vmid: int) -> str:
        """127.N is the sandbox's own; 283 = 1 * 256 + 27 is at 127.N.1.27."""
        return f'127.{self._net}.{vmid // 256 % 256}.{vmid % 256}'

    async def start(self, vmid: int, config: Values, ended: Callable[[], None]) -> None:
        """Boots the VM. Without a template of ours below it there is nothing to boot, and it only counts as on."""
        origin = self._origin.get(vmid)
        if origin is None:
            return
        guest = self._guests.get(vmid)
        if guest is None:
            folder = Path(self._settings['folder'], str(vmid))
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            guest = Guest(vmid, folder, self.address(vmid), self._settings['sshPort'])
            self._guests[vmid] = guest
        try:
            files = cloudinit.documents(config, self._storages)
            drive = cloudinit.write_drive(guest.folder, files)
        except cloudinit.MissingSnippet as error:
            raise GuestError(str(error)) from error
        await self._prepare_disk(guest, origin, config)
        await self._launch(guest, self._command(guest, config, drive))
        asyncio.ensure_future(self._watch(guest, ended))

    async def _prepare_disk(self, guest: Guest, origin: str, config: Values) -> None:
        if not guest.disk.exists():
            await run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', origin, '-F', 'raw', str(guest.disk))
        size = next((match.group(1) for key in ('scsi0', 'virtio0', 'sata0')
                     if (match := re.search(r'(?:^|,)size=(\d+[KMGT]?)', str(config.get(key, ''))))), None)
        known = json.loads(await run('qemu-img', 'info', '--output=json', str(guest.disk)))['virtual-size']
        if size and in_bytes(size) > known:
            await run('qemu-img', 'resize', '-q', str(guest.disk), size)

    def _command(self, guest: Guest, config: Values, drive: Path) -> list[str]:
        kvm = self._settings['accelerator'] == 'kvm'
        cores = min(int(config.get('cores', 1)) * int(config.get('sockets', 1)), os.cpu_count() or 1)
        memory = min(int(properties_first(config.get('memory', 512))), MEMORY_LIMIT)
        net = cloudinit.numbered(config, 'net').get(0)
        return [
            'qemu-system-x86_64', '-name', f'vm-{guest.vmid}', '-nodefaults', '-display', 'none', '-no-user-config',
            '-machine', 'q35', '-accel', 'kvm' if kvm else 'tcg,thread=multi,tb-size=256', '-cpu', 'host' if kvm else 'max',
            '-smp', str(cores), '-m', str(memory),
            '-kernel', self._settings['kernel'], '-initrd', self._settings['initrd'],
            '-append', 'root=LABEL=root console=ttyS0 net.ifnames=0 quiet',
            '-drive', f'file={escaped(guest.disk)},if=virtio,format=qcow2,cache=unsafe',
            '-drive', f'file={escaped(drive)},if=virtio,format=raw,readonly=on',
            *(['-netdev', self._network(guest, config), '-device', f'virtio-net-pci,netdev=net0,mac={cloudinit.mac_of(net)}']
              if net else ['-nic', 'none']),
            '-chardev', f'file,id=serial,path={escaped(guest.serial)},append=on', '-serial', 'chardev:serial',
            '-chardev', 'socket,id=qmp,path=qmp.sock,server=on,wait=off', '-mon', 'chardev=qmp,mode=control',
            '-device', 'virtio-rng-pci',
            *(['-device', 'virtio-serial', '-chardev', 'socket,id=agent,path=agent.sock,server=on,wait=off',
               '-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'] if has_agent(config) else []),
        ]

    def _network(self, guest: Guest, config: Values) -> str:
        """The guest has the address that its config says, alone in a network of its own."""
        settings = cloudinit.properties(str(config.get('ipconfig0', '')))
        ip = settings.get('ip', 'dhcp')
        options, inside = '', ''
        if ip != 'dhcp':
            interface = ipaddress.ip_interface(ip)
            # QEMU needs room for its own addresses.
            network = interface.network if interface.network.prefixlen <= 24 else ipaddress.ip_network(f'{interface.ip}/24', strict=False)
            gateway = settings.get('gw')
            inside = str(interface.ip)
            free = (str(host) for host in network.hosts() if str(host) not in (inside, gateway))
            router = gateway if gateway and ipaddress.ip_address(gateway) in network else next(free)
            options = f',net={network},host={router},dns={next(free)},dhcpstart={inside}'
        return f'user,id=net0,restrict=on,ipv6=off{options},hostfwd=tcp:{guest.address}:{guest.port}-{inside}:22'

    async def _launch(self, guest: Guest, command: list[str]) -> None:
        for name in ('qmp.sock', 'agent.sock'):
            (guest.folder / name).unlink(missing_ok=True)
        log = guest.folder / 'qemu.log'
        guest.serial.touch(mode=0o600)
        with open(log, 'wb') as output:
            guest.process = await asyncio.create_subprocess_exec(
                sys.executable, '-I', '-S', self._settings['tether'], str(os.getpid()), *command, cwd=guest.folder,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            async with timeout(START_SECONDS):
                while True:
                    if not guest.running:
                        lines = log.read_text(errors='replace').strip().splitlines() or ['it said nothing']
                        raise GuestError(f'QEMU did not start: {lines[-1]}')
                    try:
                        await guest.monitor('query-status')
                        return
                    except (OSError, ValueError):
                        await asyncio.sleep(0.05)
        except asyncio.TimeoutError as error:
            await guest.cut()
            raise GuestError(f'QEMU did not answer within {START_SECONDS} s; see {log}') from error

    @staticmethod
    async def _watch(guest: Guest, ended: Callable[[], None]) -> None:
        """A guest that powers itself off is off in the API, too."""
        process = guest.process
        if process:
            await process.wait()
            if guest.process is process:
                ended()

    async def shut_down(self, vmid: int, seconds: float) -> bool:
        """Asks the guest to power off, by its agent or else by ACPI; answers whether it did in time."""
        guest = self._guests.get(vmid)
        if guest is None or not guest.running:
            return True
        if not await guest.agent_says_shut_down():
            await guest.monitor('system_powerdown')
        return await guest.ended(seconds)

    async def cut(self, vmid: int) -> None:
        guest = self._guests.get(vmid)
        if guest:
            await guest.cut()

    async def reset(self, vmid: int) -> None:
        guest = self._guests.get(vmid)
        if guest and guest.running:
            await guest.monitor('system_reset')

    def describe(self, vmid: int) -> Values | None:
        guest = self._guests.get(vmid)
        if guest is None:
            return None
        return {'address': guest.address, 'port': guest.port, 'serial': str(guest.serial),
                'accelerator': self._settings['accelerator'], 'pid': guest.process.pid if guest.running and guest.process else None}


# What the API calls it, what the agent does, and how its arguments are written.
AGENT_COMMANDS: dict[str, str] = {
    'ping': 'guest-ping', 'info': 'guest-info', 'get-host-name': 'guest-get-host-name', 'get-osinfo': 'guest-get-osinfo',
    'get-time': 'guest-get-time', 'get-timezone': 'guest-get-timezone', 'get-users': 'guest-get-users',
    'get-vcpus': 'guest-get-vcpus', 'get-fsinfo': 'guest-get-fsinfo',
    'network-get-interfaces': 'guest-network-get-interfaces',
}
FILE_LIMIT = 16 * MIB


async def agent_call(guest: Guest, command: str, values: Values) -> Any:
    """What PVE's `/agent/…` answers, from the guest itself (PVE/API2/Qemu/Agent.pm).

    Raises NoAgent and GuestError.
    """
    if command in AGENT_COMMANDS:
        return {'result': await guest.agent(AGENT_COMMANDS[command])}
    if command == 'file-read':
        handle = await guest.agent('guest-file-open', {'path': values['file'], 'mode': 'r'})
        try:
            answer = await guest.agent('guest-file-read', {'handle': handle, 'count': FILE_LIMIT})
        finally:
            await guest.agent('guest-file-close', {'handle': handle})
        content = base64.b64decode(answer['buf-b64']).decode('utf-8', 'surrogateescape')
        return {'content': content, **({} if answer['eof'] else {'truncated': True})}
    if command == 'exec':
        program, *arguments = values['command'] if isinstance(values['command'], list) else [values['command']]
        given = values.get('input-data')
        stdin = {'input-data': base64.b64encode(given.encode()).decode()} if given else {}
        return await guest.agent('guest-exec', {'path': program, 'arg': arguments, 'capture-output': True, **stdin})
    if command == 'exec-status':
        answer = await guest.agent('guest-exec-status', {'pid': int(values['pid'])})
        decoded = {key: base64.b64decode(answer[key]).decode('utf-8', 'replace') for key in ('out-data', 'err-data') if key in answer}
        return {**answer, **decoded, 'exited': 1 if answer['exited'] else 0}
    raise GuestError(f"the sandbox does not hand '{command}' to the agent")


def has_agent(config: Values) -> bool:
    return str(config.get('agent', '0')).split(',')[0].split('=')[-1] == '1'


def properties_first(value: Any) -> str:
    """`2048`, or the same written as `current=2048`."""
    return str(value).split(',')[0].split('=')[-1]


def in_bytes(size: str) -> int:
    return int(size.rstrip('KMGT')) * 1024 ** ' KMGT'.index(size[-1] if size[-1] in 'KMGT' else ' ')


def escaped(path: Path) -> str:
    """QEMU splits its options at commas; a doubled one stands for itself."""
    return str(path).replace(',', ',,')


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL,
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise GuestError(f'{command[0]}: {errors.decode(errors="replace").strip()}')
    return output.decode()
