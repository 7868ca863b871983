// Live calls by name: what the parent may ask of an open connection beside sending.
import { jidDecode, USyncQuery, USyncUser, type WAPresence } from 'baileys';

import { ChannelError } from './channel.ts';
import type { Connection } from './connection.ts';
import { toJid } from './content.ts';
import { GROUP_CALLS } from './groups.ts';
import { downloadMedia } from './media.ts';

type Args = Record<string, unknown>;
type Call = (connection: Connection, args: Args) => Promise<unknown>;

const jid = (args: Args): string => toJid(String(args['chat'] ?? ''));

const PRESENCES: ReadonlySet<string> = new Set(['available', 'unavailable', 'composing', 'recording', 'paused']);

async function presence(connection: Connection, args: Args): Promise<null> {
  const wanted = String(args['presence'] ?? '');
  if (!PRESENCES.has(wanted)) throw new ChannelError('bad_request', 'Unknown presence.');
  const chat = jid(args);
  await connection.sock.sendPresenceUpdate(wanted as WAPresence, chat === '' ? undefined : chat);
  return null;
}

async function checkNumber({ sock }: Connection, args: Args): Promise<unknown> {
  const [found] = (await sock.onWhatsApp(String(args['phone'] ?? ''))) ?? [];
  if (found === undefined) return { exists: false, jid: null, lid: null };
  const lid = await sock.signalRepository.lidMapping.getLIDForPN(found.jid);
  return { exists: found.exists === true, jid: found.jid, lid };
}

/** How many messages were marked, and whether others see it: the account may keep its read receipts to itself. */
async function markRead({ sock }: Connection, args: Args): Promise<unknown> {
  const remoteJid = jid(args);
  const messages = args['messages'] as { id: string; participant?: string | null }[];
  const { readreceipts } = await sock.fetchPrivacySettings();
  const shown = readreceipts === 'all';
  const keys = messages.map(({ id, participant }) => ({
    remoteJid,
    id,
    fromMe: false,
    ...(participant ? { participant: toJid(participant) } : {}),
  }));
  await sock.sendReceipts(keys, shown ? 'read' : 'read-self');
  return { sent: keys.length, shown };
}

async function profilePicture({ sock }: Connection, args: Args): Promise<string | null> {
  try {
    return (await sock.profilePictureUrl(jid(args), 'image')) ?? null;
  } catch {
    return null; // WhatsApp answers 401 or 404 where there is none, or none for us
  }
}

/** Ask for a sign of life: a ping, or whether our own device is still on the account's list. Rejects without an answer. */
export async function probe({ sock }: Connection, args: { listed: boolean; timeout: number }): Promise<Probed> {
  const timeoutMs = args.timeout * 1000;
  if (!args.listed) {
    const attrs = { to: 's.whatsapp.net', type: 'get', xmlns: 'w:p' };
    const answer = await sock.query({ tag: 'iq', attrs, content: [{ tag: 'ping', attrs: {} }] }, timeoutMs);
    return answer === undefined ? 'silent' : 'alive';
  }
  const me = jidDecode(sock.user?.id);
  if (me === undefined) return 'silent';
  const query = new USyncQuery().withContext('message').withDeviceProtocol();
  query.withUser(new USyncUser().withId(`${me.user}@s.whatsapp.net`));
  const late = new Promise<undefined>((resolve) => setTimeout(resolve, timeoutMs, undefined).unref());
  const answer = await Promise.race([sock.executeUSyncQuery(query), late]);
  const devices = answer?.list[0]?.['devices'] as { deviceList?: { id: number }[] } | undefined;
  if (devices?.deviceList === undefined) return 'silent';
  return devices.deviceList.some((device) => device.id === me.device) ? 'alive' : 'unlisted';
}

type Probed = 'alive' | 'silent' | 'unlisted';

const CALLS: Record<string, Call> = {
  check_number: checkNumber,
  mark_read: markRead,
  presence,
  typing: (connection, args) =>
    presence(connection, { ...args, presence: args['on'] === false ? 'paused' : (args['presence'] ?? 'composing') }),
  subscribe_presence: async ({ sock }, args) => {
    await sock.presenceSubscribe(jid(args));
    return null;
  },
  profile_picture: profilePicture,
  download_media: downloadMedia,
  ...GROUP_CALLS,
};

/** Rejects with `bad_request` for a name that is unknown. */
export function call(connection: Connection, method: string, args: Args): Promise<unknown> {
  const wanted = Object.hasOwn(CALLS, method) ? CALLS[method] : undefined;
  if (wanted === undefined) return Promise.reject(new ChannelError('bad_request', 'This engine knows no such call.'));
  return wanted(connection, args);
}
