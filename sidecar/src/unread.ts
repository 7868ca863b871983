// Messages that could not be read and never came another way: our own phone is asked for them on each new connection.
//
// Baileys acknowledges such a message at once and asks the phone seconds later: who crashes or is cut off in between has
// asked nobody.
import type { WASocket } from 'baileys';
import { decodeMessageNode, PLACEHOLDER_MAX_AGE_SECONDS } from 'baileys';

import type { Channel } from './channel.ts';

interface Unread {
  attrs: Record<string, string>;
  /** What the stanza said of why it came without anything to decrypt. */
  unavailable: string;
}

/** Most messages that are asked for on one connection, and at once. */
const LIMIT = 500;
const AT_ONCE = 20;
/** Kinds that phones do not hand over (Baileys 7.0.0-rc14 lib/Socket/messages-recv.js). */
const NEVER: ReadonlySet<string> = new Set(['bot_unavailable_fanout', 'hosted_unavailable_fanout', 'view_once_unavailable_fanout']);

/** Ask for what is still missing. What comes twice is known by its id. */
export async function askAgain(channel: Channel, session: string, sock: WASocket): Promise<void> {
  const rows = await channel.request<Unread[]>('unread', { session, limit: LIMIT });
  const since = Date.now() / 1000 - PLACEHOLDER_MAX_AGE_SECONDS;
  const wanted = rows.filter(({ attrs, unavailable }) => Number(attrs['t'] ?? 0) > since && !NEVER.has(unavailable));
  while (wanted.length > 0) {
    await Promise.all(wanted.splice(0, AT_ONCE).map(({ attrs }) => sock.requestPlaceholderResend(keyOf(sock, attrs))));
  }
}

function keyOf(sock: WASocket, attrs: Record<string, string>): { remoteJid: string; fromMe: boolean; id: string; participant?: string } {
  const { id, lid } = sock.user ?? { id: '' };
  const { key } = decodeMessageNode({ tag: 'message', attrs }, id, lid ?? '').fullMessage;
  const participant = typeof key.participant === 'string' ? { participant: key.participant } : {};
  return { remoteJid: key.remoteJid ?? '', fromMe: key.fromMe === true, id: key.id ?? '', ...participant };
}
