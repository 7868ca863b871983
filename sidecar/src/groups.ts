// Groups: what the parent may ask of them.
import type { GroupMetadata, ParticipantAction } from 'baileys';

import { ChannelError } from './channel.ts';
import type { Connection } from './connection.ts';
import { toJid } from './content.ts';
import type { EventQueue } from './events.ts';

type Args = Record<string, unknown>;
type Call = (connection: Connection, args: Args) => Promise<unknown>;

const group = (args: Args): string => String(args['group'] ?? '');
const people = (args: Args): string[] => (args['participants'] as unknown[]).map((id) => toJid(String(id)));

const BATCH = 500;

/** What groups tell beside what was asked: their names, and who is behind a LID. */
export function learn(events: EventQueue, groups: readonly Partial<GroupMetadata>[]): void {
  const named = groups.filter((one) => one.id !== undefined && one.subject !== undefined);
  const chats = named.map(({ id, subject }) => ({ id, name: subject }));
  const members = groups.flatMap((one) => one.participants ?? []);
  const pairs = members.flatMap(({ id, lid, phoneNumber }) => {
    const pn = phoneNumber ?? (lid === undefined ? undefined : id);
    return pn === undefined ? [] : [{ lid: lid ?? id, pn }];
  });
  for (const [kind, items] of [['chats', chats], ['lid_mapping', pairs]] as const) {
    for (let start = 0; start < items.length; start += BATCH) {
      events.putBulk('synced', { kind, items: items.slice(start, start + BATCH) });
    }
  }
}

/** Only plain fields: what is not set is left out, and nothing is undefined. */
const facts = (metadata: GroupMetadata): Args => JSON.parse(JSON.stringify(metadata)) as Args;

const told = (connection: Connection, metadata: GroupMetadata): Args => {
  learn(connection.events, [metadata]);
  return facts(metadata);
};

const CHANGES: ReadonlySet<string> = new Set(['add', 'remove', 'promote', 'demote']);
const SETTINGS: ReadonlySet<string> = new Set(['announcement', 'not_announcement', 'locked', 'unlocked']);

async function change({ sock }: Connection, args: Args): Promise<unknown> {
  const action = String(args['action']);
  if (!CHANGES.has(action)) throw new ChannelError('bad_request', 'A group knows no such change of members.');
  const results = await sock.groupParticipantsUpdate(group(args), people(args), action as ParticipantAction);
  return results.map(({ status, jid }) => ({ status: Number(status), jid: jid ?? '' }));
}

async function setting({ sock }: Connection, args: Args): Promise<null> {
  const wanted = String(args['setting']);
  if (!SETTINGS.has(wanted)) throw new ChannelError('bad_request', 'A group knows no such setting.');
  await sock.groupSettingUpdate(group(args), wanted as 'announcement');
  return null;
}

/** The group calls by name. */
export const GROUP_CALLS: Record<string, Call> = {
  groups: async ({ sock }) => Object.values(await sock.groupFetchAllParticipating()).map(facts),
  group: async (connection, args) => told(connection, await connection.sock.groupMetadata(group(args))),
  group_create: async (connection, args) =>
    told(connection, await connection.sock.groupCreate(String(args['subject']), people(args))),
  group_change: change,
  group_setting: setting,
  group_subject: async ({ sock }, args) => {
    await sock.groupUpdateSubject(group(args), String(args['subject']));
    return null;
  },
  group_description: async ({ sock }, args) => {
    await sock.groupUpdateDescription(group(args), String(args['description'] ?? ''));
    return null;
  },
  group_leave: async ({ sock }, args) => {
    await sock.groupLeave(group(args));
    return null;
  },
  group_invite: async ({ sock }, args) =>
    (args['renew'] === true ? await sock.groupRevokeInvite(group(args)) : await sock.groupInviteCode(group(args))) ?? '',
  group_join: async ({ sock }, args) => (await sock.groupAcceptInvite(String(args['code']))) ?? '',
};
