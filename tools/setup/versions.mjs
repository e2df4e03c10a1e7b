// @ts-check

/**
 * The first dotted version in what a program printed: 'Terraform v1.11.4\non linux_amd64' → '1.11.4'.
 * A pre-release or build suffix is left out: whoever runs one knows what it can do.
 * @param {string} text
 * @returns {string | undefined}
 */
export function findVersion(text) {
  return /(?<![\d.])\d+\.\d+(?:\.\d+)?/.exec(text)?.[0];
}

/**
 * Compares dotted versions by number, part by part: 1.10 is newer than 1.9, and 1.6 is 1.6.0.
 * @param {string} a
 * @param {string} b
 * @returns {number} negative where a is older, 0 where equal, positive where newer
 */
export function compareVersions(a, b) {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
