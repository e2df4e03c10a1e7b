import { readFileSync } from 'node:fs';

/** The text of a file; empty for one that isn't there, or that this user may not read. */
export function readIfReadable(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
