import { z } from 'zod';
import type { HostKeySource } from '../fleet/fleet';
import { generatedKeyId } from '../fleet/generated-key';
import { parseSshPublicKey, type SshPublicKey } from '../keys/ssh-public-key';

/** A key pair of a state. It stays in memory, and goes nowhere but to the host that it is for. */
export interface StateKey {
  readonly type: 'ed25519' | 'rsa';
  readonly publicKey: SshPublicKey;
  /** In OpenSSH's format. */
  readonly privateKey: string;
}

const state = z.looseObject({
  resources: z.array(
    z.looseObject({
      type: z.string(),
      name: z.string(),
      instances: z.array(z.looseObject({ attributes: z.looseObject({}) })),
    }),
  ),
});

const pair = z.looseObject({ public_key_openssh: z.string(), private_key_openssh: z.string() });

/** The key pairs that a state holds of a source, the ed25519 one first; none where they aren't made there. */
export function keysInState(text: string, source: HostKeySource): StateKey[] {
  if (source.source !== 'generated') return [];
  const { resources } = state.parse(JSON.parse(text));
  const id = generatedKeyId(source.generation);
  return (['ed25519', 'rsa'] as const).flatMap((type) => {
    const resource = resources.find(
      (each) => each.type === 'tls_private_key' && each.name === `${id}_${type}`,
    );
    const found = pair.safeParse(resource?.instances[0]?.attributes);
    if (!found.success) return [];
    const { public_key_openssh: line, private_key_openssh: privateKey } = found.data;
    return [{ type, publicKey: parseSshPublicKey(line), privateKey }];
  });
}
