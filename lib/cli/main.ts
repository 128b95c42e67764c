#!/usr/bin/env node
/** The command `nestjs-k8s-lock`: reads the command line, runs the command, and gives the exit code. */
import {
  commandIn,
  readCommandLine,
  usage,
  usageOf,
  UsageError,
  type CommandLine,
} from './arguments.js';
import { print, say } from './output.js';

/** Each is loaded when it is used: help and completion must not wait for the engine, nor for Nest. */
async function run(line: CommandLine): Promise<number> {
  switch (line.command) {
    case 'dev-server': {
      const { devServer } = await import('./dev-server.js');
      await devServer(line.flags);
      return 0;
    }
    case 'completion': {
      const { completion } = await import('./completion.js');
      print(completion(line.parameters[0]!));
      return 0;
    }
    case 'run': {
      const { runCommand } = await import('./run.js');
      return runCommand(line);
    }
    case 'doctor': {
      const { doctor } = await import('./doctor.js');
      return doctor(line);
    }
    default: {
      const { show } = await import('./show.js');
      return show(line);
    }
  }
}

async function main(args: readonly string[]): Promise<number> {
  const line = readCommandLine(args);
  if (typeof line === 'string') {
    print(line);
    return 0;
  }
  return run(line);
}

function usageFor(args: readonly string[]): string {
  const command = commandIn(args);
  return command === undefined ? usage() : usageOf(command);
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') {
    process.exit(0); // `list | head` ends the reader first
  }
  say(`The output can't be written: ${error.message}`);
  process.exit(1);
});
// A command under a lock goes on when nobody reads what is said of it.
process.stderr.on('error', () => {});

async function start(args: readonly string[]): Promise<void> {
  try {
    process.exitCode = await main(args);
  } catch (error) {
    if (error instanceof UsageError) {
      say(error.message);
      process.stderr.write(`\n${usageFor(args)}`);
      process.exitCode = 2;
      return;
    }
    const { explanationOf, LockBackendError } =
      await import('../lock.errors.js');
    say(explanationOf(error).replace(/^nestjs-k8s-lock: /, ''));
    const isOfRun =
      error instanceof LockBackendError && commandIn(args) === 'run';
    process.exitCode = isOfRun ? 69 : 1;
  }
}

void start(process.argv.slice(2));
