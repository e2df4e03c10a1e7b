import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Fleet } from '../fleet/fleet';
import { CreationRulesError, readCreationRules } from '../sops/creation-rules';
import { APPLY_ALL, ROOT_RULES } from '../sops/root-rules';
import { applyHosts } from '../sops/rules';
import { SopsRulesError } from '../sops/yaml-text';
import type { StateReading } from '../terraform/state';
import { ok, problem, type Result, warning } from './result';

const ID = 'sops.rules';

/**
 * Whether sops can read the root `.sops.yaml`, and a deployment edit it. What it says of each host, `hostkey drift`
 * tells.
 */
export function checkRootRules(
  { root }: Pick<Fleet, 'root'>,
  states: ReadonlyMap<string, StateReading>,
): Result[] {
  let text: string;
  try {
    text = readFileSync(path.join(root, ROOT_RULES), 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return missing(states);
    return [problem(ID, `${ROOT_RULES} can't be read (${code})`, `ls -l ${ROOT_RULES}`)];
  }
  try {
    readCreationRules(text, ROOT_RULES);
    applyHosts(text, []);
    return [ok(ID, `${ROOT_RULES} can be read by sops and edited by a deployment`)];
  } catch (error) {
    if (!(error instanceof CreationRulesError || error instanceof SopsRulesError)) throw error;
    return [problem(ID, error.message, `$EDITOR ${ROOT_RULES}`)];
  }
}

function missing(states: ReadonlyMap<string, StateReading>): Result[] {
  const deployed = [...states.values()].some(({ status }) => status === 'deployed');
  return deployed
    ? [warning(ID, `there is no ${ROOT_RULES}, and hosts are deployed`, APPLY_ALL)]
    : [ok(ID, `there is no ${ROOT_RULES} yet; the first deployment makes it`)];
}
