// Proxies: names are theirs to resolve, and no connection of a session that has one goes past it.
import '../src/routes.ts';

import assert from 'node:assert/strict';
import { once } from 'node:events';
import https from 'node:https';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { test } from 'node:test';

import { WebSocket } from 'ws';

import { fromSocketError } from '../src/reasons.ts';
import { ProxyError, type Route } from '../src/routes.ts';
import { type Owner, scope } from '../src/scope.ts';
import { type ProxyArgs, Tunnel } from '../src/tunnel.ts';

async function listening(onSocket: (socket: Socket) => void): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => onSocket(socket.on('error', () => undefined)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

const proxy = (scheme: ProxyArgs['scheme'], port: number, facts: Partial<ProxyArgs> = {}): ProxyArgs => ({
  scheme,
  host: 'proxy.invalid',
  port,
  username: 'u@x',
  password: 'p:w',
  name: `proxy.invalid:${port}`,
  addresses: ['127.0.0.1'],
  ...facts,
});

const through = <T>(route: Route, work: () => T): T => {
  const owner: Owner = { session: 's', route, fail: () => undefined };
  return scope.run(owner, work);
};

/** What became of a WebSocket to a name that nobody here can resolve. */
async function dialled(route: Route, url = 'ws://whatsapp.invalid:5222/'): Promise<Error> {
  const socket = through(route, () => new WebSocket(url, { agent: route.agent }));
  const [error] = (await once(socket, 'error')) as [Error];
  return error;
}

/** A SOCKS5 server up to its answer: what it was told, and how it answers. */
function socks(told: Buffer[], reply: number): (socket: Socket) => void {
  return (socket) => {
    let step = 0;
    socket.on('data', (data) => {
      told.push(data);
      const answers = [Buffer.of(5, 2), Buffer.of(1, 0), Buffer.of(5, reply, 0, 1, 0, 0, 0, 0, 0, 0)];
      socket.write(answers[Math.min(step++, 2)]!);
    });
  };
}

test('an HTTP proxy is given the name and the login, and its refusals are told apart', async () => {
  for (const [status, why] of [[407, 'auth'], [403, 'forbidden'], [502, 'target']] as const) {
    let head = '';
    const { server, port } = await listening((socket) =>
      socket.once('data', (data) => {
        head = String(data);
        socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`);
      }),
    );
    const tunnel = new Tunnel(proxy('http', port), 5000);
    const error = await dialled(tunnel);
    assert.ok(error instanceof ProxyError, String(error));
    assert.equal(error.why, why);
    assert.match(head, /^CONNECT whatsapp\.invalid:5222 HTTP\/1\.1\r\n/);
    assert.ok(head.includes(`Proxy-Authorization: Basic ${Buffer.from('u@x:p:w').toString('base64')}\r\n`));
    const reason = fromSocketError(error);
    assert.deepEqual([reason.tag, reason.attrs], ['proxy', { proxy: `proxy.invalid:${port}`, why }]);
    assert.ok(!JSON.stringify(reason).includes('p:w'));
    tunnel.close();
    server.close();
  }
});

test('a SOCKS5 proxy is given the name and the login, and its refusals are told apart', async () => {
  for (const [reply, why] of [[2, 'forbidden'], [4, 'target'], [5, 'target']] as const) {
    const told: Buffer[] = [];
    const { server, port } = await listening(socks(told, reply));
    const tunnel = new Tunnel(proxy('socks5', port), 5000);
    const error = await dialled(tunnel);
    assert.ok(error instanceof ProxyError, String(error));
    assert.equal(error.why, why);
    assert.ok(told[1]?.equals(Buffer.concat([Buffer.of(1, 3), Buffer.from('u@x'), Buffer.of(3), Buffer.from('p:w')])));
    const name = Buffer.from('whatsapp.invalid');
    assert.ok(told[2]?.subarray(0, 5 + name.length).equals(Buffer.concat([Buffer.of(5, 1, 0, 3, name.length), name])));
    tunnel.close();
    server.close();
  }
});

test('a proxy that says nothing, or is not there, is told apart too', async () => {
  for (const scheme of ['http', 'socks5'] as const) {
    const open: Socket[] = [];
    const { server, port } = await listening((socket) => open.push(socket));
    const tunnel = new Tunnel(proxy(scheme, port), 100);
    const error = await dialled(tunnel);
    assert.equal((error as ProxyError).why, 'silent', String(error));
    open.forEach((socket) => socket.destroy());
    server.close();
    const away = await dialled(new Tunnel(proxy(scheme, 9, { host: '127.0.0.1' }), 5000));
    assert.equal((away as ProxyError).why, 'refused', String(away));
  }
});

test('whatever a library does for the session goes to the proxy, or nowhere', async () => {
  const asked: string[] = [];
  const { server, port } = await listening((socket) =>
    socket.once('data', (data) => {
      asked.push(String(data).split('\r\n')[0]!);
      socket.end('HTTP/1.1 502 No\r\n\r\n');
    }),
  );
  let past = 0;
  const target = await listening(() => past++);
  const tunnel = new Tunnel(proxy('http', port), 5000);
  await assert.rejects(
    through(tunnel, () => fetch(`https://127.0.0.1:${target.port}/a`)),
    (error) => error instanceof ProxyError && error.why === 'target',
  );
  const request = through(tunnel, () => https.get(`https://127.0.0.1:${target.port}/b`));
  const [failure] = (await once(request, 'error')) as [Error];
  assert.ok(failure instanceof ProxyError, String(failure));
  const dials: (() => Socket | WebSocket)[] = [
    () => connect(target.port, '127.0.0.1'),
    () => connect({ port: target.port, host: 'localhost' }),
    () => connect({ port: target.port }),
    () => connect('/tmp/a.socket'),
    () => new WebSocket(`ws://127.0.0.1:${target.port}/`),
  ];
  for (const dial of dials) {
    const [error] = (await once(through(tunnel, dial), 'error')) as [Error];
    assert.ok(error instanceof ProxyError, String(error));
  }
  assert.equal(past, 0);
  assert.deepEqual(asked, Array(2).fill(`CONNECT 127.0.0.1:${target.port} HTTP/1.1`));
  const direct = scope.run({ session: 'other', fail: () => undefined }, () => connect(target.port, '127.0.0.1'));
  await once(direct, 'connect'); // without a proxy nothing is in the way
  direct.destroy();
  const [error] = (await once(connect(target.port, '127.0.0.1'), 'error')) as [Error];
  assert.match(error.message, /must belong to a session/);
  await assert.rejects(fetch(`http://127.0.0.1:${target.port}/`), /must belong to a session/);
  tunnel.close();
  server.close();
  target.server.close();
});
