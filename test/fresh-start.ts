/**
 * Gives each spec file what a process for it alone would give: modules of lib and test that nothing has used yet,
 * and no fake timers, stubbed variables or logger of the spec before it. What stays loaded is the packages, which
 * take a second of each process.
 */
import { Logger } from '@nestjs/common';
import { vi } from 'vitest';

vi.useRealTimers();
vi.unstubAllEnvs();
vi.unstubAllGlobals();
vi.resetModules();
Logger.overrideLogger(new Logger());
// What lib/copies.ts knows of the modules before.
Reflect.deleteProperty(globalThis, Symbol.for('nestjs-k8s-lock: copies'));
