// Received stanzas as inbox rows: keys for dedupe, and the decoded message as plain JSON.
import type { BinaryNode } from 'baileys';
import { proto } from 'baileys';

import type { InboxRow } from './keys.ts';

export interface Envelope {
  key: string;
  attrs: Record<string, string>;
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
      const suffix = index === parts.length - 1 ? '' : `|part${index}`;
      this.known.set(part.content as Uint8Array, { key: keyOf(node.attrs) + suffix, attrs: { ...node.attrs } });
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

/** Padding as Baileys expects it back from the Signal repository. */
export function padded(plaintext: Uint8Array): Buffer {
  return Buffer.concat([plaintext, Buffer.of(1)]);
}

function bodyOf(plaintext: Uint8Array): unknown {
  try {
    return plain(proto.Message.toObject(proto.Message.decode(plaintext), { longs: Number, enums: String }));
  } catch {
    return {}; // The plaintext is kept, so a later release can still read it.
  }
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
