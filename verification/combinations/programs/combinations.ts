/** Every combination, by name. */
import { bullmq } from './bullmq.js';
import { cqrs } from './cqrs.js';
import { eventEmitter } from './event-emitter.js';
import { graphql } from './graphql.js';
import { http } from './http.js';
import { inheritance } from './inheritance.js';
import { locks } from './locks.js';
import { microservices } from './microservices.js';
import { providers } from './providers.js';
import { schedule } from './schedule.js';
import type { Combinations } from './combination-run.js';
import { swagger } from './swagger.js';

export { LeaseApiServer } from 'nestjs-k8s-lock/testing';
export { askGraphQL } from './graphql-errors.js';
export { observe } from './observe.js';

export const combinations: Combinations = {
  ...http,
  ...swagger,
  ...schedule,
  ...eventEmitter,
  ...microservices,
  ...graphql,
  ...cqrs,
  ...providers,
  ...inheritance,
  ...locks,
};

/** Those that need a Redis. */
export const redisCombinations: Combinations = bullmq;
