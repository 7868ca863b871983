// Files of received messages, fetched by what the message says of them.
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import type { WAMessage } from 'baileys';
import { assertMediaContent, downloadMediaMessage, extractMessageContent, proto } from 'baileys';

import { ChannelError } from './channel.ts';
import type { Connection } from './connection.ts';
import { toJid } from './content.ts';
import { crashPoint } from './crash.ts';
import { codeOf } from './reasons.ts';

type Args = Record<string, unknown>;

/** What WhatsApp answers for files that its servers have no more, or whose link ran out: the phone may have them yet. */
const EXPIRED: ReadonlySet<number> = new Set([403, 404, 410]);
/** Seconds that the phone may take to upload a file again. */
const REUPLOAD = 60;

/** Stream a received message's file to `path`; `message` is the stored plaintext. It appears when it is complete. */
export async function downloadMedia(connection: Connection, args: Args): Promise<unknown> {
  const message = proto.Message.decode(args['message'] as Uint8Array);
  const inner = message.deviceSentMessage?.message ?? message;
  const participant = args['participant'];
  const key = {
    remoteJid: toJid(String(args['chat'] ?? '')),
    id: String(args['id'] ?? ''),
    fromMe: args['from_me'] === true,
    ...(typeof participant === 'string' ? { participant: toJid(participant) } : {}),
  };
  const wrapped = { key, message: fileOf(inner) ?? extractMessageContent(inner) ?? inner };
  const content = assertMediaContent(wrapped.message);
  if (!content.url && content.directPath) content.url = await urlOf(connection, content.directPath);
  const path = String(args['path']);
  const limit = Number(args['limit'] ?? Infinity);
  try {
    return { path, size: await save(wrapped, path, limit) };
  } catch (error) {
    if (!EXPIRED.has(codeOf(error))) throw error;
  }
  await reuploaded(connection, wrapped);
  return { path, size: await save(wrapped, path, limit) };
}

/** Where a file is that names no server: on any that WhatsApp gives now. */
async function urlOf({ sock }: Connection, directPath: string): Promise<string | undefined> {
  const host = (await sock.refreshMediaConn()).hosts[0]?.hostname;
  return host === undefined ? undefined : `https://${host}${directPath}`;
}

/** Fields that hold a file, wherever they stand, and what Baileys calls such a file. */
const FILES: Record<string, string> = {
  imageMessage: 'imageMessage',
  videoMessage: 'videoMessage',
  ptvMessage: 'ptvMessage',
  audioMessage: 'audioMessage',
  documentMessage: 'documentMessage',
  stickerMessage: 'stickerMessage',
  productImage: 'imageMessage',
  catalogImage: 'imageMessage',
};
const NOT_SHOWN: ReadonlySet<string> = new Set(['contextInfo', 'noteMessage']);
const DEEPEST = 48;

type Part = Record<string, unknown>;

/**
 * The file of a message, which may be that of a template's header, a product or an invoice: the first one, the highest
 * before the deeper. The core searches in the same order (`domain/content.py`).
 */
export function fileOf(message: proto.IMessage): proto.IMessage | undefined {
  let level = [message as Part];
  for (let depth = 0; depth < DEEPEST && level.length > 0; depth++) {
    for (const part of level) {
      for (const name of Object.keys(part).sort()) {
        const as = FILES[name];
        if (as !== undefined && isPart(part[name])) return { [as]: part[name] };
      }
      if (part['attachmentDirectPath']) return attachment(part as proto.Message.IInvoiceMessage);
    }
    level = level.flatMap((part) =>
      Object.keys(part).sort().flatMap((name) => (NOT_SHOWN.has(name) ? [] : [part[name]].flat().filter(isPart))),
    );
  }
  return undefined;
}

const isPart = (value: unknown): value is Part =>
  typeof value === 'object' && value !== null && !(value instanceof Uint8Array);

/** An invoice names its picture or PDF field by field. */
function attachment(invoice: proto.Message.IInvoiceMessage): proto.IMessage {
  const file = {
    mimetype: invoice.attachmentMimetype ?? '',
    mediaKey: invoice.attachmentMediaKey ?? null,
    fileSha256: invoice.attachmentFileSha256 ?? null,
    fileEncSha256: invoice.attachmentFileEncSha256 ?? null,
    directPath: invoice.attachmentDirectPath ?? null,
  };
  const isPicture = file.mimetype.startsWith('image/');
  return isPicture ? { imageMessage: file } : { documentMessage: file };
}

async function save(message: WAMessage, path: string, limit: number): Promise<number> {
  const stream = await downloadMediaMessage(message, 'stream', {});
  const digest = createHash('sha256');
  let size = 0;
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      crashPoint('file.arriving');
      size += chunk.length;
      digest.update(chunk);
      done(size > limit ? new ChannelError('media_too_large', 'The file is larger than HOLDFAST_MEDIA_LIMIT allows.') : null, chunk);
    },
  });
  await pipeline(stream, counted, createWriteStream(`${path}.part`, { mode: 0o600 }));
  // Baileys checks neither hash nor MAC.
  const expected = assertMediaContent(message.message).fileSha256;
  if (expected && expected.length > 0 && !digest.digest().equals(expected)) {
    throw new ChannelError('call_failed', 'The file arrived damaged.');
  }
  crashPoint('file.arrived');
  await rename(`${path}.part`, path);
  return size;
}

/** Ask the phone to upload the file again; the message then names where. */
async function reuploaded({ sock }: Connection, message: WAMessage): Promise<void> {
  const content = assertMediaContent(message.message);
  const host = content.url ? new URL(content.url).host : '';
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ChannelError('call_failed', 'The phone did not upload the file again in time.')), REUPLOAD * 1000);
  });
  try {
    await Promise.race([sock.updateMediaMessage(message), late]);
  } catch (error) {
    if (codeOf(error) === 404) {
      throw new ChannelError('media_gone', 'WhatsApp has the file no more, and neither has the phone.');
    }
    throw error;
  } finally {
    clearTimeout(timer);
  }
  if (host !== '') content.url = `https://${host}${content.directPath ?? ''}`;
}
