/** `node verification/run.mjs SCRIPT.ts [arguments]`: runs a TypeScript program as it stands, without a build. */
import { resolve } from 'node:path';
import { createViteServer } from 'vitest/node';

const [, , script] = process.argv;
process.argv.splice(1, 1);
const vite = await createViteServer({
  configFile: false,
  appType: 'custom',
  logLevel: 'error',
  oxc: { target: 'es2022' },
  optimizeDeps: { noDiscovery: true },
  server: { middlewareMode: true, ws: false, watch: null },
});
try {
  await vite.ssrLoadModule(resolve(script));
} finally {
  await vite.close();
}
// Node 20 can spin for ever when it frees what child processes that were killed have left behind.
process.exit();
