// Who gets a message: WhatsApp is asked before anything is encrypted, so that its refusals are known as such.
import type { GroupMetadata } from 'baileys';
import { isJidGroup, isLidUser, isPnUser, jidDecode, jidNormalizedUser, USyncQuery, USyncUser } from 'baileys';

import { ChannelError } from './channel.ts';
import type { Connection } from './connection.ts';
import { asRefused } from './refusals.ts';

/** `address`: the one that WhatsApp named, where it is spelled differently. `group`: whom a group's message goes to. */
export interface Recipients {
  address: string;
  group?: GroupMetadata;
}

const NOBODY = 'Nobody on WhatsApp has this @lid address.';

const noAnswer = (connection: Connection, sentence: string): ChannelError =>
  new ChannelError('not_connected', connection.open ? sentence : 'The session has no connection to WhatsApp now.');

/** Rejects with `refused`, `not_on_whatsapp`, or `not_connected` where WhatsApp did not answer. */
export async function recipientsOf(connection: Connection, chat: string): Promise<Recipients> {
  if (isJidGroup(chat)) return { address: chat, group: await groupOf(connection, chat) };
  if (!isPnUser(chat) && !isLidUser(chat)) return { address: chat };
  return { address: await addressOf(connection, chat) };
}

/** Asked with each message: who was removed, or is back, is told at once. Its answer is what Baileys encrypts for. */
async function groupOf(connection: Connection, chat: string): Promise<GroupMetadata> {
  try {
    return await connection.sock.groupMetadata(chat);
  } catch (error) {
    throw asRefused(error, 'to describe the group') ?? noAnswer(connection, 'WhatsApp did not describe the group.');
  }
}

/**
 * Baileys takes an unanswered device query for "no devices", and then sends the message to nobody, which the server
 * acknowledges. So the query is made first (its answer is cached, the send does not repeat it), and must name a device.
 */
async function addressOf(connection: Connection, chat: string): Promise<string> {
  const { sock } = connection;
  const me = [sock.user?.id, sock.user?.lid].map((own) => jidDecode(own ?? undefined)?.user);
  if (me.includes(jidDecode(chat)?.user)) return chat;
  const devices = await sock.getUSyncDevices([chat], true, false).catch((error: unknown) => {
    throw asRefused(error, 'to name the devices') ?? noAnswer(connection, 'WhatsApp did not name the devices.');
  });
  if (devices.length > 0) return chat;
  const named = await spelled(connection, chat);
  if (named === null) throw new ChannelError('not_on_whatsapp', isPnUser(chat) ? 'This phone number is not on WhatsApp.' : NOBODY);
  if (named === chat) throw noAnswer(connection, 'WhatsApp did not name the devices of that chat.');
  return named;
}

/**
 * How WhatsApp spells that address: Brazil's ninth digit, and the like. `null` where nobody is there; only WhatsApp's
 * own word says so, without an answer somebody may be.
 */
export async function spelled(connection: Connection, chat: string): Promise<string | null> {
  const byNumber = isPnUser(chat);
  const query = new USyncQuery().withContext('message').withDeviceProtocol().withLIDProtocol();
  if (byNumber) query.withContactProtocol().withUser(new USyncUser().withPhone(`+${jidDecode(chat)?.user ?? ''}`));
  else query.withUser(new USyncUser().withId(chat));
  const answer = await connection.sock.executeUSyncQuery(query).catch((error: unknown) => {
    throw asRefused(error, 'to look for the number') ?? noAnswer(connection, 'WhatsApp did not say whether the number exists.');
  });
  if (answer === undefined) throw noAnswer(connection, 'WhatsApp did not say whether the number exists.');
  const user = answer.list[0];
  if (byNumber) {
    if (user?.['contact'] !== true) return null;
    const named = jidNormalizedUser(user.id);
    return isPnUser(named) ? named : chat;
  }
  const devices = user?.['devices'] as { deviceList?: unknown[] } | undefined;
  return (devices?.deviceList?.length ?? 0) > 0 ? chat : null;
}
