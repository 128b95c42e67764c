/** Stores and reads which methods `@OnElected`, `@OnDeposed` and `@LeaderOnly` stand on. */
import { findDeclarer } from '../decorators/lock.metadata.js';

/** One decorator of an election on one method. */
export interface LeaderMark {
  readonly decorator: 'OnElected' | 'OnDeposed' | 'LeaderOnly';
  /** As it was given, not yet checked. */
  readonly election: unknown;
}

const MARKS = Symbol('nestjs-k8s-lock: elections of a method');

/** By class and key, since other decorators may replace the function on the prototype. */
export function addLeaderMark(
  prototype: object,
  key: string | symbol,
  mark: LeaderMark,
): void {
  const marks = [...findLeaderMarks(prototype, key), mark];
  Reflect.defineMetadata(MARKS, marks, prototype, key);
}

/** None if the method isn't decorated where it is declared. */
export function findLeaderMarks(
  prototype: object,
  key: string | symbol,
): readonly LeaderMark[] {
  const declarer = findDeclarer(prototype, key);
  const marks: readonly LeaderMark[] | undefined =
    declarer && Reflect.getOwnMetadata(MARKS, declarer, key);
  return marks ?? [];
}
