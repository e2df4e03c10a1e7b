import { applyHost, removeHost } from '../../sops/rules';
import { updateTextFile } from '../../sops/text-file';
import { entryOf } from './entries';

/**
 * Writes without end, for a test that kills it: a host comes and goes. `node bin/run __tests__/sops/writer.ts FILE`.
 */
async function main(file: string): Promise<void> {
  const entry = entryOf('mqtt-01', { shared: ['secrets/shared/mqtt'] });
  for (let round = 0; ; round++) {
    await updateTextFile(
      file,
      (text) => (round % 2 === 0 ? applyHost(text, entry) : removeHost(text ?? '', entry.host)),
      { stale: 200 },
    );
    if (round === 0) process.stdout.write('writing\n');
  }
}

void main(process.argv[2] ?? '');
