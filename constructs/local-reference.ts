import { TerraformLocal, TerraformStack } from 'cdktf';
import type { Construct } from 'constructs';

/**
 * Declares a local value and returns its name, `local.…`, as an expression without `${}`: what may stand inside
 * another expression that is written as text, where a token of cdktf's may not.
 */
export function localReference(scope: Construct, id: string, value: unknown): string {
  return `local.${TerraformStack.of(scope).getLogicalId(new TerraformLocal(scope, id, value))}`;
}
