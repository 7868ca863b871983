// A session's way out through its proxy: HTTP CONNECT or SOCKS5, and what went wrong on that way.
//
// Loaded with the first session that has a proxy: the libraries cost memory that other processes need not spend. The
// proxy is given names, not addresses, so nothing about a target is looked up here.
import { EventEmitter } from 'node:events';
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import type { LookupFunction, Socket } from 'node:net';
import { isIP } from 'node:net';

import { Agent as Base, type AgentConnectOpts } from 'agent-base';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { SocksProxyAgent } from 'socks-proxy-agent';
import { Agent as Dispatcher, buildConnector, fetch } from 'undici';

import { ProxyError, type Route } from './routes.ts';

export interface ProxyArgs {
  scheme: 'http' | 'https' | 'socks5';
  host: string;
  port: number;
  username: string;
  password: string;
  /** Host and port, for people. */
  name: string;
  /** What the parent resolved the host to, and allowed. */
  addresses: string[];
}

type Inner = { connect(request: ClientRequest, options: AgentConnectOpts): Promise<Socket> };

export class Tunnel extends Base implements Route {
  readonly name: string;
  private readonly proxy: ProxyArgs;
  private readonly patience: number;
  private readonly dispatcher: Dispatcher;

  /** `patience`: milliseconds that the proxy has for opening a connection. */
  constructor(proxy: ProxyArgs, patience: number) {
    super({ keepAlive: false });
    this.name = proxy.name;
    this.proxy = proxy;
    this.patience = patience;
    this.dispatcher = this.dispatching();
  }

  get agent(): HttpsAgent {
    return this as unknown as HttpsAgent;
  }

  /** Whether a socket may be connected there: to the proxy, and to nothing else. */
  allows(host: string, port: number): boolean {
    const { addresses, host: own, port: ownPort } = this.proxy;
    const bare = host.replace(/^\[|\]$/g, '');
    return port === ownPort && (bare === own || addresses.includes(bare));
  }

  fetch(input: unknown, init: object | undefined): Promise<unknown> {
    return fetch(input as string, { ...init, dispatcher: this.dispatcher }).catch((error: unknown) => {
      throw (error as { cause?: unknown }).cause instanceof ProxyError ? (error as { cause: ProxyError }).cause : error;
    });
  }

  close(): void {
    this.destroy();
    void this.dispatcher.destroy();
  }

  override async connect(request: ClientRequest, options: AgentConnectOpts): Promise<Socket> {
    const abort = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new ProxyError(this.name, 'silent'));
        abort.abort();
      }, this.patience);
    });
    const opened = this.opened(request, options, abort.signal);
    opened.catch(() => undefined); // it may fail after the race was lost
    try {
      return await Promise.race([opened, late]);
    } finally {
      clearTimeout(timer);
      if (abort.signal.aborted) opened.then((socket) => socket.destroy(), () => undefined);
    }
  }

  private async opened(request: ClientRequest, options: AgentConnectOpts, signal: AbortSignal): Promise<Socket> {
    let status = 0;
    request.once('proxyConnect', (answer: IncomingMessage) => (status = answer.statusCode ?? 0));
    try {
      const socket = await this.inner(signal).connect(request, options);
      if (status === 0 || status === 200) return socket;
      socket.destroy();
    } catch (error) {
      throw new ProxyError(this.name, whyOf(error));
    }
    throw new ProxyError(this.name, status === 401 || status === 407 ? 'auth' : status === 403 ? 'forbidden' : 'target');
  }

  private inner(signal: AbortSignal): Inner {
    const { scheme, host, port, username, password, addresses } = this.proxy;
    const login = username === '' ? '' : `${encodeURIComponent(username)}:${encodeURIComponent(password)}@`;
    const at = `${login}${host.includes(':') ? `[${host}]` : host}:${port}`;
    const lookup = pinned(addresses);
    if (scheme !== 'socks5') return new HttpsProxyAgent(`${scheme}://${at}`, { lookup, signal } as never) as Inner;
    return new SocksProxyAgent(`socks5h://${at}`, { socketOptions: { lookup } as never }) as Inner;
  }

  /** For `fetch`: each connection is opened as above, then made secure as undici does by itself. */
  private dispatching(): Dispatcher {
    const secure = buildConnector({ timeout: this.patience });
    return new Dispatcher({
      connect: (options, done) => {
        const { hostname, protocol } = options;
        const port = Number(options.port || (protocol === 'https:' ? 443 : 80));
        const host = hostname.replace(/^\[|\]$/g, '');
        const request = new EventEmitter() as unknown as ClientRequest;
        this.connect(request, { host, port, secureEndpoint: false }).then(
          (socket) => {
            if (protocol === 'https:') secure({ ...options, httpSocket: socket } as never, done);
            else done(null, socket.resume());
          },
          (error: Error) => done(error, null),
        );
      },
    });
  }
}

/** Every name leads to these addresses: the only one that is looked up is the proxy's, and the parent did that. */
function pinned(addresses: string[]): LookupFunction {
  const found = addresses.map((address) => ({ address, family: isIP(address) }));
  return (_host, options, done) => {
    const first = found[0];
    if (first === undefined) done(new Error('the proxy has no address'), '');
    else if (options.all === true) done(null, found);
    else done(null, first.address, first.family);
  };
}

const TLS = /^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_OSSL|EPROTO|HOSTNAME_MISMATCH|CRL_)/;

/** What went wrong between us and the proxy; `socks` has texts, no codes (2.8, common/constants.js). */
function whyOf(error: unknown): string {
  const { code = '', message = '' } = error as { code?: unknown; message?: unknown };
  const said = `${String(code)} ${String(message)}`;
  if (/ECONNREFUSED/.test(said) && !/rejected connection/.test(said)) return 'refused';
  if (TLS.test(String(code))) return 'tls';
  if (/Authentication failed|no accepted authentication type/.test(said)) return 'auth';
  if (/rejected connection - NotAllowed/.test(said)) return 'forbidden';
  if (/rejected connection/.test(said)) return 'target';
  if (/timed out|ETIMEDOUT/.test(said)) return 'silent';
  if (/EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL/.test(said)) return 'unreachable';
  return 'broken';
}
