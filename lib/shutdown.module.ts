/** Learns that the application closes before anything else in it does. */
import {
  Inject,
  Injectable,
  Module,
  type OnModuleDestroy,
} from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';

/**
 * Whatever else closes (HTTP, a queue worker, a microservice) waits for the work that it has begun, and
 * that work may wait for a lock, or for the `signal` of one. So locks close first. Nest calls the hooks of
 * shutdown module by module, from the root to what it imports; global modules come last.
 */
@Injectable()
export class ShutdownHook implements OnModuleDestroy {
  private readonly listeners = new Set<() => void>();

  constructor(@Inject(ModulesContainer) modules: ModulesContainer) {
    for (const module of modules.values()) {
      if (module.metatype === ShutdownModule) {
        module.distance = BEFORE_THE_ROOT;
      }
    }
  }

  /** Calls back once, when the application begins to close. */
  onShutdown(listener: () => void): void {
    this.listeners.add(listener);
  }

  onModuleDestroy(): void {
    for (const listener of this.listeners) {
      listener();
    }
  }
}

/** How far a module is from the root of the application decides when its hooks are called. */
const BEFORE_THE_ROOT = -1;

@Module({ providers: [ShutdownHook], exports: [ShutdownHook] })
export class ShutdownModule {}
