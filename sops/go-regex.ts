import { RE2JS } from 're2js';

/**
 * An expression as sops searches it in a path: by Go's regexp, whose syntax is RE2's (github.com/google/re2/wiki/Syntax),
 * unanchored.
 *
 * @throws Error where Go can't compile it either; the message says why.
 */
export function goRegex(regex: string): (text: string) => boolean {
  const compiled = compile(regex);
  return (text) => compiled.matcher(text).find();
}

function compile(regex: string): RE2JS {
  try {
    return RE2JS.compile(regex);
  } catch (error) {
    // RE2 refuses two groups of one name, and Go takes them; whether it matches doesn't depend on names.
    if (!/duplicate capture group name/.test((error as Error).message)) throw error;
    return RE2JS.compile(regex.replaceAll(/\(\?P?<\w+>/g, '('));
  }
}
