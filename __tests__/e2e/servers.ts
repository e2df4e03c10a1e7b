import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { tethered, waitFor } from '../../sandbox/processes';
import { ensurePrivilegeSeparationDir, findSshd } from '../../sandbox/sshd';

/** Real SSH servers, and what is none, on one loopback address. All of them end with the test, or with its process. */
export class Servers {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'hostkey-servers-'));
  private readonly children: ChildProcess[] = [];
  private readonly servers: Server[] = [];
  private readonly sockets = new Set<Socket>();

  constructor(readonly address: string) {}

  path(name: string): string {
    return path.join(this.folder, name);
  }

  /** Makes a key pair. @returns the public key's line */
  makeKey(name: string, type: string): string {
    execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', '', '-f', this.path(name)]);
    return readFileSync(this.path(`${name}.pub`), 'utf8').trim();
  }

  /** Starts sshd with these host keys (files in the folder), and waits until it listens. */
  async sshd(port: number, keys: readonly string[], settings: readonly string[] = []): Promise<void> {
    ensurePrivilegeSeparationDir();
    const config = this.path(`sshd-${port}`);
    const lines = [
      `ListenAddress ${this.address}:${port}`,
      'PidFile none',
      'UsePAM no',
      ...keys.map((key) => `HostKey ${this.path(key)}`),
      ...settings,
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
    this.run([findSshd(), '-D', '-f', config]);
    const listens = () =>
      new Promise<true | undefined>((done) => {
        const socket = connect(port, this.address, () => done(true));
        socket.on('connect', () => socket.destroy()).on('error', () => done(undefined));
      });
    if (!(await waitFor(listens, 10, 100))) throw new Error(`sshd does not listen on port ${port}`);
  }

  /** Listens, and does this with whoever calls. */
  serve(port: number, greet: (socket: Socket) => void): Promise<void> {
    return new Promise((done) => {
      const server = createServer((socket) => {
        this.sockets.add(socket);
        socket.on('error', () => undefined);
        greet(socket);
      });
      this.servers.push(server.listen(port, this.address, done));
    });
  }

  /** A port that drops who calls, as a firewall does: its queue is full, and nobody is taken out of it. */
  async drop(port: number): Promise<void> {
    const script = `import socket, time
s = socket.create_server(('${this.address}', ${port}), backlog=0)
calls = [socket.socket() for _ in range(4)]
for c in calls:
    c.setblocking(False)
    c.connect_ex(('${this.address}', ${port}))
time.sleep(0.5)
print('full', flush=True)
time.sleep(600)`;
    const child = this.run(['python3', '-c', script]);
    await new Promise((done) => child.stdout?.once('data', done));
  }

  stop(): void {
    for (const child of this.children) child.kill();
    for (const server of this.servers) server.close();
    for (const socket of this.sockets) socket.destroy();
    rmSync(this.folder, { recursive: true });
  }

  private run(command: readonly string[]): ChildProcess {
    const [program, args] = tethered('python3', process.pid, command);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.children.push(child);
    return child;
  }
}
