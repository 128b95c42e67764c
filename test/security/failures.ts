/** Servers, proxies, plugins and files that fail, and try to give away the credentials that they were trusted with. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority } from '../kube/certificates.js';
import { answer, StubApi } from '../kube/stub-api.js';
import {
  chattyWatch,
  echo,
  findClosedPort,
  onlyCreate,
  startRefusingProxy,
} from './failing-servers.js';
import type { FailingApp } from './programs/failing-apps.js';
import type { Secrets } from './secrets.js';

/** An application, and what shows that it has failed as it was meant to: one of the lines that begin with `@`. */
export type ExpectedFailure = FailingApp & { readonly fails: string };

export interface Failures extends AsyncDisposable {
  readonly secrets: Secrets;
  readonly apps: readonly ExpectedFailure[];
}

const secret = (what: string): string => `${what}-${randomUUID()}`;
const base64 = (text: string): string => Buffer.from(text).toString('base64');

const authority = createAuthority('test-authority');
const client = authority.issue('jane');
const token = secret('token');
const password = secret('p:@ss/word');
const proxyPassword = secret('proxy');
const urlPassword = secret('in-address');
const pluginSecret = secret('plugin');

/** What an application is to keep for itself. */
const SECRETS = {
  token,
  password,
  proxyPassword,
  urlPassword,
  pluginSecret,
  clientKey: client.key.split('\n')[1]!,
};

/** Starts all of it. */
export async function prepareFailures(): Promise<Failures> {
  const folder = await mkdtemp(join(tmpdir(), 'secrets-'));
  const closing: (() => unknown)[] = [
    () => rm(folder, { recursive: true, force: true }),
  ];
  const stub = async (
    ...parameters: Parameters<typeof StubApi.start>
  ): Promise<string> => {
    const api = await StubApi.start(...parameters);
    closing.push(() => api[Symbol.asyncDispose]());
    return api.url;
  };
  const file = async (name: string, content: string): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, content, { mode: 0o600 });
    return path;
  };
  const proxy = await startRefusingProxy(proxyPassword);
  closing.push(proxy.close);

  const { certificate: cert, key } = authority.issue('server', ['127.0.0.1']);
  const tls = { cert, key };
  const foreign = createAuthority('foreign-authority').certificate;
  const trusted = {
    'certificate-authority-data': base64(authority.certificate),
  };
  const server = await stub(echo(403));
  const closedPort = await findClosedPort();

  const apps: ExpectedFailure[] = [
    ...(await Promise.all(
      Object.entries({
        401: 'unauthorized',
        403: 'forbidden',
        404: 'not-found',
        302: 'server',
        422: 'invalid',
      }).map(async ([status, reason]) => ({
        name: `it is answered ${status}, and what it has sent`,
        kubeConfig: kubeConfigOf(await stub(echo(Number(status)))),
        fails: `inspect: ${reason}`,
      })),
    )),
    ...(await Promise.all(
      Object.entries({ 429: 'throttled', 500: 'server', 503: 'server' }).map(
        async ([status, reason]) => ({
          name: `it is answered ${status}, and what it has sent, again and again`,
          kubeConfig: kubeConfigOf(await stub(echo(Number(status)))),
          fails: `inspect: ${reason}`,
        }),
      ),
    )),
    {
      name: 'it is answered with success, and what it has sent instead of JSON',
      kubeConfig: kubeConfigOf(
        await stub((response, { headers }) =>
          answer(response, 200, headers.authorization),
        ),
      ),
      fails: 'inspect: server',
    },
    {
      name: 'its renewals are answered with what it has sent, until it loses the lock',
      kubeConfig: kubeConfigOf(await stub(onlyCreate(echo(500)))),
      options: { waitTimeout: 10_000 },
      fails: 'assertHeld: deadline',
    },
    {
      name: 'its watch is answered with what it has sent',
      kubeConfig: kubeConfigOf(await stub(chattyWatch)),
      options: { waitTimeout: 500 },
      fails: 'acquire: timeout',
    },
    {
      name: 'the connection is reset',
      kubeConfig: kubeConfigOf(
        await stub((response) => void response.socket?.resetAndDestroy()),
      ),
      fails: 'inspect: network',
    },
    {
      name: 'the answer breaks off in the middle',
      kubeConfig: kubeConfigOf(
        await stub((response, { headers }) => {
          response.writeHead(200, { 'content-length': 999 });
          response.write(headers.authorization, () => response.destroy());
        }),
      ),
      fails: 'inspect: network',
    },
    {
      name: 'the answer is not HTTP',
      kubeConfig: kubeConfigOf(
        await stub((response, { headers }) => {
          response.socket?.end(`${headers.authorization}\r\n`);
        }),
      ),
      fails: 'inspect: server',
    },
    {
      name: 'no answer comes',
      kubeConfig: kubeConfigOf(await stub(() => {})),
      options: { requestTimeout: 200 },
      fails: 'inspect: timeout',
    },
    {
      name: 'nobody listens',
      kubeConfig: kubeConfigOf(`https://127.0.0.1:${closedPort}`),
      fails: 'inspect: network',
    },
    {
      name: 'the certificate of the server is not trusted',
      kubeConfig: kubeConfigOf(await stub(echo(403), tls), {
        cluster: { 'certificate-authority-data': base64(foreign) },
      }),
      fails: 'inspect: network',
    },
    {
      name: 'the server does not speak TLS',
      kubeConfig: kubeConfigOf(server.replace('http:', 'https:')),
      fails: 'inspect: network',
    },
    {
      name: 'the server does not take the client certificate',
      kubeConfig: kubeConfigOf(
        await stub(echo(403), { ...tls, requestCert: true, ca: foreign }),
        {
          cluster: trusted,
          user: {
            'client-certificate-data': base64(client.certificate),
            'client-key-data': base64(client.key),
          },
        },
      ),
      fails: 'inspect: network',
    },
    {
      name: 'the key of the client is broken',
      kubeConfig: kubeConfigOf('https://127.0.0.1:1', {
        user: {
          'client-certificate-data': base64(client.certificate),
          'client-key-data': base64(client.key.replace('\n', '\n!')),
        },
      }),
      fails: 'inspect: unauthorized',
    },
    {
      name: 'a user name and a password are refused',
      kubeConfig: kubeConfigOf(await stub(echo(401)), {
        user: { username: 'me', password },
      }),
      fails: 'inspect: unauthorized',
    },
    {
      name: 'the address has a user name and a password',
      kubeConfig: kubeConfigOf(
        (await stub(echo(500))).replace('://', `://me:${urlPassword}@`),
        { user: {} },
      ),
      fails: 'inspect: server',
    },
    {
      name: 'the address, with a user name and a password, leads nowhere',
      kubeConfig: kubeConfigOf(
        `https://me:${urlPassword}@127.0.0.1:${closedPort}`,
      ),
      fails: 'inspect: network',
    },
    {
      name: 'the proxy, with a user name and a password, refuses',
      kubeConfig: kubeConfigOf('https://127.0.0.1:1', {
        cluster: { 'proxy-url': proxy.url },
      }),
      fails: 'inspect: network',
    },
    {
      name: 'the proxy, with a user name and a password, is not there',
      kubeConfig: kubeConfigOf('https://127.0.0.1:1', {
        cluster: {
          'proxy-url': `http://me:${proxyPassword}@127.0.0.1:${closedPort}`,
        },
      }),
      fails: 'inspect: network',
    },
    {
      name: 'the address of the proxy is none',
      kubeConfig: kubeConfigOf('https://127.0.0.1:1', {
        cluster: { 'proxy-url': `http://me:${proxyPassword}@:no-port` },
      }),
      fails: 'inspect: unauthorized',
    },
    ...Object.entries({
      'fails, and says why': `console.error(process.env.PLUGIN_SECRET); process.exit(1)`,
      'prints no JSON': `console.log(process.env.PLUGIN_SECRET)`,
      'prints JSON that is no credential': `console.log(JSON.stringify({ token: process.env.PLUGIN_SECRET }))`,
      'prints a token that is no header': `console.log(JSON.stringify({ status: { token: process.env.PLUGIN_SECRET + String.fromCharCode(10) + 'x' } }))`,
      'prints a key that is none': `console.log(JSON.stringify({ status: { clientCertificateData: process.env.PLUGIN_SECRET, clientKeyData: process.env.PLUGIN_SECRET } }))`,
      hangs: `setTimeout(() => {}, 5_000, process.env.PLUGIN_SECRET)`,
    }).map(([what, script]) => ({
      name: `the exec plugin ${what}`,
      kubeConfig: kubeConfigOf('https://127.0.0.1:1', {
        user: plugin(script),
      }),
      ...(what === 'hangs'
        ? { options: { requestTimeout: 200 }, fails: 'inspect: timeout' }
        : { fails: 'inspect: unauthorized' }),
    })),
    {
      name: 'the exec plugin is missing',
      kubeConfig: kubeConfigOf('https://127.0.0.1:1', {
        user: {
          exec: { ...plugin('').exec, command: join(folder, pluginSecret) },
        },
      }),
      fails: 'inspect: unauthorized',
    },
    {
      name: 'the file with the token can not be read',
      kubeConfig: kubeConfigOf(server, {
        user: {
          'auth-provider': {
            name: 'tokenFile',
            config: { tokenFile: join(folder, 'missing') },
          },
        },
      }),
      fails: 'inspect: unauthorized',
    },
    {
      name: 'the file with the token has more than a token',
      kubeConfig: kubeConfigOf(server, {
        user: {
          'auth-provider': {
            name: 'tokenFile',
            config: { tokenFile: await file('token', `${token}\n${token}\n`) },
          },
        },
      }),
      fails: 'inspect: unauthorized',
    },
    {
      name: 'the kubeconfig is no YAML',
      KUBECONFIG: await file('broken', `users:\n- token: ${token}\n  x: "`),
      fails: 'acquire: LockConfigurationError',
    },
    {
      name: 'the kubeconfig is something else',
      KUBECONFIG: await file('other', token),
      fails: 'acquire: LockConfigurationError',
    },
    {
      name: 'it is told the token as an option that there is not',
      kubeConfig: kubeConfigOf(server),
      options: { token },
      fails: 'start: LockConfigurationError',
    },
  ];
  return {
    secrets: SECRETS,
    apps,
    [Symbol.asyncDispose]: async () => {
      await Promise.all(closing.map((close) => close()));
    },
  };
}

/** An application whose own work gives a secret away, on a server that creates Leases. */
export function controlOf(server: string, workFailsWith: string): FailingApp {
  return {
    name: 'the work gives its own secret away',
    kubeConfig: kubeConfigOf(server),
    workFailsWith,
  };
}

function kubeConfigOf(
  server: string,
  { user = { token }, cluster = {} }: { user?: object; cluster?: object } = {},
): object {
  const insecure = server.startsWith('http:') && {
    'insecure-skip-tls-verify': true,
  };
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'stub', cluster: { server, ...insecure, ...cluster } }],
    users: [{ name: 'user', user }],
    contexts: [{ name: 'stub', context: { cluster: 'stub', user: 'user' } }],
    'current-context': 'stub',
  };
}

/** An exec plugin, in the words of a kubeconfig. */
function plugin(script: string) {
  return {
    exec: {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: process.execPath,
      args: ['-e', script],
      env: [{ name: 'PLUGIN_SECRET', value: pluginSecret }],
    },
  };
}
