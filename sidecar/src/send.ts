// Sending: resolves on the server's acknowledgement, and tells "nothing left" from "it may have left".
import { isJidGroup, jidDecode, proto } from 'baileys';

import type { ServerAck } from './acks.ts';
import { type Channel, ChannelError } from './channel.ts';
import type { Connection } from './connection.ts';
import { toBaileys, toJid } from './content.ts';
import { uploaded } from './media.ts';
import { crashPoint } from './crash.ts';
import { codeOf } from './reasons.ts';
import { find } from './recall.ts';
import { sending } from './signal.ts';

/** `message`: what was sent, where sending it again would need more than the request. */
export type Sent = ServerAck & { message?: Uint8Array };

export interface SendArgs {
  id: string;
  chat: string;
  content: Record<string, unknown>;
}

const notConnected = (): ChannelError => new ChannelError('not_connected', 'The session has no connection to WhatsApp now.');
const inDoubt = (): ChannelError => new ChannelError('send_in_doubt', 'WhatsApp did not acknowledge the message in time.');

export async function send(connection: Connection, channel: Channel, args: SendArgs, timeout: number): Promise<Sent> {
  const chat = toJid(args.chat);
  const { message, options } = await toBaileys(args.content, chat, (id) => find(channel, connection.session, id));
  if (!connection.open) throw notConnected();
  await mustHaveDevices(connection, chat);
  const file = 'path' in args.content ? await uploaded(connection, chat, message, { ...options, messageId: args.id }) : undefined;
  const ack = connection.acks.wait(args.id);
  ack.catch(() => undefined); // it is awaited below, unless the relay fails first
  const watch = { encrypted: false };
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(inDoubt()), timeout * 1000);
  });
  const relay = async (): Promise<ServerAck> => {
    try {
      await sending.run(watch, async () => {
        if (file === undefined) await connection.sock.sendMessage(chat, message, { ...options, messageId: args.id });
        else await connection.sock.relayMessage(chat, file, { messageId: args.id });
      });
      crashPoint('send.written');
    } catch (error) {
      throw refused(error, watch.encrypted, connection.open);
    }
    return ack.catch(() => {
      throw inDoubt();
    });
  };
  try {
    const answer = await Promise.race([relay(), expired]);
    return file === undefined ? answer : { ...answer, message: proto.Message.encode(file).finish() };
  } finally {
    clearTimeout(timer);
    connection.acks.forget(args.id);
  }
}

/**
 * Baileys takes an unanswered device query for "no devices", and then sends the message to nobody, which the server
 * acknowledges. So the query is made first (its answer is cached, the send does not repeat it), and must name a device.
 */
async function mustHaveDevices(connection: Connection, chat: string): Promise<void> {
  if (isJidGroup(chat) || !/@(s\.whatsapp\.net|lid)$/.test(chat)) return;
  const devices = await connection.sock.getUSyncDevices([chat], true, false).catch(() => []);
  const me = jidDecode(connection.sock.user?.id)?.user;
  if (devices.length > 0 || jidDecode(chat)?.user === me) return;
  if (!connection.open) throw notConnected();
  if (chat.endsWith('@s.whatsapp.net') && !(await isKnown(connection, chat))) {
    throw new ChannelError('not_on_whatsapp', 'This phone number is not on WhatsApp.');
  }
  throw new ChannelError('not_connected', 'WhatsApp did not name the devices of that chat.');
}

/** Only WhatsApp's own word says that a number is not there; without an answer it may be. */
async function isKnown({ sock }: Connection, chat: string): Promise<boolean> {
  const answer = await sock.onWhatsApp(chat).catch(() => undefined);
  return answer === undefined || answer.some(({ exists }) => exists === true);
}

/**
 * Before anything was encrypted nothing can have left; after that, only a socket that was already shut proves it. A
 * query that the end of the connection broke off fails with the bare number that the WebSocket closed with (Baileys
 * 7.0.0-rc14 `waitForMessage`), which says nothing of the message.
 */
function refused(error: unknown, encrypted: boolean, open: boolean): ChannelError {
  if (error instanceof ChannelError) return error;
  const code = codeOf(error);
  if (code === 428) return notConnected();
  if (encrypted) return inDoubt();
  if (code === 500) return new ChannelError('not_connected', 'WhatsApp gave no keys for that chat; it is asked again.');
  if (code === 408 || !open || !(error instanceof Error)) return notConnected();
  return new ChannelError('invalid_message', `The message could not be made (${error.name}).`);
}
