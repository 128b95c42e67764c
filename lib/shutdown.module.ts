/** Calls listeners when the application starts to close, before any other shutdown hook runs. */
import {
  Inject,
  Injectable,
  Module,
  type OnModuleDestroy,
} from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';

/**
 * An HTTP server, a queue worker or a microservice that closes waits for its running work, and this work
 * may wait for a lock or for the `signal` of one. Therefore locks close first. Nest calls the shutdown
 * hooks module by module, from the root module to its imports, and those of global modules last.
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

  /** Calls `listener` once, when the application starts to close. */
  onShutdown(listener: () => void): void {
    this.listeners.add(listener);
  }

  onModuleDestroy(): void {
    for (const listener of this.listeners) {
      listener();
    }
  }
}

/** Nest orders the hooks by the distance of their module from the root module. */
const BEFORE_THE_ROOT = -1;

@Module({ providers: [ShutdownHook], exports: [ShutdownHook] })
export class ShutdownModule {}
