/** Part of a consumer application with Terminus: asks the health indicator while the API server answers, and when it is gone. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  HealthCheck,
  HealthCheckService,
  TerminusModule,
  type HealthCheckResult,
} from '@nestjs/terminus';
import { K8sLockModule } from 'nestjs-k8s-lock';
import { LockHealthIndicator } from 'nestjs-k8s-lock/health';
import { LeaseApiServer } from 'nestjs-k8s-lock/testing';

@Controller('health')
class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly locks: LockHealthIndicator,
  ) {}

  @Get()
  @HealthCheck()
  check() {
    return this.health.check([() => this.locks.isHealthy('locks')]);
  }
}

@Module({
  imports: [K8sLockModule.forRoot(), TerminusModule],
  controllers: [HealthController],
  providers: [LockHealthIndicator],
})
class HealthModule {}

/** Prints the answers, as JSON in the last line. */
async function askTwice(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-consumer-'));
  const server = await LeaseApiServer.start();
  process.env.KUBECONFIG = join(folder, 'kubeconfig');
  await writeFile(process.env.KUBECONFIG, server.kubeConfigYaml());
  const app = await NestFactory.create(HealthModule, { logger: false });
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  const ask = async () => {
    const answer = await fetch(`${url}/health`);
    const { details }: HealthCheckResult = JSON.parse(await answer.text());
    return { status: answer.status, locks: details.locks };
  };
  const answers = [await ask()];
  await server.refuseConnections();
  answers.push(await ask());
  await app.close();
  await server.stop();
  await rm(folder, { recursive: true });
  console.log(JSON.stringify(answers));
}

void askTwice();
