import { existsSync } from 'node:fs';
import path from 'node:path';
import { App, TerraformStack } from 'cdktf';
import type { Construct } from 'constructs';
import { OUTDIR_CONTEXT } from './outdir';

/**
 * A path as Terraform sees it: relative to the folder of the construct's stack, where terraform runs. So the
 * synthesized files are the same from every checkout.
 */
export function fromStack(construct: Construct, target: string): string {
  const stack = TerraformStack.of(construct);
  const app = App.of(construct);
  const outdir: string = app.node.tryGetContext(OUTDIR_CONTEXT) ?? app.outdir;
  const folder = path.resolve(outdir, 'stacks', stack.node.id);
  return path.relative(folder, path.resolve(target)).split(path.sep).join('/');
}

/** The folder of this package, whether it runs from its sources or compiled from `dist/`. */
export function packageRoot(): string {
  let folder = __dirname;
  while (!existsSync(path.join(folder, 'bin', 'hostkey'))) {
    const parent = path.dirname(folder);
    if (parent === folder)
      throw new Error(`bin/hostkey not found above ${__dirname}; install the package again`);
    folder = parent;
  }
  return folder;
}
