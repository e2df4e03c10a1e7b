import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** A folder outside the repository that only its owner enters. An interrupted run leaves nothing of it behind. */
export class TemporaryFolder {
  readonly path: string;

  constructor(prefix: string) {
    // mkdtemp makes it 0700.
    this.path = mkdtempSync(path.join(tmpdir(), prefix));
    watch();
    folders.add(this.path);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
    folders.delete(this.path);
  }
}

const folders = new Set<string>();
let watching = false;
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

function watch(): void {
  if (watching) return;
  watching = true;
  process.once('exit', () => {
    for (const each of folders) rmSync(each, { recursive: true, force: true });
  });
  for (const [signal, code] of Object.entries(SIGNALS)) process.once(signal, () => process.exit(code));
}
