// Chats, contacts, names and LID mappings that WhatsApp tells, as plain maps. Messages come through the inbox instead.
import type { WASocket } from 'baileys';

import type { EventQueue } from './events.ts';
import { learn } from './groups.ts';

const BATCH = 500;

type Item = Record<string, unknown>;

/** Only these fields go on: what Holdfast shows, never avatars, keys or message bodies. */
const FIELDS: Record<string, readonly string[]> = {
  contacts: ['id', 'lid', 'phoneNumber', 'name', 'notify', 'verifiedName'],
  chats: ['id', 'name', 'conversationTimestamp', 'unreadCount', 'ephemeralExpiration', 'ephemeralSettingTimestamp', 'archived', 'lidJid', 'pnJid'],
  lid_mapping: ['lid', 'pn'],
};

function picked(kind: string, items: readonly unknown[]): Item[] {
  const names = FIELDS[kind] ?? [];
  return items.map((item) => {
    const out: Item = {};
    for (const name of names) {
      const value = (item as Item)[name];
      if (value === null || value === undefined) continue;
      out[name] = typeof value === 'object' ? Number(value) : value; // 64-bit numbers are objects in protobuf.js
    }
    return out;
  });
}

export function forwardSynced(sock: WASocket, events: EventQueue): void {
  const put = (kind: string, items: readonly unknown[]): void => {
    for (let start = 0; start < items.length; start += BATCH) {
      events.putBulk('synced', { kind, items: picked(kind, items.slice(start, start + BATCH)) });
    }
  };
  sock.ev.on('messaging-history.set', ({ chats, contacts, lidPnMappings }) => {
    put('contacts', contacts);
    put('chats', chats);
    put('lid_mapping', lidPnMappings ?? []);
  });
  sock.ev.on('contacts.upsert', (contacts) => put('contacts', contacts));
  sock.ev.on('contacts.update', (contacts) => put('contacts', contacts));
  sock.ev.on('chats.upsert', (chats) => put('chats', chats));
  sock.ev.on('chats.update', (chats) => put('chats', chats));
  sock.ev.on('groups.upsert', (groups) => learn(events, groups));
  sock.ev.on('groups.update', (groups) => learn(events, groups));
  sock.ev.on('lid-mapping.update', (mapping) => put('lid_mapping', [mapping]));
  sock.ev.on('presence.update', ({ id, presences }) => {
    const items = Object.entries(presences).map(([participant, seen]) => ({
      id,
      participant,
      presence: seen.lastKnownPresence,
      last_seen: seen.lastSeen ?? null,
    }));
    events.putBulk('synced', { kind: 'presence', items });
  });
}
