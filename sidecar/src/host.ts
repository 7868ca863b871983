// All connections of this process, and the requests that the parent makes of them.
import type { AuthenticationCreds } from 'baileys';
import { BufferJSON } from 'baileys';

import { call, probe } from './calls.ts';
import { type Channel, ChannelError } from './channel.ts';
import { bootAtMost, monotonic } from './clock.ts';
import { Connection, type OpenArgs } from './connection.ts';
import { KeyCache } from './keys.ts';
import { kindOf, log, placeOf } from './log.ts';
import { reason } from './reasons.ts';
import { asRefused } from './refusals.ts';
import { ProxyError, type Route } from './routes.ts';
import { scope } from './scope.ts';
import { send } from './send.ts';
import { type Settings, trust } from './settings.ts';
import type { ProxyArgs } from './tunnel.ts';

interface Target {
  session: string;
  connection: number;
}

const TICK_MS = 250;
/** A proxy must open a connection within this part of the time for connecting: so that it is known which was silent. */
const PROXY_SHARE = 0.75;

export class Host {
  private readonly channel: Channel;
  private readonly settings: Settings;
  private readonly cache: KeyCache;
  private readonly connections = new Map<string, Connection>();

  constructor(channel: Channel, settings: Settings) {
    this.channel = channel;
    this.settings = settings;
    this.cache = new KeyCache(settings.cache_bytes);
    trust(settings);
    setInterval(() => this.tick(), Math.min(TICK_MS, settings.proved_every * 100));
  }

  /** One request of the parent. Rejects with a `ChannelError` for whatever the parent has a word for. */
  async handle(method: string, args: never): Promise<unknown> {
    switch (method) {
      case 'open':
        return this.open(args);
      case 'close':
        return this.close(args);
      case 'send':
        return this.within(args, (connection) => send(connection, this.channel, args, this.settings.send_timeout));
      case 'request_code':
        return this.within(args, (connection) => connection.requestCode((args as { phone: string }).phone));
      case 'probe':
        return this.within(args, (connection) => probe(connection, args)).catch(() => 'silent');
      case 'call': {
        const { method: name, args: inner } = args as { method: string; args: Record<string, unknown> };
        return this.within(args, (connection) => call(connection, name, inner));
      }
      case 'facts':
        return { rss: process.memoryUsage.rss(), sessions: this.connections.size };
      default:
        throw new ChannelError('bad_request', 'The engine knows no such request.');
    }
  }

  /** New deadlines, in seconds of this process's boot clock. */
  grant(deadlines: Record<string, number>): void {
    for (const [session, deadline] of Object.entries(deadlines)) {
      const connection = this.connections.get(session);
      if (connection !== undefined) connection.deadline = deadline;
    }
  }

  /** The version of WhatsApp Web with which connections are opened from now on. */
  useVersion(parts: number[] | null): void {
    this.settings.wa_version = parts;
  }

  credit({ session, connection, count }: Target & { count: number }): void {
    const found = this.connections.get(session);
    if (found?.number === connection) found.events.credit(count);
  }

  private async open(args: OpenArgs): Promise<null> {
    const route = args.proxy === null ? null : await this.tunnel(args.proxy);
    const older = this.connections.get(args.session);
    if (older !== undefined) {
      older.terminate(reason(0, 'superseded', 'A newer connection was opened.'));
      await older.closed;
    }
    const creds = readCreds(args.creds);
    const connection = new Connection(this.settings, this.channel, this.cache, args, creds, route, () => {
      if (this.connections.get(args.session) === connection) this.connections.delete(args.session);
    });
    this.connections.set(args.session, connection);
    connection.start();
    return null;
  }

  private async tunnel(proxy: ProxyArgs): Promise<Route> {
    const { Tunnel } = await import('./tunnel.ts');
    return new Tunnel(proxy, this.settings.connect_timeout * PROXY_SHARE * 1000);
  }

  private async close({ session, connection, logout }: Target & { logout: boolean }): Promise<null> {
    const found = this.connections.get(session);
    if (found?.number === connection) await scope.run(found, () => found.close(logout));
    return null;
  }

  private async within<T>(target: Target, work: (connection: Connection) => Promise<T>): Promise<T> {
    const connection = this.connections.get(target.session);
    if (connection === undefined || connection.number !== target.connection || connection.isOver) {
      throw new ChannelError('not_connected', 'The session has no connection to WhatsApp now.');
    }
    try {
      return await scope.run(connection, () => work(connection));
    } catch (error) {
      if (error instanceof ChannelError) throw error;
      const refused = asRefused(error, 'what was asked');
      if (refused !== undefined) throw refused;
      if (error instanceof ProxyError) throw unrouted(error);
      log('warning', 'call failed', { session: target.session, kind: kindOf(error), place: placeOf(error) });
      throw new ChannelError('call_failed', 'WhatsApp did not do what was asked.');
    }
  }

  private tick(): void {
    const now = monotonic();
    const bootNow = bootAtMost();
    const proofs: [string, number, number, number | null][] = [];
    for (const connection of this.connections.values()) {
      const ages = connection.tick(now, bootNow);
      if (ages !== null) proofs.push([connection.session, connection.number, ...ages]);
    }
    if (proofs.length > 0) this.channel.note('proved', proofs);
  }
}

/** What the proxy refuses for good counts as a failure of the call; all else passes with the connection's own trouble. */
function unrouted(error: ProxyError): ChannelError {
  const lasting = error.why === 'forbidden' || error.why === 'target';
  return new ChannelError(lasting ? 'call_failed' : 'not_connected', error.message);
}

function readCreds(bytes: Uint8Array | null): AuthenticationCreds | null {
  if (bytes === null) return null;
  try {
    const creds = JSON.parse(Buffer.from(bytes).toString(), BufferJSON.reviver) as AuthenticationCreds;
    if (creds.noiseKey?.private instanceof Uint8Array && typeof creds.me?.id === 'string') return creds;
  } catch {
    // told below, without the text
  }
  throw new ChannelError('credentials_broken', 'The saved credentials of this session cannot be read.');
}
