// Sending: resolves on the server's acknowledgement, and tells "nothing left" from "it may have left".
import { proto } from 'baileys';

import type { ServerAck } from './acks.ts';
import { type Channel, ChannelError } from './channel.ts';
import type { Connection } from './connection.ts';
import { toBaileys, toJid } from './content.ts';
import { crashPoint } from './crash.ts';
import { type Outgoing, outgoing, type Timer } from './outgoing.ts';
import { codeOf } from './reasons.ts';
import { find } from './recall.ts';
import { type Recipients, recipientsOf } from './recipients.ts';
import { asRefused } from './refusals.ts';
import { hasToken, RESTRICTED, type Restriction, restrictionOf } from './restrictions.ts';
import { type SendWatch, sending } from './signal.ts';

/** `message`: what was sent. `address`: nothing was sent, since WhatsApp spells the chat's address so. */
export type Sent = ServerAck & Partial<Restriction> & { message?: Uint8Array; address?: string };

export interface SendArgs {
  id: string;
  chat: string;
  content: Record<string, unknown>;
  timer?: Timer;
}

const notConnected = (): ChannelError => new ChannelError('not_connected', 'The session has no connection to WhatsApp now.');
const inDoubt = (): ChannelError => new ChannelError('send_in_doubt', 'WhatsApp did not acknowledge the message in time.');

/** Ack error of a group that went over to other addresses: with what WhatsApp says of it now, the message is taken. */
const STALE_ADDRESSING = 421;

export async function send(connection: Connection, channel: Channel, args: SendArgs, timeout: number): Promise<Sent> {
  if (!connection.open) throw notConnected();
  const chat = toJid(args.chat);
  const to = await recipientsOf(connection, chat);
  if (to.address !== chat) return { error: 0, at: 0, address: to.address };
  const prepared = await toBaileys(args.content, chat, (id) => find(channel, connection.session, id), to.group);
  const made = await outgoing(connection, chat, prepared, args.id, timerOf(args, to));
  let ack = await relayed(connection, args.id, made, to, timeout).catch((error: unknown) => {
    if (!(error instanceof ChannelError) || error.code !== 'refused') throw error;
    connection.devices.flushAll(); // the device that has no keys may be gone: this time it is asked who is there
    return relayed(connection, args.id, made, to, timeout);
  });
  if (ack.error === STALE_ADDRESSING) ack = await relayed(connection, args.id, made, await recipientsOf(connection, chat), timeout);
  let restriction: Restriction | undefined;
  if (ack.error === RESTRICTED) {
    restriction = await restrictionOf(connection);
    const given = restriction.cause === 'token' ? await hasToken(connection, chat) : false;
    if (given === true) ack = await relayed(connection, args.id, made, to, timeout);
    if (given === undefined) restriction = { cause: '' };
  }
  return { ...ack, ...(ack.error === 0 ? {} : restriction), message: proto.Message.encode(made.message).finish() };
}

/** A group says itself for how long its messages are kept. */
function timerOf({ timer }: SendArgs, { group }: Recipients): Timer | undefined {
  if (group === undefined) return timer;
  const seconds = group.ephemeralDuration ?? 0;
  return { seconds, since: timer?.seconds === seconds ? timer.since : 0 };
}

/** Written to the socket, and the server's answer to it. */
async function relayed(connection: Connection, id: string, made: Outgoing, to: Recipients, timeout: number): Promise<ServerAck> {
  const ack = connection.acks.wait(id);
  ack.catch(() => undefined); // it is awaited below, unless the relay fails first
  const watch: SendWatch = { encrypted: false, group: to.group };
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(inDoubt()), timeout * 1000);
  });
  const relay = async (): Promise<ServerAck> => {
    try {
      const { message, attributes, nodes } = made;
      const options = { messageId: id, additionalAttributes: attributes, additionalNodes: nodes };
      await sending.run(watch, () => connection.sock.relayMessage(to.address, message, options));
      crashPoint('send.written');
    } catch (error) {
      throw refused(error, watch.encrypted, connection);
    }
    return ack.catch(() => {
      throw inDoubt();
    });
  };
  try {
    return await Promise.race([relay(), expired]);
  } finally {
    clearTimeout(timer);
    connection.acks.forget(id);
  }
}

/**
 * Before anything was encrypted nothing can have left; after that, only a socket that was already shut proves it, or an
 * answer to a query: the stanza is written last. A query that the end of the connection broke off fails with the bare
 * number that the WebSocket closed with (Baileys 7.0.0-rc14 `waitForMessage`), which says nothing of the message.
 */
function refused(error: unknown, encrypted: boolean, connection: Connection): ChannelError {
  if (error instanceof ChannelError) return error;
  const code = codeOf(error);
  if (code === 428) return notConnected();
  const refusal = asRefused(error, 'to give keys or devices');
  if (refusal !== undefined) return refusal;
  if (code === 500 && !encrypted) {
    return new ChannelError('not_connected', 'WhatsApp gave no keys for that chat; it is asked again.');
  }
  if (encrypted) return inDoubt();
  if (code === 408 || !connection.open || !(error instanceof Error)) return notConnected();
  return new ChannelError('invalid_message', `The message could not be made (${error.name}).`);
}
