import { Token } from 'cdktf';
import { Construct } from 'constructs';
import { ageRecipientOf } from '../keys/age-recipient';
import { parseSshPublicKey } from '../keys/ssh-public-key';
import { localReference } from './local-reference';

/** What an {@link AgeRecipient} is derived from. */
export interface AgeRecipientProps {
  /** An `ssh-ed25519` public key line; a literal, or an attribute that Terraform knows only after apply. */
  readonly publicKey: string;
}

/**
 * The age recipient of an SSH host key, as `ssh-to-age` prints it.
 *
 * Of a literal key it is worked out at synth. Of a key that only Terraform will know, it is worked out by
 * Terraform, in its own language: no provider or program stands between the key and `.sops.yaml`. Terraform's
 * numbers carry 512 bits, so the products of two field elements of Curve25519 (255 bits each) are exact. The steps:
 *
 * 1. the y-coordinate from the key's wire format (RFC 8709, RFC 8032 section 5.1.2: little-endian, sign bit on top),
 * 2. u = (1 + y) / (1 - y) modulo p = 2^255 - 19 (RFC 7748 section 4.1), dividing by Fermat: x^-1 = x^(p-2),
 * 3. bech32 (BIP 173) with the prefix `age`. Its checksum is affine over GF(2), so that 30 parity rows give it.
 */
export class AgeRecipient extends Construct {
  /** `age1…` */
  readonly recipient: string;

  constructor(scope: Construct, id: string, props: AgeRecipientProps) {
    super(scope, id);
    this.recipient = Token.isUnresolved(props.publicKey)
      ? this.derive(props.publicKey)
      : ageRecipientOf(parseSshPublicKey(props.publicKey));
  }

  private derive(publicKey: string): string {
    const local = (name: string, expression: string): string =>
      localReference(this, name, `\${${expression}}`);

    const p = local('p', String(2n ** 255n - 19n));
    // Terraform has no `let`; a list of one element, gone through once, names a value and so computes it once.
    const squared = (value: string, times = 1): string =>
      Array.from({ length: times }).reduce<string>((x) => `[for x in [${x}] : x * x % ${p}][0]`, value);
    const product = (a: string, b: string): string => `${a} * ${b} % ${p}`;

    const base64 = `split(" ", ${localReference(this, 'public_key', publicKey)})[1]`;
    const sextet = local('sextet', `{for i, c in split("", "${BASE64}") : c => format("%06b", i)}`);
    const wire = local('wire', `join("", [for c in split("", ${base64}) : ${sextet}[c]])`);
    const bytes = (bits: string): string => `[for i in range(32) : substr(${bits}, 8 * (31 - i), 8)]`;
    const point = local('point', `substr(${wire}, ${WIRE_PREFIX_BITS}, 256)`);
    const y = local('y', `parseint(substr(join("", ${bytes(point)}), 1, 255), 2)`);

    // x^(p-2) by the addition chain that every Curve25519 has used since ref10; the names say which power.
    const z = local('z', `(1 - ${y} + ${p}) % ${p}`);
    const z2 = local('z2', squared(z));
    const z9 = local('z9', product(z, local('z8', squared(z2, 2))));
    const z11 = local('z11', product(z2, z9));
    const z31 = local('z2e5m1', product(z9, local('z22', squared(z11))));
    const z10 = local('z2e10m1', product(squared(z31, 5), z31));
    const z20 = local('z2e20m1', product(squared(z10, 10), z10));
    const z40 = local('z2e40m1', product(squared(z20, 20), z20));
    const z50 = local('z2e50m1', product(squared(z40, 10), z10));
    const z100 = local('z2e100m1', product(squared(z50, 50), z50));
    const z200 = local('z2e200m1', product(squared(z100, 100), z100));
    const z250 = local('z2e250m1', product(squared(z200, 50), z50));
    const inverse = local('inverse', product(squared(z250, 5), z11));
    const u = local('u', `(1 + ${y}) * ${inverse} % ${p}`);

    const uBits = local('u_bits', `format("%0256b", ${u})`);
    const data = local('data', `join("", concat(${bytes(uBits)}, ["${'0'.repeat(PADDING_BITS)}"]))`);
    parityRows ??= checksumRows();
    const parity = localReference(this, 'parity', parityRows);
    // The data's bits and one constant 1, which carries the affine part of the checksum.
    const bits = local('bits', `split("", format("%s1", ${data}))`);
    const checksum = local(
      'checksum',
      `join("", [for row in ${parity} : sum([for i, b in split("", row) : ${bits}[i] if b == "${TAKEN}"]) % 2])`,
    );
    const words = local('words', `join("", [${data}, ${checksum}])`);
    const text = `[for i in range(58) : substr("${BECH32}", parseint(substr(${words}, 5 * i, 5), 2), 1)]`;
    return `\${${local('recipient', `join("", concat(["age1"], ${text}))`)}}`;
  }
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const BECH32 = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';

/** Bits before the key in its wire format: two lengths of four bytes and the eleven of `ssh-ed25519`. */
const WIRE_PREFIX_BITS = (4 + 'ssh-ed25519'.length + 4) * 8;

/** 256 bits fill 52 words of five bits but for four bits of padding. */
const PADDING_BITS = 4;
const DATA_WORDS = 52;
const CHECKSUM_WORDS = 6;

/**
 * A column that counts in a row of the checksum, and one that doesn't. In digits, cdktf would take each row for one
 * of its number tokens, and look through it in quadratic time.
 */
const [TAKEN, LEFT] = ['x', '_'];

/** The same for every recipient, so worked out once, and only where one is derived. */
let parityRows: string[] | undefined;

/**
 * bech32's checksum of the prefix `age` and 52 words, as 30 rows over GF(2): in each row one column for every bit of
 * the data and a last one for the constant part.
 */
function checksumRows(): string[] {
  const constant = checksumOf(new Array<number>(DATA_WORDS).fill(0));
  const columns: number[] = [];
  for (let word = 0; word < DATA_WORDS; word++) {
    for (let bit = 4; bit >= 0; bit--) {
      const words = new Array<number>(DATA_WORDS).fill(0);
      words[word] = 1 << bit;
      columns.push(checksumOf(words) ^ constant);
    }
  }
  columns.push(constant);
  return Array.from({ length: 5 * CHECKSUM_WORDS }, (_, row) =>
    columns.map((column) => ((column >>> (5 * CHECKSUM_WORDS - 1 - row)) & 1 ? TAKEN : LEFT)).join(''),
  );
}

function checksumOf(words: readonly number[]): number {
  const prefix = [...'age'].map((c) => c.charCodeAt(0));
  const expanded = [...prefix.map((c) => c >> 5), 0, ...prefix.map((c) => c & 31)];
  const generator = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
  let state = 1;
  for (const word of [...expanded, ...words, ...new Array<number>(CHECKSUM_WORDS).fill(0)]) {
    const top = state >>> 25;
    state = ((state & 0x1ffffff) << 5) ^ word;
    generator.forEach((g, i) => {
      if ((top >> i) & 1) state ^= g;
    });
  }
  return state ^ 1;
}
