/** A program's end of the conversation with the test that started it: it answers calls and reports events. */

/** What passes between processes, by structured clone. */
// oxlint-disable-next-line typescript/no-explicit-any -- each program and each event has its own
export type Passed = any;

/** What a program can be asked for, by name. */
export interface Calls {
  [name: string]: (...parameters: Passed[]) => Passed;
}

export interface CallMessage {
  id: number;
  name: string;
  parameters: Passed[];
}

/** Something that happened in the program. */
export interface ProgramEvent {
  type: string;
  /** When, on the clock of {@link monotonic}. */
  at: number;
  [detail: string]: Passed;
}

export type ProgramMessage =
  | { ready: true }
  | { id: number; result: Passed }
  | { id: number; error: { name: string; message: string } }
  | { event: ProgramEvent };

/** Milliseconds on a clock that all processes of this machine share and that only goes forward. */
export function monotonic(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Answers calls from now on, until the process that started this one is gone. */
export function answer(calls: Calls): void {
  const respond = async ({ id, name, parameters }: CallMessage) => {
    try {
      send({ id, result: await calls[name]!(...parameters) });
    } catch (error) {
      const { name: type, message } =
        error instanceof Error ? error : new Error(String(error));
      send({ id, error: { name: type, message } });
    }
  };
  process.on('message', (message: CallMessage) => void respond(message));
  process.on('disconnect', () => process.exit());
  send({ ready: true });
}

export function report(
  type: string,
  details: Record<string, Passed> = {},
): void {
  send({ event: { type, at: monotonic(), ...details } });
}

function send(message: ProgramMessage): void {
  process.send?.(message);
}
