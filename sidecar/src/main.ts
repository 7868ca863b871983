// The sidecar: hosts Baileys sockets for one Holdfast process, and dies with it.
import './guard.ts';
import './routes.ts';

import { Channel, ChannelError } from './channel.ts';
import { boot } from './clock.ts';
import type { Host } from './host.ts';
import { kindOf, log, placeOf } from './log.ts';
import { scope } from './scope.ts';
import type { Settings } from './settings.ts';

let host: Host | null = null;

/** An error that nobody waited for: it ends the connection it belongs to, and only that one. */
function stray(error: unknown, fatal: boolean): void {
  const owner = scope.getStore();
  if (owner !== undefined) {
    owner.fail(error);
    return;
  }
  log(fatal ? 'error' : 'warning', 'stray error', { kind: kindOf(error), place: placeOf(error) });
  if (fatal) process.exit(70);
}

process.on('unhandledRejection', (error) => stray(error, false));
process.on('uncaughtException', (error) => stray(error, true));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => undefined); // the parent decides; a terminal's Ctrl-C reaches the whole group
}

const channel = new Channel(
  async (method, args) => {
    if (method === 'start') {
      const { Host: Hosting } = await import('./host.ts');
      host ??= new Hosting(channel, args as Settings);
      return { boot: boot(), node: process.version };
    }
    if (host === null) throw new ChannelError('engine_unavailable', 'The sidecar has not been started.');
    return host.handle(method, args);
  },
  (name, value) => {
    if (name === 'ping') channel.note('pong', [value, boot()]);
    else if (name === 'grants') host?.grant(value);
    else if (name === 'version') host?.useVersion(value);
    else if (name === 'credit') host?.credit(value);
  },
  () => process.exit(0), // the parent is gone: the kernel closes every socket with us
);
