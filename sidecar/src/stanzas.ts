// Received stanzas as inbox rows: keys for dedupe, and the decoded message as plain JSON.
import type { BinaryNode } from 'baileys';
import { proto } from 'baileys';

import type { InboxRow } from './keys.ts';

export interface Envelope {
  key: string;
  attrs: Record<string, string>;
  /** Whether it is the part that users see; the parts before it bring keys. */
  last: boolean;
}

/** `from|participant|id`: the same for every delivery of one message, whatever its ciphertext. */
function keyOf(attrs: Record<string, string | undefined>): string {
  return `${attrs['from'] ?? ''}|${attrs['participant'] ?? ''}|${attrs['id'] ?? ''}`;
}

/** Which stanza a ciphertext came with: Baileys passes the very same bytes to the Signal repository. */
export class Envelopes {
  private readonly known = new WeakMap<Uint8Array, Envelope>();

  remember(node: BinaryNode): void {
    if (!Array.isArray(node.content)) return;
    const parts = node.content.filter((child) => child.tag === 'enc' && child.content instanceof Uint8Array);
    for (const [index, part] of parts.entries()) {
      // A group message brings the sender's key in a part of its own, before the message: only the last part is what
      // users see, so it has the stanza's plain key.
      const last = index === parts.length - 1;
      const key = keyOf(node.attrs) + (last ? '' : `|part${index}`);
      this.known.set(part.content as Uint8Array, { key, attrs: { ...node.attrs }, last });
    }
  }

  of(ciphertext: Uint8Array): Envelope | undefined {
    return this.known.get(ciphertext);
  }
}

/** The row of a decrypted message. `padded` is what the Signal session gave: the last byte says how much to cut. */
export function messageRow(envelope: Envelope, padded: Uint8Array): InboxRow {
  const plaintext = padded.subarray(0, padded.length - (padded.at(-1) ?? 0));
  return { key: envelope.key, kind: 'message', attrs: envelope.attrs, plaintext, body: bodyOf(plaintext) };
}

/** The row of a message that cannot be read (yet): its place, until it comes again under the same id. */
export function waitingRow(envelope: Envelope): InboxRow {
  return { ...bare('waiting', envelope.attrs), key: `waiting|${envelope.key}`, body: {} };
}

/** The same for a message that comes without anything to decrypt: only our own phone has it. */
export function unavailableRow(node: BinaryNode): InboxRow | null {
  const parts = Array.isArray(node.content) ? node.content : [];
  const word = parts.find((child) => child.tag === 'unavailable');
  if (word === undefined || parts.some((child) => child.tag === 'enc')) return null;
  const row = waitingRow({ key: keyOf(node.attrs), attrs: { ...node.attrs }, last: true });
  return { ...row, body: { unavailable: word.attrs['type'] ?? '' } };
}

/** A notification about a group, with what it tells: members that join and leave, names, settings. */
export function groupRow(node: BinaryNode): InboxRow | null {
  if (node.attrs['type'] !== 'w:gp2') return null;
  const row = bare('group', node.attrs);
  return { ...row, key: `group|${keyOf(node.attrs)}`, body: { children: childrenOf(node) } };
}

const bare = (kind: InboxRow['kind'], attrs: BinaryNode['attrs']): Omit<InboxRow, 'key' | 'body'> => ({
  kind,
  attrs: { ...attrs },
  plaintext: new Uint8Array(0),
});

function childrenOf(node: BinaryNode, depth = 0): unknown[] {
  if (!Array.isArray(node.content) || depth > 4) return [];
  return node.content.map((child) => ({
    tag: child.tag,
    attrs: { ...child.attrs },
    text: typeof child.content === 'string' ? child.content : child.content instanceof Uint8Array ? Buffer.from(child.content).toString() : '',
    children: childrenOf(child, depth + 1),
  }));
}

/** Padding as Baileys expects it back from the Signal repository. */
export function padded(plaintext: Uint8Array): Buffer {
  return Buffer.concat([plaintext, Buffer.of(1)]);
}

function bodyOf(plaintext: Uint8Array): unknown {
  try {
    const message = proto.Message.decode(plaintext);
    const resent = resentBy(message);
    const body = plain(proto.Message.toObject(message, AS_JSON)) as Record<string, unknown>;
    return resent.length > 0 ? { ...body, resent } : body;
  } catch {
    return {}; // The plaintext is kept, so a later release can still read it.
  }
}

const AS_JSON = { longs: Number, enums: String };

/** Messages that our own phone hands us because we could not read them: each with its key and its own plaintext. */
function resentBy(message: proto.Message): unknown[] {
  const response = message.protocolMessage?.peerDataOperationRequestResponseMessage;
  const found: unknown[] = [];
  for (const result of response?.peerDataOperationResult ?? []) {
    const bytes = result.placeholderMessageResendResponse?.webMessageInfoBytes;
    if (!(bytes instanceof Uint8Array)) continue;
    const { key, messageTimestamp, pushName, participant, message: inner } = proto.WebMessageInfo.decode(bytes);
    if (!inner) continue;
    found.push({
      key: plain({ ...key }),
      participant: participant ?? '',
      timestamp: Number(messageTimestamp ?? 0),
      push_name: pushName ?? '',
      plaintext: plain(proto.Message.encode(inner).finish()),
      body: plain(proto.Message.toObject(proto.Message.create(inner), AS_JSON)),
    });
  }
  return found;
}

/** Quotes nest as deep as a sender likes; what nobody reads is cut off, and stays in the plaintext. */
const DEEPEST = 40;

/** Bytes as `{"$b": base64}`; enums are names, 64-bit numbers plain numbers, and what is not set is left out. */
function plain(value: unknown, depth = 0): unknown {
  if (depth > DEEPEST) return null;
  if (value instanceof Uint8Array) {
    return { $b: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') };
  }
  if (Array.isArray(value)) return value.map((inner) => plain(inner, depth + 1));
  if (typeof value === 'object' && value !== null) {
    const out: Record<string, unknown> = {};
    for (const [name, inner] of Object.entries(value)) if (inner !== null && inner !== undefined) out[name] = plain(inner, depth + 1);
    return out;
  }
  return value;
}

/** A receipt that tells how far one of our messages got, or null for the kinds that say nothing of it. */
export function receiptRow(node: BinaryNode): InboxRow | null {
  const type = node.attrs['type'] ?? '';
  if (!TELLING.has(type)) return null;
  const ids = [node.attrs['id'] ?? ''];
  const list = Array.isArray(node.content) ? node.content[0] : undefined;
  if (list?.tag === 'list' && Array.isArray(list.content)) {
    for (const item of list.content) if (item.attrs['id'] !== undefined) ids.push(item.attrs['id']);
  }
  return {
    key: `receipt|${keyOf(node.attrs)}|${type}|${node.attrs['t'] ?? ''}`,
    kind: 'receipt',
    attrs: { ...node.attrs },
    plaintext: new Uint8Array(0),
    body: { type, ids },
  };
}

/** No type means delivered; the others as in Baileys 7.0.0-rc14 lib/Utils/messages.js `getStatusFromReceiptType`. */
const TELLING: ReadonlySet<string> = new Set(['', 'inactive', 'sender', 'read', 'read-self', 'played', 'played-self']);
