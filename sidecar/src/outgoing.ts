// A message as it goes out: WhatsApp's protobuf and what its stanza says beside it. Nothing of it has left then.
import { createHmac } from 'node:crypto';

import type { BinaryNode } from 'baileys';
import { generateWAMessage, getContentType, isJidNewsletter, normalizeMessageContent, proto } from 'baileys';

import { ChannelError } from './channel.ts';
import type { Connection } from './connection.ts';
import type { Prepared } from './content.ts';
import { crashPoint } from './crash.ts';
import { kindOf, log, quiet } from './log.ts';

export interface Outgoing {
  message: proto.IMessage;
  attributes: Record<string, string>;
  nodes: BinaryNode[];
}

/** A chat's timer for disappearing messages, in seconds, and when it was set (Unix seconds, 0 where nobody said). */
export interface Timer {
  seconds: number;
  since: number;
}

/** Upload the file, if there is one, and write the message. Rejects with `invalid_message`, or `not_connected` for a
 * file that could not be uploaded. */
export async function outgoing(
  { sock, session }: Connection,
  chat: string,
  { message: content, options }: Prepared,
  id: string,
  timer: Timer | undefined,
): Promise<Outgoing> {
  let uploading = false;
  const upload: typeof sock.waUploadToServer = async (...args) => {
    uploading = true;
    crashPoint('upload.sending');
    const sent = await sock.waUploadToServer(...args);
    crashPoint('upload.sent');
    uploading = false;
    return sent;
  };
  try {
    const made = { ...options, messageId: id, logger: quiet, userJid: sock.user?.id ?? '', upload };
    const message = (await generateWAMessage(chat, content, made)).message ?? {};
    const context = message.messageContextInfo;
    if (context?.messageSecret) context.messageSecret = secretOf(sock.authState.creds.advSecretKey, id);
    if (timer !== undefined && timer.seconds > 0 && !isJidNewsletter(chat)) disappearing(message, timer);
    return { message, ...besides(content as Record<string, unknown>) };
  } catch (error) {
    if (error instanceof ChannelError) throw error;
    if (!uploading) throw new ChannelError('invalid_message', `The message could not be made (${kindOf(error)}).`);
    log('warning', 'file not uploaded', { session, kind: kindOf(error) });
    throw new ChannelError('not_connected', 'The file could not be uploaded to WhatsApp; it is tried again.');
  }
}

/**
 * A message's secret, under which its later edits are sealed: the same however often the message is sent, so that they
 * can be opened whichever attempt arrived. Baileys makes up a new one for each.
 */
export function secretOf(key: string, id: string): Uint8Array {
  return createHmac('sha256', key).update(`message secret ${id}`).digest();
}

/** What Baileys 7.0.0-rc14 `sendMessage` adds to the stanzas of changes and polls. */
function besides(content: Record<string, unknown>): Pick<Outgoing, 'attributes' | 'nodes'> {
  const deleted = content['delete'] as { remoteJid?: string; fromMe?: boolean } | undefined;
  if (deleted !== undefined) {
    const byAdmin = deleted.remoteJid?.endsWith('@g.us') === true && deleted.fromMe !== true;
    return { attributes: { edit: byAdmin ? '8' : '7' }, nodes: [] };
  }
  if (content['edit'] !== undefined) return { attributes: { edit: '1' }, nodes: [] };
  if (content['poll'] !== undefined) return { attributes: {}, nodes: [{ tag: 'meta', attrs: { polltype: 'creation' } }] };
  return { attributes: {}, nodes: [] };
}

/** WhatsApp's apps keep a message for as long as the message itself says. */
function disappearing(message: proto.IMessage, timer: Timer): void {
  const inner = normalizeMessageContent(message);
  const edited = inner?.protocolMessage?.editedMessage;
  if (edited) return disappearing(edited, timer);
  const part = inner?.[getContentType(inner) ?? 'protocolMessage'];
  if (inner?.protocolMessage || typeof part !== 'object' || part === null) return;
  const holder = part as { contextInfo?: proto.IContextInfo | null };
  const since = timer.since > 0 ? { ephemeralSettingTimestamp: timer.since } : {};
  holder.contextInfo = { ...holder.contextInfo, expiration: timer.seconds, ...since };
}
