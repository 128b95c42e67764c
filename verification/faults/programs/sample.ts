/** Counts what this process has in use. */
import { readdirSync, readlinkSync } from 'node:fs';
import type { Sample } from './messages.js';

/** Needs `--expose-gc` for a heap without garbage. */
export function takeSample(): Sample {
  globalThis.gc?.();
  const resources: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) {
    resources[kind] = (resources[kind] ?? 0) + 1;
  }
  const descriptors = readdirSync('/proc/self/fd').map(targetOf);
  const sockets = descriptors.filter((each) => each.startsWith('socket:'));
  return {
    heap: process.memoryUsage().heapUsed,
    resources,
    sockets: sockets.length,
    files: descriptors.length - sockets.length,
  };
}

/** The descriptor by which the folder was read is closed by now. */
function targetOf(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    return '';
  }
}
