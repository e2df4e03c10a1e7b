/** A word as a POSIX shell takes it, whatever is in it: in single quotes. */
export const shellWord = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** A word as it is typed in a shell, in single quotes where it needs them. */
export const quoted = (word: string): string => (/^[\w./:@%+=-]+$/.test(word) ? word : shellWord(word));
