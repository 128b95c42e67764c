/** `completion`: the completion of commands, flags and lock names for a shell. */
import { COMMANDS, FLAGS, UsageError } from './arguments.js';
import { quote } from '../printable.js';

const NAME = 'nestjs-k8s-lock';
/** The names of Leases alone, which have no character that a shell could act on. */
const LEASES = `${NAME} list -o name 2>/dev/null`;

const entries = Object.entries(COMMANDS);
const commands = Object.keys(COMMANDS).join(' ');

/** The script for a shell. @throws UsageError */
export function completion(shell: string): string {
  switch (shell) {
    case 'bash':
      return bash();
    case 'zsh':
      return `#compdef ${NAME}
autoload -U +X bashcompinit && bashcompinit
${bash()}`;
    case 'fish':
      return fish();
    default:
      throw new UsageError(
        `completion takes bash, zsh or fish, not ${quote(shell)}`,
      );
  }
}

function bash(): string {
  const cases = entries.map(
    ([command, { flags }]) =>
      `    ${command}) words="${flags.map((flag) => `--${flag}`).join(' ')}" ;;`,
  );
  return `_nestjs_k8s_lock() {
  local word="\${COMP_WORDS[COMP_CWORD]}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands}" -- "$word"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
  case "$word" in
    -*) ;;
    *)
      case "\${COMP_WORDS[1]}" in
        inspect | watch | history | release | run) words="$(${LEASES})" ;;
        completion) words="bash zsh fish" ;;
      esac
      ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _nestjs_k8s_lock ${NAME}
`;
}

function fish(): string {
  const lines = entries.flatMap(([command, { flags }]) => [
    `complete -c ${NAME} -n __fish_use_subcommand -f -a ${command}`,
    ...flags.map((flag) => {
      const spec: { short?: string; type: string } = FLAGS[flag];
      return `complete -c ${NAME} -n '__fish_seen_subcommand_from ${command}' -l ${flag}${spec.short ? ` -s ${spec.short}` : ''}${spec.type === 'string' ? ' -r' : ''}`;
    }),
  ]);
  return `${lines.join('\n')}
complete -c ${NAME} -n '__fish_seen_subcommand_from inspect watch history release run' -f -a '(${LEASES})'
complete -c ${NAME} -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'
`;
}
