/** Compiles the simulator and runs it with the arguments that it is given: see `simulate.ts`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compile } from '../../test/build.js';

const folder = fileURLToPath(
  new URL('../../.build/simulation', import.meta.url),
);
await compile('verification/simulation/tsconfig.json', folder);
const simulator = spawn(
  process.execPath,
  [
    join(folder, 'verification/simulation/simulate.js'),
    ...process.argv.slice(2),
  ],
  { stdio: 'inherit' },
);
const [code] = await once(simulator, 'close');
process.exitCode = code ?? 1;
