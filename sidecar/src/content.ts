// Holdfast's message contents in Baileys' words.
import type { AnyMessageContent, GroupMetadata, MiscMessageGenerationOptions, WAMessage } from 'baileys';
import { normalizeMessageContent, proto } from 'baileys';

import { ChannelError } from './channel.ts';
import type { Recalled } from './recall.ts';

type Content = Record<string, unknown>;
export type Lookup = (id: string) => Promise<Recalled | null>;

export interface Prepared {
  message: AnyMessageContent;
  options: MiscMessageGenerationOptions;
}

const text = (content: Content, name: string): string | undefined => {
  const value = content[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
};

const required = (content: Content, name: string): string => {
  const value = text(content, name);
  if (value === undefined) throw new ChannelError('invalid_message', `The message lacks "${name}".`);
  return value;
};

/** Addresses as WhatsApp writes them; WAHA's `@c.us` is understood. */
export const toJid = (id: string): string => id.replace(/@c\.us$/, '@s.whatsapp.net');

const media = (content: Content): { url: string } => ({ url: text(content, 'path') ?? required(content, 'url') });

const key = (content: Content, chat: string): { remoteJid: string; id: string; fromMe: boolean; participant?: string } => {
  const participant = text(content, 'participant');
  return {
    remoteJid: chat,
    id: required(content, 'message_id'),
    fromMe: content['from_me'] === true,
    ...(participant === undefined ? {} : { participant: toJid(participant) }),
  };
};

type Maker = (content: Content, chat: string) => Content;

const captioned = (content: Content): Content => ({
  ...(text(content, 'caption') === undefined ? {} : { caption: text(content, 'caption') }),
  ...(text(content, 'mimetype') === undefined ? {} : { mimetype: text(content, 'mimetype') }),
});

const MAKERS: Record<string, Maker> = {
  text: (c) => ({ text: required(c, 'text'), ...(c['link_preview'] === true ? {} : { linkPreview: null }) }),
  image: (c) => ({ image: media(c), ...captioned(c) }),
  video: (c) => ({ video: media(c), ...captioned(c), gifPlayback: c['gif'] === true, ptv: c['note'] === true }),
  voice: (c) => ({ audio: media(c), ptt: true, mimetype: text(c, 'mimetype') ?? 'audio/ogg; codecs=opus' }),
  audio: (c) => ({ audio: media(c), mimetype: text(c, 'mimetype') ?? 'audio/mpeg' }),
  sticker: (c) => ({ sticker: media(c) }),
  file: (c) => ({
    document: media(c),
    ...captioned(c),
    fileName: text(c, 'filename') ?? 'file',
    mimetype: text(c, 'mimetype') ?? 'application/octet-stream',
  }),
  location: (c) => ({
    location: { degreesLatitude: Number(c['latitude']), degreesLongitude: Number(c['longitude']), name: text(c, 'title') },
  }),
  contact: (c) => ({ contacts: { contacts: (c['vcards'] as string[]).map((vcard) => ({ vcard })) } }),
  reaction: (c, chat) => ({ react: { text: text(c, 'reaction') ?? '', key: key(c, chat) } }),
  edit: (c, chat) => ({ text: required(c, 'text'), edit: key({ ...c, from_me: true }, chat), linkPreview: null }),
  delete: (c, chat) => ({ delete: key(c, chat) }),
  poll: (c) => ({
    poll: { name: required(c, 'name'), values: c['options'] as string[], selectableCount: c['multiple'] === true ? 0 : 1 },
  }),
};

/** Rejects with `invalid_message` when the type is unknown or something is missing. `group`: the one it goes to. */
export async function toBaileys(content: Content, chat: string, lookup: Lookup, group?: GroupMetadata): Promise<Prepared> {
  const make = MAKERS[String(content['type'])];
  if (make === undefined) throw new ChannelError('invalid_message', 'This engine cannot send messages of that type.');
  const message = make(content, chat);
  if (content['mention_all'] === true) message['mentions'] = everyone(group);
  else if (Array.isArray(content['mentions'])) message['mentions'] = content['mentions'].map((id) => toJid(String(id)));
  const quotedId = text(content, 'quoted_id');
  const quoted = quotedId === undefined ? undefined : await quote(quotedId, chat, lookup, group);
  return { message: message as unknown as AnyMessageContent, options: quoted === undefined ? {} : { quoted } };
}

function everyone(group: GroupMetadata | undefined): string[] {
  if (group === undefined) throw new ChannelError('invalid_message', 'Only in a group can everybody be mentioned.');
  return group.participants.map(({ id }) => id);
}

/** The message that is answered, as its author sent it, or as it reads since it was edited. */
async function quote(id: string, chat: string, lookup: Lookup, group: GroupMetadata | undefined): Promise<WAMessage> {
  const known = await lookup(id);
  if (known === null) throw new ChannelError('invalid_message', 'The message that this one answers is not known.');
  if (known.revoked) throw new ChannelError('invalid_message', 'The message that this one answers was deleted.');
  const author = known.from_me || group === undefined || known.sender === '' ? undefined : asMember(toJid(known.sender), group);
  return { key: { remoteJid: chat, id, fromMe: known.from_me, ...(author === undefined ? {} : { participant: author }) }, message: original(known) };
}

/** A member's address as the group's messages have it. */
function asMember(jid: string, group: GroupMetadata): string {
  return group.participants.find(({ id, phoneNumber, lid }) => [id, phoneNumber, lid].includes(jid))?.id ?? jid;
}

const CAPTIONED = ['imageMessage', 'videoMessage', 'documentMessage'] as const;

function original(known: Recalled): proto.IMessage {
  if (known.raw.byteLength === 0) return { conversation: known.text };
  const decoded = proto.Message.decode(known.raw);
  const message = normalizeMessageContent(decoded.deviceSentMessage?.message ?? decoded) ?? {};
  if (!known.edited) return message;
  if (message.extendedTextMessage) message.extendedTextMessage.text = known.text;
  else if (message.conversation) message.conversation = known.text;
  for (const kind of CAPTIONED) if (message[kind]) message[kind].caption = known.text;
  return message;
}
