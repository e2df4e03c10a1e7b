"""fakepve as the sandbox's Proxmox VE: the gaps between the two, closed from outside.

    python adapter.py SETTINGS.json

fakepve is a separate program, used as it is; this file subclasses it. Each method says which difference
from a real node it removes. Two doors lead in: the HTTPS API on the sandbox's loopback address, and a unix
socket in the sandbox's own folder, through which the guests are watched and faults are set.
"""

import asyncio
import inspect
import json
import logging
import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any, Iterator, TypedDict

from aiohttp import web
from fakepve import FakePve
from fakepve import schema as pve_schema
from fakepve.lxc import SIZE_UNITS, format_size
from fakepve.model import FakeVm, PveError, TaskError
from fakepve.qemu import DRIVE_KEY, NEW_DISK, drives_of, join_drive, split_drive, with_mac
from fakepve.routing import die

from guests import GuestError, Guests, GuestSettings, NoAgent, agent_call, has_agent

Values = dict[str, Any]


class Template(TypedDict):
    vmid: int
    name: str
    config: Values


class Grant(TypedDict):
    path: str
    privileges: list[str]


class Settings(TypedDict):
    """What the sandbox writes for this program (see sandbox/layout.ts)."""

    address: str
    port: int
    node: str
    certificate: str
    key: str
    rootPassword: str
    user: str
    token: str
    tokenSecret: str
    grants: list[Grant]
    storagePath: str
    controlSocket: str
    templates: list[Template]
    # None: VMs only count as running.
    guests: GuestSettings | None


GIB = 1024**3
CLOUDINIT_SIZE = 4 * 1024**2
VM = '/nodes/{node}/qemu/{vmid}'

# Which privilege PVE asks for which key of a VM's config (qemu-server, PVE/API2/Qemu.pm). fakepve files
# what it has no rule for under VM.Config.HWType; PVE refuses what it has no rule for to all but root.
PRIVILEGE_OF = {
    key: privilege
    for privilege, keys in {
        'VM.Config.CPU': 'cores cpu cpulimit cpuunits numa smp sockets vcpus',
        'VM.Config.Memory': 'memory balloon shares',
        'VM.Config.HWType': 'acpi hotplug kvm machine scsihw smbios1 tablet vga watchdog audio0 rng0',
        'VM.Config.Options': 'agent autostart bios description keyboard localtime migrate_downtime '
        'migrate_speed name onboot ostype protection reboot startdate startup tags tdf template',
        'VM.Config.Disk': 'boot bootdisk vmstatestorage',
        'VM.Config.Cloudinit': 'cicustom cipassword citype ciuser ciupgrade nameserver searchdomain sshkeys',
    }.items()
    for key in keys.split()
}
PRIVILEGE_OF_NUMBERED = {'net': 'VM.Config.Network', 'ipconfig': 'VM.Config.Cloudinit', 'numa': 'VM.Config.CPU',
                         'serial': 'VM.Config.HWType', 'unused': 'VM.Config.Disk'}

# The calls of fakepve's that the control socket hands on: faults, and the end of faults.
CONTROLS = ('fail', 'hold_config_lock', 'release_config_lock', 'slow_network', 'flaky_network',
            'set_node_offline', 'lose_quorum', 'regain_quorum')

# Writes without a model that need none: no image of cloud-init's data is kept that could be made anew.
HARMLESS = (VM + '/cloudinit',)


def config_types() -> dict[str, str]:
    """The JSON type of each key of a VM's config, from PVE's own API schema."""
    properties = pve_schema.load().paths[VM + '/config']['PUT']['parameters']['properties']
    return {key: described.get('type', 'string') for key, described in properties.items()}


def is_cloudinit(volume: str) -> bool:
    """A cloud-init drive, as asked for (`local-lvm:cloudinit`) or as allocated."""
    return bool(re.search(r'(?::|-)cloudinit(?:\.\w+)?$', volume))


class SandboxPve(FakePve):
    """fakepve with the answers of a real node, where the provider notices the difference."""

    def __init__(self, settings: Settings) -> None:
        super().__init__('root@pam', settings['rootPassword'], settings['address'], settings['port'])
        self.nodes = {settings['node']: {'online': True}}
        self.storages = {
            'local': {'type': 'dir', 'active': 1, 'files': set(), 'content': 'iso,vztmpl,backup,snippets,import',
                      'path': settings['storagePath'], 'avail': 50 * GIB},
            'local-lvm': {'type': 'lvmthin', 'active': 1, 'files': set(), 'content': 'images,rootdir',
                          'vgname': 'pve', 'thinpool': 'data', 'avail': 500 * GIB},
        }
        for template in settings['templates']:
            config = {**template['config'], 'template': 1}
            self.add_vm(template['vmid'], template['name'], node=settings['node'], template=True, config=config)
        self._give_token(settings['user'], settings['token'], settings['tokenSecret'], settings['grants'])
        self._types = config_types()
        self.driver = Guests(settings['guests'], settings['address'], self.storages) if settings['guests'] else None

    # -------------------------------------------------------------- routes

    def _build_app(self) -> web.Application:
        """PVE takes a path with or without a slash at its end, and the provider deletes `…/qemu/283/`. fakepve
        would send that to its catch-all, which answers that it went well and does nothing."""
        app = super()._build_app()
        resolve = app.router.resolve

        async def without_slash(request: web.Request) -> web.UrlMappingMatchInfo:
            path = request.rel_url.raw_path
            if path.endswith('/'):
                url = request.rel_url.with_path(path.rstrip('/'), encoded=True, keep_query=True)
                request = request.clone(rel_url=url)
            return await resolve(request)

        app.router.resolve = without_slash  # type: ignore[method-assign]
        return app

    async def synthesise(self, match: Any, method: str, info: Values, user: str, values: Values) -> Any:
        """fakepve answers writes that it has no model of as if they had happened. Better to say so."""
        if method != 'GET' and match.template not in HARMLESS:
            raise PveError(501, f"the sandbox has no model of '{method} {match.template}'")
        return await super().synthesise(match, method, info, user, values)

    # ------------------------------------------------------------ snippets

    def _snippets(self, storage: str) -> Path | None:
        store = self.storages[storage]
        return Path(store['path'], 'snippets') if 'path' in store else None

    def _volumes(self, storage: str) -> dict[str, Values]:
        """Snippets reach a node over SSH, behind the API's back: look into the folder at every question."""
        found = super()._volumes(storage)
        folder = self._snippets(storage)
        for file in sorted(folder.iterdir()) if folder and folder.is_dir() else []:
            try:
                stat = file.stat()
            except FileNotFoundError:
                continue
            found[f'snippets/{file.name}'] = {'content': 'snippets', 'format': 'snippet', 'size': stat.st_size,
                                              'ctime': int(stat.st_ctime)}
        return found

    async def _content_delete(self, values: Values, user: str) -> str | None:
        """Deleting a snippet over the API removes the file. fakepve would forget an entry it never had."""
        sid, name, volid, _store, kind, _owner, _format = self._volume_target(values)
        folder = self._snippets(sid)
        if kind != 'snippets' or folder is None:
            return await super()._content_delete(values, user)
        self.require(user, f'/storage/{sid}', 'Datastore.Allocate')

        async def remove() -> str:
            Path(folder, name.split('/', 1)[1]).unlink(missing_ok=True)
            return f"Removed volume '{volid}'"

        return await self.task(values['node'], 'imgdel', sid, user, remove, lock=False)

    # -------------------------------------------------------------- config

    def _typed(self, values: Values) -> Values:
        """A form sends text. PVE keeps numbers and booleans as such and answers with them as such."""
        def convert(key: str, value: Any) -> Any:
            kind = self._types.get(key)
            if kind not in ('integer', 'number', 'boolean'):
                return value
            converted, error = pve_schema.check_value({'type': kind}, value)
            return value if error else converted
        return {key: convert(key, value) for key, value in values.items()}

    async def _apply_config(self, vm: FakeVm, user: str, values: Values) -> None:
        """Everything that PVE does with a changed config beyond keeping the text it was sent."""
        updates = self._typed(values)
        deletes = [key for key in re.split(r'[,;\s]+', str(updates.get('delete') or '')) if key]
        self._check_bridges(user, updates)
        self._check_lock(vm)
        for key in [key for key in updates if DRIVE_KEY.match(key)]:
            updates[key] = self._placed_drive(vm, user, key, str(updates[key]))
        for key in [key for key in updates if re.fullmatch(r'net\d+', key)]:
            updates[key] = with_mac(updates[key])
        detached = {key: str(vm.config[key]) for key in deletes if DRIVE_KEY.match(key) and key in vm.config}
        await super()._apply_config(vm, user, updates)
        for value in detached.values():
            self._let_go(vm, split_drive(value)[0])
        self._order_boot(vm)

    async def _config_get(self, request: web.Request) -> web.Response:
        """The config with what waits for the next start, as PVE answers it unless `current` is set (its API
        schema, GET /nodes/{node}/qemu/{vmid}/config); fakepve answers the running one."""
        answer = await super()._config_get(request)
        vm = self._vm(request, 'VM.Audit')
        if not vm.pending or request.query.get('current') in ('1', 'true') or 'snapshot' in request.query:
            return answer
        data = json.loads(answer.body)['data']
        for key, value in vm.pending.items():
            if value is None:
                data.pop(key, None)
            else:
                data[key] = str(value) if key == 'memory' else value
        return web.json_response({'data': data})

    def _placed_drive(self, vm: FakeVm, user: str, key: str, value: str) -> str:
        """A drive that names a storage only gets its volume: `vm-283-cloudinit`, or the next free disk."""
        volume, options = split_drive(value)
        if volume.endswith(':cloudinit'):
            return self._cloudinit_drive(vm, user, volume.split(':')[0], options)
        if not NEW_DISK.match(volume):
            return value
        self.require(user, f'/vms/{vm.vmid}', 'VM.Config.Disk')
        self._qm_check_drive(user, vm.vmid, None, key, value, None)
        return self._qm_new_drive(vm.vmid, key, value, None)[0]

    def _cloudinit_drive(self, vm: FakeVm, user: str, storage: str, options: Values) -> str:
        """The drive PVE writes cloud-init's data to. It goes by a name of its own and is always a CD-ROM."""
        self.require(user, f'/vms/{vm.vmid}', 'VM.Config.Cloudinit')
        self.require(user, f'/vms/{vm.vmid}', 'VM.Config.CDROM')
        self._qm_image_store(storage, user)
        options = {k: v for k, v in options.items() if k not in ('format', 'size')}
        return join_drive(self._cloudinit_volume(storage, vm.vmid), {**options, 'media': 'cdrom'})

    def _cloudinit_volume(self, storage: str, vmid: int) -> str:
        name = f'vm-{vmid}-cloudinit'
        self.storages[storage].setdefault('volumes', {})[name] = {
            'content': 'images', 'format': 'raw', 'size': CLOUDINIT_SIZE, 'vmid': vmid, 'ctime': 0}
        return f'{storage}:{name}'

    def _let_go(self, vm: FakeVm, volume: str) -> None:
        """A detached disk stays as `unusedN`; a detached cloud-init drive is freed."""
        if any(volume == other for _key, other, _options in drives_of(vm.config)):
            return
        if is_cloudinit(volume):
            self._qm_free(volume)
        elif ':' in volume and '/' not in volume:
            free = next(n for n in range(256) if f'unused{n}' not in vm.config)
            vm.config[f'unused{free}'] = volume

    @staticmethod
    def _order_boot(vm: FakeVm) -> None:
        """A device that is gone leaves the boot order."""
        boot = str(vm.config.get('boot', ''))
        if boot.startswith('order='):
            kept = [device for device in boot.removeprefix('order=').split(';') if device in vm.config]
            vm.config['boot'] = 'order=' + ';'.join(kept)

    async def _qm_clone(self, values: Values, user: str) -> str:
        """A clone has a cloud-init drive of its own; fakepve leaves it with the template's."""
        source = self.vm(int(values['vmid']))
        if source is not None:
            self._check_bridges(user, source.config)
        upid = await super()._qm_clone(values, user)
        clone = self.vm(int(values['newid']))
        for key, volume, options in drives_of(clone.config) if clone else []:
            if is_cloudinit(volume):
                storage = values.get('storage') or volume.split(':')[0]
                clone.config[key] = join_drive(self._cloudinit_volume(storage, clone.vmid), options)
        if self.driver and clone:
            self.driver.cloned(int(values['vmid']), clone.vmid)
        return upid

    def _routes_sandbox(self) -> list[tuple[str, str, Any]]:
        return [('PUT', VM + '/resize', self._resize)]

    async def _resize(self, values: Values, user: str) -> str:
        """Growing a disk. fakepve accepts the call and keeps the old size."""
        vm, key = self.find(values['node'], values['vmid']), values['disk']
        if key not in vm.config:
            raise die(f"disk '{key}' does not exist")
        self._check_lock(vm)
        volume, options = split_drive(vm.config[key])
        amount = re.fullmatch(r'(\+?)(\d+(?:\.\d+)?)([KMGT]?)', str(values['size']))
        old = self._bytes(options.get('size', '0'))
        size = self._bytes(''.join(amount.groups()[1:])) + (old if amount.group(1) else 0)
        if size < old:
            raise die('shrinking disks is not supported')

        async def grow() -> None:
            vm.config[key] = join_drive(volume, {**options, 'size': format_size(size)})
            known = self._qm_volume(volume)
            if known is not None:
                known['size'] = size

        return await self.task(vm.node, 'resize', vm.vmid, user, grow, vm=vm)

    @staticmethod
    def _bytes(text: str) -> int:
        number, unit = re.fullmatch(r'(\d+(?:\.\d+)?)([KMGT]?)', text).groups()
        return int(float(number) * (SIZE_UNITS[unit] if unit else 1))

    # -------------------------------------------------------------- guests

    async def task(self, *args: Any, background: bool = False, **kwargs: Any) -> str:
        """fakepve ends a task before it answers, unless time passes in it. What waits for a guest does take time,
        and a client's request must not: such a task goes on by itself, as all do on a node."""
        scale = self.time_scale
        if background and not scale:
            self.time_scale = 1e-9
        try:
            return await super().task(*args, **kwargs)
        finally:
            self.time_scale = scale

    async def _boot(self, vm: FakeVm) -> None:
        if self.driver:
            try:
                await self.driver.start(vm.vmid, {**vm.config, 'name': vm.name}, lambda: self._is_off(vm))
            except GuestError as error:
                raise TaskError(f'start failed: {error}') from error
        vm.status = vm.qmpstatus = 'running'
        vm.started_at = time.time()

    @staticmethod
    def _is_off(vm: FakeVm) -> None:
        vm.status = vm.qmpstatus = 'stopped'

    async def _do_start(self, vm: FakeVm, user: str, values: Values) -> str:
        if self.driver is None or vm.ha_managed:
            return await super()._do_start(vm, user, values)

        async def start() -> None:
            if vm.template:
                raise TaskError("you can't start a vm if it's a template")
            if vm.lock:
                raise TaskError(f'VM is locked ({vm.lock})')
            if vm.status == 'running':
                raise TaskError(f'VM {vm.vmid} already running')
            if vm.start_error:
                raise TaskError(vm.start_error)
            vm.apply_pending()
            await self._boot(vm)

        return await self.task(vm.node, 'qmstart', vm.vmid, user, start, vm=vm)

    async def _do_stop(self, vm: FakeVm, user: str, values: Values) -> str:
        if self.driver is None or vm.ha_managed:
            return await super()._do_stop(vm, user, values)
        if not values.get('skiplock'):
            self._check_lock(vm)

        async def stop() -> None:
            await self.driver.cut(vm.vmid)
            self._is_off(vm)

        return await self.task(vm.node, 'qmstop', vm.vmid, user, stop, vm=vm)

    async def _powerdown(self, vm: FakeVm, values: Values) -> str | None:
        if self.driver is None or self.driver.get(vm.vmid) is None:
            return await super()._powerdown(vm, values)
        off = await self.driver.shut_down(vm.vmid, int(values.get('timeout') or self.shutdown_default_timeout))
        if not off and str(values.get('forceStop', '0')) not in ('1', 'true'):
            raise TaskError('VM quit/powerdown failed - got timeout')
        await self.driver.cut(vm.vmid)
        self._is_off(vm)
        return None if off else 'VM still running - terminating now with SIGTERM'

    async def _do_shutdown(self, vm: FakeVm, user: str, values: Values) -> str:
        if self.driver is None or vm.ha_managed:
            return await super()._do_shutdown(vm, user, values)
        self._need_running(vm)
        self._check_lock(vm)
        return await self.task(vm.node, 'qmshutdown', vm.vmid, user, lambda: self._powerdown(vm, values), vm=vm,
                               background=True)

    async def _do_reboot(self, vm: FakeVm, user: str, values: Values) -> str:
        if self.driver is None:
            return await super()._do_reboot(vm, user, values)
        self._need_running(vm)
        self._check_lock(vm)

        async def reboot() -> None:
            await self._powerdown(vm, values)
            vm.apply_pending()
            await self._boot(vm)

        return await self.task(vm.node, 'qmreboot', vm.vmid, user, reboot, vm=vm, background=True)

    async def _do_reset(self, vm: FakeVm, user: str, values: Values) -> str:
        upid = await super()._do_reset(vm, user, values)
        if self.driver:
            await self.driver.reset(vm.vmid)
        return upid

    async def _qm_destroy(self, values: Values, user: str) -> str:
        upid = await super()._qm_destroy(values, user)
        if self.driver and self.vm(int(values['vmid'])) is None:
            await self.driver.removed(int(values['vmid']))
        return upid

    async def _agent_call(self, match: Any, values: Values) -> Any:
        """The guest's own agent answers, not fakepve's idea of one."""
        vm = self.find(values['node'], values['vmid'])
        guest = self.driver.get(vm.vmid) if self.driver else None
        if guest is None:
            return await super()._agent_call(match, values)
        if not has_agent(vm.config):
            raise PveError(500, 'No QEMU guest agent configured')
        if vm.status != 'running':
            raise PveError(500, f'VM {vm.vmid} is not running')
        try:
            return await agent_call(guest, match.template.rsplit('/', 1)[1], values)
        except NoAgent as error:
            raise PveError(500, 'QEMU guest agent is not running') from error
        except GuestError as error:
            raise PveError(500, f'Agent error: {error}') from error

    # --------------------------------------------------------- permissions

    def _config_priv(self, key: str) -> str:
        if key in PRIVILEGE_OF:
            return PRIVILEGE_OF[key]
        numbered = re.fullmatch(r'([a-z]+)\d+', key)
        if numbered and numbered.group(1) in PRIVILEGE_OF_NUMBERED:
            return PRIVILEGE_OF_NUMBERED[numbered.group(1)]
        return 'VM.Config.Disk' if DRIVE_KEY.match(key) else 'root'

    def _check_bridges(self, user: str, config: Values) -> None:
        """A bridge belongs to the zone `localnetwork`: using one needs SDN.Use there. fakepve asks containers only."""
        for key, value in config.items():
            found = re.search(r'(?:^|,)bridge=([^,]+)', str(value)) if re.fullmatch(r'net\d+', key) else None
            if found:
                self.require(user, f'/sdn/zones/localnetwork/{found.group(1)}', 'SDN.Use')

    # ------------------------------------------------------------- control

    def guests(self) -> Iterator[Values]:
        """What the sandbox shows of its VMs, and what a driver that boots them has to know."""
        for vm in sorted(self.vms, key=lambda vm: vm.vmid):
            yield {'vmid': vm.vmid, 'name': vm.name, 'node': vm.node, 'template': bool(vm.template),
                   'status': vm.status, 'startedAt': vm.started_at if vm.status == 'running' else None,
                   'config': vm.config, 'guest': self.driver.describe(vm.vmid) if self.driver else None}

    async def _control_vms(self, _request: web.Request) -> web.Response:
        return web.json_response({'vms': list(self.guests())})

    async def _control_call(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, arguments = body.get('call'), body.get('arguments', {})
        try:
            if name == 'clear_failures':
                self.failures.clear()
            elif name == 'time_scale':
                self.time_scale = float(arguments['value'])
            elif name == 'token':
                self._give_token(**arguments)
            elif name in CONTROLS:
                result = getattr(self, name)(**arguments)
                if inspect.isawaitable(result):
                    await result
            else:
                raise ValueError(f'unknown call {name!r}; known: {", ".join(CONTROLS + ("clear_failures", "time_scale", "token"))}')
        except (TypeError, ValueError, KeyError, AttributeError, TaskError) as error:
            return web.json_response({'error': str(error)}, status=400)
        return web.json_response({})

    def _give_token(self, user: str, token: str, secret: str, grants: list[Grant]) -> None:
        """A token that acts with its user's rights, which are these and no others. fakepve has no model of the API's
        roles and users, by which a node is told so."""
        self.apitokens[f'{user}!{token}'] = secret
        self.acl = {name: held for name, held in (self.acl or {}).items() if name != user}
        for grant in grants:
            self.grant(user, grant['path'], *grant['privileges'])

    async def start_control(self, path: str) -> web.AppRunner:
        """Listen on the control socket: only who may enter the sandbox's folder can reach it."""
        app = web.Application()
        app.router.add_get('/vms', self._control_vms)
        app.router.add_post('/call', self._control_call)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        # By its name in its folder: a unix socket's full path may not be longer than 107 bytes.
        os.chdir(os.path.dirname(path))
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(os.path.basename(path))
        await web.SockSite(runner, listener).start()
        return runner


async def serve(settings: Settings) -> None:
    pve = SandboxPve(settings)
    await pve.start(settings['certificate'], settings['key'])
    await pve.start_control(settings['controlSocket'])
    logging.info('listening on %s', pve.url)
    await asyncio.Event().wait()


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format='%(asctime)s %(message)s')
    settings: Settings = json.loads(Path(sys.argv[1]).read_text())
    try:
        asyncio.run(serve(settings))
    except OSError as error:
        sys.exit(f'{settings["address"]}:{settings["port"]}: {error.strerror}')
    except KeyboardInterrupt:
        pass


main()
