// Messages that were sent or received before, from the parent's store: for retry receipts (also after a restart of this
// process) and for quotes.
import type { proto as Proto } from 'baileys';
import { generateWAMessageContent, proto } from 'baileys';

import type { Channel } from './channel.ts';
import { toBaileys } from './content.ts';
import { quiet } from './log.ts';

export interface Recalled {
  chat: string;
  from_me: boolean;
  sender: string;
  text: string;
  edited: boolean;
  revoked: boolean;
  raw: Uint8Array;
  content: Record<string, unknown> | null;
}

export function find(channel: Channel, session: string, id: string): Promise<Recalled | null> {
  return channel.request<Recalled | null>('get_message', { session, id });
}

/** The message with this id as Baileys wants it for sending it again, or undefined. */
export async function recall(channel: Channel, session: string, id: string): Promise<Proto.IMessage | undefined> {
  const known = await find(channel, session, id).catch(() => null);
  if (known === null) return undefined;
  if (known.raw.byteLength > 0) return proto.Message.decode(known.raw);
  if (known.content?.['type'] === 'text') {
    const content = await toBaileys(known.content, known.chat, async () => null);
    const upload = (): never => {
      throw new Error('text needs no upload');
    };
    return generateWAMessageContent(content.message, { logger: quiet, upload });
  }
  return known.text === '' ? undefined : { conversation: known.text };
}
