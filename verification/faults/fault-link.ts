/** The network between one process and the API server, with its faults: bytes that come late, or not until much later. */
import { once } from 'node:events';
import {
  connect,
  createServer,
  type AddressInfo,
  type Server,
  type Socket,
} from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';

/**
 * One way through a link. What is held back is not lost: TCP sends it again until it gets through or
 * its sender is gone, so it arrives when the fault is over, be its sender still there or not.
 */
class Way {
  private isHeld = false;
  /** Milliseconds. */
  delay = 0;
  private readonly lanes = new Set<Lane>();

  hold(): void {
    this.isHeld = true;
  }

  letGo(): void {
    this.isHeld = false;
    for (const lane of this.lanes) {
      lane.pump();
    }
  }

  get isOpen(): boolean {
    return !this.isHeld;
  }

  carry(source: Socket, target: Socket): void {
    const lane = new Lane(this, source, target);
    this.lanes.add(lane);
    target.once('close', () => this.lanes.delete(lane));
  }
}

/** What one connection still has to carry in one direction, in order. */
class Lane {
  private readonly queue: { readonly due: number; readonly act: () => void }[] =
    [];
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly way: Way,
    source: Socket,
    target: Socket,
  ) {
    source.on('data', (data) => this.push(() => void target.write(data)));
    source.on('end', () => this.push(() => void target.end()));
    source.on('close', () => this.push(() => void target.destroy()));
    source.on('error', () => undefined); // its close follows
  }

  pump(): void {
    clearTimeout(this.timer);
    while (this.way.isOpen && this.queue.length > 0) {
      const left = this.queue[0]!.due - performance.now();
      if (left > 0) {
        this.timer = setTimeout(() => this.pump(), left);
        return;
      }
      this.queue.shift()!.act();
    }
  }

  private push(act: () => void): void {
    this.queue.push({ due: performance.now() + this.way.delay, act });
    this.pump();
  }
}

export class FaultLink {
  readonly requests = new Way();
  readonly answers = new Way();
  /** Whether new connections are refused. */
  refuses = false;
  private readonly server: Server;
  /** The connections, by the port from which their other end was made. */
  private readonly clients = new Map<number, Socket>();
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly target: number,
    private readonly onConnection: (localPort: number) => void,
  ) {
    this.server = createServer((client) => this.connect(client));
  }

  /** Opens a link to the API server of a configuration, and makes a configuration that goes through it. */
  static async openTo(
    kubeConfigYaml: string,
  ): Promise<{ link: FaultLink; kubeConfig: KubeConfig }> {
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromString(kubeConfigYaml);
    const address = new URL(kubeConfig.getCurrentCluster()!.server);
    const link = await FaultLink.open(Number(address.port), () => undefined);
    address.port = String(link.port);
    kubeConfig.clusters = kubeConfig.clusters.map((cluster) => ({
      ...cluster,
      server: address.href,
    }));
    return { link, kubeConfig };
  }

  /**
   * @param target a port of 127.0.0.1
   * @param onConnection is told the port from which a connection to the target will come
   */
  static async open(
    target: number,
    onConnection: (localPort: number) => void,
  ): Promise<FaultLink> {
    const link = new FaultLink(target, onConnection);
    link.server.listen(0, '127.0.0.1');
    await once(link.server, 'listening');
    return link;
  }

  get port(): number {
    return portOf(this.server.address());
  }

  /** Breaks the connection that came to the target from this port. */
  reset(localPort: number): void {
    this.clients.get(localPort)?.resetAndDestroy();
  }

  /** Breaks all connections. */
  resetAll(): void {
    for (const client of this.clients.values()) {
      client.resetAndDestroy();
    }
  }

  /** Ends all faults. */
  heal(): void {
    this.refuses = false;
    for (const way of [this.requests, this.answers]) {
      way.delay = 0;
      way.letGo();
    }
  }

  close(): void {
    this.server.close();
    this.heal();
    for (const socket of this.sockets) {
      socket.destroy();
    }
  }

  private connect(client: Socket): void {
    if (this.refuses) {
      client.resetAndDestroy();
      return;
    }
    const onward = connect(this.target, '127.0.0.1');
    for (const socket of [client, onward]) {
      this.sockets.add(socket);
      socket.once('close', () => this.sockets.delete(socket));
    }
    onward.once('connect', () => {
      const { localPort } = onward;
      if (localPort === undefined || client.destroyed) {
        onward.destroy();
        return;
      }
      this.onConnection(localPort);
      this.clients.set(localPort, client);
      client.once('close', () => this.clients.delete(localPort));
      // No byte may pass before the target can know whose they are.
      this.requests.carry(client, onward);
      this.answers.carry(onward, client);
    });
    onward.once('error', () => client.destroy());
    client.once('error', () => undefined);
  }
}

export function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') {
    throw new TypeError('the server does not listen on a port');
  }
  return address.port;
}
