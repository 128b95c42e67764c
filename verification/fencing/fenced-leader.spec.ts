/** A leader that was paused for longer than its lease writes late, and PostgreSQL refuses it by its fencing token. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeOnServer } from '../../test/api-servers.js';
import { TestProcess } from '../processes/test-process.js';
import { startPostgres, type PostgresServer } from './postgres-server.js';
import type { LedgerCalls } from './programs/ledger.js';

const LEASE = 3_000;

describeOnServer('leaders that write into PostgreSQL', (server) => {
  let postgres: PostgresServer;
  const started: AsyncDisposable[] = [];

  beforeAll(async () => {
    postgres = await startPostgres();
    await postgres.query(
      `CREATE TABLE ledger (id TEXT PRIMARY KEY, writer TEXT, fencing_token BIGINT);
       CREATE TABLE writes (number SERIAL, writer TEXT, fencing_token BIGINT);
       INSERT INTO ledger VALUES ('balance', 'nobody', 0)`,
    );
  });
  afterAll(async () => {
    await Promise.all(started.map((each) => each[Symbol.asyncDispose]()));
    await postgres[Symbol.asyncDispose]();
  });

  const start = async (writer: string): Promise<TestProcess<LedgerCalls>> => {
    const process = await TestProcess.start<LedgerCalls>(
      'verification/fencing/programs/ledger',
    );
    started.push(process);
    const { kubeConfigYaml } = server;
    const { address } = postgres;
    const options = { kubeConfigYaml, writer, leaseDuration: LEASE };
    await process.call('open', { ...options, postgres: address });
    return process;
  };

  it('refuses the late write of a leader that was paused, and takes those of the next ones', async () => {
    const paused = await start('paused');
    const first = await paused.event('written');
    const heir = await start('heir');
    paused.signal('SIGSTOP');
    const second = await heir.event('written');
    const refused = paused.nextEvent('refused');
    const goesOn = heir.nextEvent('written');
    paused.signal('SIGCONT');
    expect((await refused).token).toBe(first.token);
    expect((await goesOn).token).toBe(second.token);

    // It contends again, and leads with a later token when the other one is gone.
    const third = paused.nextEvent('written');
    heir.signal('SIGKILL');
    const tokens = [first, second, await third].map(({ token }) => token);
    const rows = await postgres.query(
      'SELECT writer, fencing_token, min(number) AS first, max(number) AS last FROM writes GROUP BY 1, 2 ORDER BY first',
    );
    const terms = rows.split('\n').map((row) => row.split('|'));
    expect(terms.map(([writer, token]) => [writer, token])).toEqual([
      ['paused', tokens[0]],
      ['heir', tokens[1]],
      ['paused', tokens[2]],
    ]);
    // No write of a leader stands behind one of a later leader.
    const bounds = terms.flatMap(([, , from, to]) => [
      Number(from),
      Number(to),
    ]);
    expect(bounds).toEqual(bounds.toSorted((one, other) => one - other));
  });
});
