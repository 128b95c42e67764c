/** Runs the example of the dashboard. */
import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { expect } from 'vitest';
import { startCluster } from './set-up.js';
import type { SnippetTest } from './snippet-test.js';

export const dashboard: Record<string, SnippetTest> = {
  dashboard: async (load) => {
    await using _ = await startCluster();
    const { AppModule } = await load<{ AppModule: Type }>();
    const app = await NestFactory.create(AppModule);
    await app.listen(0, '127.0.0.1');
    const answer = await fetch(`${await app.getUrl()}/locks/view`);
    expect(answer.status).toBe(403);
    await app.close();
  },
};
