import { spawnSync } from 'node:child_process';
import path from 'node:path';

test('nobody who looks for private keys in this repository finds a line', () => {
  // The brackets keep this line from being one itself.
  const { status, stdout } = spawnSync('git', ['grep', '-n', '--untracked', 'PRIVATE[ ]KEY'], {
    cwd: path.resolve(__dirname, '../..'),
    encoding: 'utf8',
  });
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
});
