import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { OUTDIR_CONTEXT } from '../constructs/outdir';
import { lastWords, ProgramError, runProgram } from './program';

/** What of cdktf.json concerns a synthesis. */
const settings = z.looseObject({
  app: z.string(),
  context: z.record(z.string(), z.unknown()).optional(),
});

/**
 * Runs the app of cdktf.json as `cdktf synth` does, into another folder than `cdktf.out`.
 *
 * @param repository The folder with cdktf.json.
 * @param fleet The fleet's file, relative to the repository or absolute.
 * @throws ProgramError with what the app said, where it fails.
 */
export async function synthesize(repository: string, fleet: string, outdir: string): Promise<void> {
  const file = path.join(repository, 'cdktf.json');
  if (!existsSync(file)) {
    throw new ProgramError(
      `there is no cdktf.json in ${repository}`,
      'run hostkey in the folder that cdktf is run in',
    );
  }
  const { app, context = {} } = readSettings(file);
  const ended = await runProgram(app, [], {
    cwd: repository,
    shell: true,
    env: {
      ...process.env,
      HOSTKEY_FLEET: fleet,
      CDKTF_OUTDIR: outdir,
      CDKTF_CONTEXT_JSON: JSON.stringify({
        ...context,
        [OUTDIR_CONTEXT]: path.join(repository, 'cdktf.out'),
      }),
    },
  });
  if (ended.status !== 0)
    throw new ProgramError(`${app} (cdktf.json) failed: ${lastWords(ended)}`, 'npx cdktf synth');
}

function readSettings(file: string): z.infer<typeof settings> {
  try {
    return settings.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    throw new ProgramError(`${file} is no JSON that names an "app"`, 'mend cdktf.json: npx cdktf synth');
  }
}
