/** One line on standard error that says how far a command is; silence where nobody looks on. */
export interface Progress {
  readonly say: (text: string) => void;
  /** Takes the line away. */
  readonly done: () => void;
}

const CLEAR = '\r\u001b[K';

export function progress(stream: NodeJS.WriteStream = process.stderr): Progress {
  if (!stream.isTTY) return { say: () => undefined, done: () => undefined };
  let shown = false;
  return {
    say: (text) => {
      shown = true;
      stream.write(`${CLEAR}${text.slice(0, stream.columns - 1)}`);
    },
    done: () => {
      if (shown) stream.write(CLEAR);
      shown = false;
    },
  };
}
