/** Part of the consumer applications: a decorator of their own, whose type the compiler has to write down by itself. */
import { WithLeaseLock } from 'nestjs-k8s-lock';

export const Locked = (name: string) => WithLeaseLock(name);
