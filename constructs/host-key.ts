import { PrivateKey } from '@cdktf/provider-tls/lib/private-key';
import { Fn } from 'cdktf';
import { Construct } from 'constructs';
import { formatSshPublicKey, parseSshPublicKey } from '../keys/ssh-public-key';
import { TerraformData } from './terraform-data';

/** A key pair of a host, each half a literal or an attribute that Terraform knows after the first apply. */
export interface KeyPair {
  /** The public key's line, without a comment. */
  readonly publicKey: string;
  /** The private key in OpenSSH's format, ending in a line feed. Sensitive. */
  readonly privateKey: string;
}

/** What a {@link HostKey.generated} takes. */
export interface GeneratedHostKeyProps {
  /**
   * Also make an RSA key of 4096 bits, for clients that know no ed25519. The recipient stays the ed25519 key's.
   * @default false
   */
  readonly rsa?: boolean;
}

const RSA_BITS = 4096;

/**
 * The SSH host key of one machine: the one thing that everything else here is derived from.
 *
 * Made by `HostKey.generated` (Option D) or `HostKey.adopted` (Options A and B: the host exists, and its key is
 * known).
 */
export class HostKey extends Construct {
  /**
   * A new ed25519 key, made by Terraform and kept in its state. It has no tie to any VM, so that rebuilding the VM
   * keeps it; only destroying it, or its stack, ends it.
   */
  static generated(scope: Construct, id: string, { rsa = false }: GeneratedHostKeyProps = {}): HostKey {
    return new HostKey(scope, id, { rsa });
  }

  /**
   * The key of a host that made its own. Nothing is injected; the recipient and the rules are derived all the same.
   *
   * @param publicKey The one line of the host's `ssh_host_ed25519_key.pub`.
   * @throws KeyFormatError when it is no SSH public key.
   */
  static adopted(scope: Construct, id: string, publicKey: string): HostKey {
    return new HostKey(scope, id, { publicKey: formatSshPublicKey(parseSshPublicKey(publicKey)) });
  }

  /** The public key's line, without a comment: a literal for an adopted key, else known after the first apply. */
  readonly publicKey: string;

  /** The private key in OpenSSH's format, ending in a line feed. Sensitive; undefined for an adopted key. */
  readonly privateKey: string | undefined;

  /** The RSA key beside it, where one was asked for. */
  readonly rsa: KeyPair | undefined;

  /** When the key was made: ISO 8601 in UTC, known after the first apply. Undefined for an adopted key. */
  readonly madeAt: string | undefined;

  private constructor(
    scope: Construct,
    id: string,
    from: { readonly rsa: boolean } | { readonly publicKey: string },
  ) {
    super(scope, id);
    if ('publicKey' in from) {
      this.publicKey = from.publicKey;
      return;
    }
    const key = new PrivateKey(this, 'ed25519', { algorithm: 'ED25519' });
    this.publicKey = Fn.trimspace(key.publicKeyOpenssh);
    this.privateKey = key.privateKeyOpenssh;
    if (from.rsa) {
      const rsa = new PrivateKey(this, 'rsa', { algorithm: 'RSA', rsaBits: RSA_BITS });
      this.rsa = { publicKey: Fn.trimspace(rsa.publicKeyOpenssh), privateKey: rsa.privateKeyOpenssh };
    }
    // A state tells nobody when a key was made. This does, for as long as the key is the same.
    const made = new TerraformData(this, 'made', {
      input: { at: '${plantimestamp()}' },
      triggersReplace: { fingerprint: key.publicKeyFingerprintSha256 },
      lifecycle: { ignoreChanges: ['input'] },
    });
    this.madeAt = made.output('at');
  }
}
