import { type Command, InvalidArgumentError } from 'commander';
import { loadFleetFor } from './fleet-option';

const HELP = `
Completes commands, options, and the names of the hosts of fleet.yaml. For good:

  bash   echo 'source <(hostkey completion bash)' >>~/.bashrc
  zsh    echo 'source <(hostkey completion zsh)' >>~/.zshrc
  fish   hostkey completion fish >~/.config/fish/completions/hostkey.fish`;

/** What each shell has to be told: whom to ask for the words that may stand here. */
const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `_hostkey() {
  local IFS=$'\\n'
  COMPREPLY=($("\${COMP_WORDS[0]}" completion words -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  [ \${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _hostkey hostkey bin/hostkey
`,
  zsh: `_hostkey() {
  local -a found
  found=(\${(f)"$("\${words[1]}" completion words -- "\${(@)words[2,CURRENT]}" 2>/dev/null)"})
  if (( $#found )); then compadd -a found; else _files; fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _hostkey hostkey bin/hostkey
`,
  fish: `complete -c hostkey -f -a '(set -l t (commandline -opc) (commandline -ct); $t[1] completion words -- $t[2..-1] 2>/dev/null)'
`,
};

/** Adds `hostkey completion`, which needs the whole program to ask it. */
export function addCompletionCommand(program: Command): void {
  program
    .command('completion')
    .description('print what makes a shell complete hostkey: bash, zsh or fish')
    .argument('<shell>', 'bash, zsh or fish', (shell: string) => {
      if (!Object.hasOwn(SCRIPTS, shell) && shell !== 'words')
        throw new InvalidArgumentError('write bash, zsh or fish');
      return shell;
    })
    .argument('[words...]', 'for the shell: the words so far')
    .addHelpText('after', HELP)
    .action((shell: string, words: readonly string[]) => {
      const text =
        SCRIPTS[shell] ??
        candidates(program, words)
          .map((word) => `${word}\n`)
          .join('');
      process.stdout.write(text);
    });
}

/** The words that may stand in place of the last one; none where it is a file's turn. */
function candidates(program: Command, words: readonly string[]): string[] {
  const typed = words.at(-1) ?? '';
  let command = program;
  for (const word of words.slice(0, -1))
    command = command.commands.find((each) => each.name() === word) ?? command;
  const before = command.options.find(({ long, short }) => [long, short].includes(words.at(-2) ?? '-'));
  // An option's value: its choices, or, where it has none and takes one, whatever the shell has.
  if (before?.required || before?.optional) {
    if (before.argChoices !== undefined) return starting(before.argChoices, typed);
    if (before.required) return [];
  }
  const options = command.options.flatMap(({ long }) => long ?? []);
  if (typed.startsWith('-')) return starting([...options, '--help'], typed);
  const takesHosts = command.registeredArguments.some((argument) => /host/.test(argument.name()));
  return starting(
    [...command.commands.map((each) => each.name()), ...(takesHosts ? hostNames() : [])],
    typed,
  );
}

const starting = (words: readonly string[], typed: string): string[] =>
  words.filter((word) => word.startsWith(typed));

function hostNames(): string[] {
  try {
    return loadFleetFor({}).hosts.map(({ name }) => name);
  } catch {
    return []; // no fleet.yaml here, or one that is being written
  }
}
