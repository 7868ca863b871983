// Which way a session's connections take: directly, or through its proxy and never past it.
//
// Whoever opens a connection does so on behalf of a session (see scope.ts). This module sits where every connection of
// the process begins, so that a request which was not told of the proxy takes it all the same, and a socket that is
// connected to anything but the session's proxy is refused, like one that belongs to no session. It is imported before
// everything that opens connections.
import http, { type ClientRequest } from 'node:http';
import https, { type Agent } from 'node:https';
import { Socket } from 'node:net';

import { log } from './log.ts';
import { scope } from './scope.ts';

/** A way that is not the direct one. */
export interface Route {
  /** Host and port of the proxy. */
  readonly name: string;
  readonly agent: Agent;
  allows(host: string, port: number): boolean;
  fetch(input: unknown, init: object | undefined): Promise<unknown>;
  close(): void;
}

/** The proxy did not open a connection; `why` as `domain/proxies.py` names it. */
export class ProxyError extends Error {
  readonly code = 'ERR_PROXY';
  readonly proxy: string;
  readonly why: string;

  constructor(proxy: string, why: string) {
    super(`The proxy ${proxy} did not open a connection (${why}).`);
    this.name = 'ProxyError';
    this.proxy = proxy;
    this.why = why;
  }
}

/** Nobody knows which way it should go. */
function unowned(): Error {
  log('error', 'connection of no session refused');
  return new Error('A connection must belong to a session.');
}

type Pooling = Agent & { addRequest(request: ClientRequest, ...rest: unknown[]): void };

for (const agent of [http.globalAgent, https.globalAgent] as unknown as Pooling[]) {
  const direct = agent.addRequest;
  agent.addRequest = (request, ...rest) => {
    const chosen = (scope.getStore()?.route?.agent ?? agent) as Pooling;
    (chosen === agent ? direct : chosen.addRequest).call(chosen, request, ...rest);
  };
}

const directFetch = globalThis.fetch;
const routedFetch = (input: unknown, init?: object): Promise<unknown> => {
  const owner = scope.getStore();
  if (owner === undefined) return Promise.reject(unowned());
  return owner.route ? owner.route.fetch(input, init) : directFetch(input as string, init);
};
Object.defineProperty(globalThis, 'fetch', { value: routedFetch, configurable: true, writable: true });

type Connect = (this: Socket, ...args: unknown[]) => Socket;
interface Target {
  host?: string;
  port?: number | string;
  path?: string;
}

/** The arguments of `Socket.connect` in each of their forms; `net` itself passes them on as one array. */
function targetOf([first, second]: unknown[]): Target {
  if (Array.isArray(first)) return targetOf(first);
  if (typeof first === 'object' && first !== null) return first;
  if (typeof first === 'number' || /^\d+$/.test(String(first))) {
    return { port: Number(first), ...(typeof second === 'string' ? { host: second } : {}) };
  }
  return { path: String(first) };
}

const prototype = Socket.prototype as unknown as { connect: Connect };
const connectDirectly = prototype.connect;
prototype.connect = function (...args) {
  const refused = refusal(args);
  if (refused === null) return connectDirectly.apply(this, args);
  process.nextTick(() => this.destroy(refused));
  return this;
};

function refusal(args: unknown[]): Error | null {
  const owner = scope.getStore();
  if (owner === undefined) return unowned();
  if (!owner.route) return null;
  const { host = 'localhost', port = 0, path } = targetOf(args);
  if (path === undefined && owner.route.allows(host, Number(port))) return null;
  log('error', 'connection past the proxy refused', { session: owner.session });
  return new ProxyError(owner.route.name, 'broken');
}
