/** Keeps lib/ in the layout of the design: one-directional imports, HTTP and Nest where they belong, no barrels, no cycles. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { findLayoutFaults, readSources } from './layout.js';

const sources = await readSources(
  fileURLToPath(new URL('../../lib', import.meta.url)),
);

/** A way to break the layout: the fault, the file that has it, and what is added to that file. */
const BREAKINGS: readonly [fault: string, path: string, addition: string][] = [
  [
    'must not import lock.service.ts',
    'lock/record/lease-record.ts',
    `import '../../lock.service.js';`,
  ],
  [
    'must not import lock/hold/lease-lock.ts',
    'kube/exchange.ts',
    `import type { LeaseLock } from '../lock/hold/lease-lock.js';`,
  ],
  [
    'must not import decorators/held-lock.decorator.ts',
    'lock.service.ts',
    `const later = () => import('./decorators/held-lock.decorator.js');`,
  ],
  [
    'must not import index.ts',
    'k8s-lock.options.ts',
    `type Event = import('./index.js').LockEvent;`,
  ],
  [
    'must not import testing/index.ts',
    'kube/exchange.ts',
    `export { LeaseApiServer } from '../testing/index.js';`,
  ],
  [
    'must not import index.ts',
    'testing/http-front.ts',
    `export * from '../index.js';`,
  ],
  [
    'must not use node:http',
    'lock/hold/lease-holder.ts',
    `import { request } from 'node:http';`,
  ],
  [
    'must not use node:tls',
    'lock.service.ts',
    `import { connect } from 'node:tls';`,
  ],
  [
    'must not import @nestjs/common',
    'lock/hold/lease-holder.ts',
    `import { Logger } from '@nestjs/common';`,
  ],
  [
    'imports @nestjs/microservices, which is no peer',
    'lock.service.ts',
    `import { Transport } from '@nestjs/microservices';`,
  ],
  ['imports fs, which is no peer', 'lock.service.ts', `import 'fs';`],
  [
    'imports lodash, which is no peer',
    'lock.service.ts',
    `const later = () => require('lodash');`,
  ],
  [
    'must load @kubernetes/client-node lazily',
    'kube/exchange.ts',
    `import { KubeConfig } from '@kubernetes/client-node';`,
  ],
  ['is a barrel', 'lock/index.ts', `/** All. */\nexport const hold = 1;`],
  [
    'is a barrel',
    'lock/all.ts',
    `/** All. */\nexport * from './hold/lease-holder.js';\nexport { a } from './record/lease-record.js';`,
  ],
  [
    'is in a folder whose name says nothing',
    'lock/utils/text.ts',
    '/** Text. */',
  ],
  ['is used by nobody', 'lock/orphan.ts', '/** Alone. */'],
  ['belongs to no layer', 'stray.ts', '/** Stray. */'],
  ['does not open with a sentence', 'lock/bare.ts', '// Says nothing.'],
  [
    'is a cycle',
    'lock/clock.ts',
    `import type { Ending } from './hold/lease-holder.js';`,
  ],
  [
    'lock/gone.ts is imported and does not exist',
    'lock/clock.ts',
    `import './gone.js';`,
  ],
];

describe('lib/', () => {
  it('keeps to the layout', () => {
    expect(findLayoutFaults(sources, manifest)).toEqual([]);
  });

  it.each(BREAKINGS)(
    'would be caught: "%s", in %s',
    (fault, path, addition) => {
      const broken = new Map(sources);
      broken.set(path, `${sources.get(path) ?? ''}${addition}\n`);
      const faults = findLayoutFaults(broken, manifest);
      expect(faults).toContainEqual(expect.stringContaining(fault));
    },
  );
});
