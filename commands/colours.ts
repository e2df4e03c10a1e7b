import pc from 'picocolors';

/**
 * Colours for a stream: on a terminal that has them, unless NO_COLOR says no. Never in a pipe, where picocolors by
 * itself would colour as soon as `CI` is set.
 */
export const coloursOf = (stream: NodeJS.WriteStream): ReturnType<typeof pc.createColors> =>
  pc.createColors(pc.isColorSupported && stream.isTTY === true);
