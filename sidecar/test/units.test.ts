// The sidecar's small parts: frames, cache, reasons, rows, contents.
import '../src/guard.ts';

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { type GroupMetadata, MessageRetryManager, proto, type WAMessage } from 'baileys';

import { Acks } from '../src/acks.ts';
import { TtlCache } from '../src/caches.ts';
import type { Channel } from '../src/channel.ts';
import type { Connection } from '../src/connection.ts';
import { toBaileys } from '../src/content.ts';
import { EventQueue } from '../src/events.ts';
import { encodeFrame, type Frame, FrameReader, NOTE, REQUEST } from '../src/frames.ts';
import { KeyCache } from '../src/keys.ts';
import { quiet } from '../src/log.ts';
import { outgoing } from '../src/outgoing.ts';
import { fromSocketError, fromStreamError } from '../src/reasons.ts';
import type { Recalled } from '../src/recall.ts';
import { refusalOf } from '../src/refusals.ts';
import { hasToken } from '../src/restrictions.ts';
import { send } from '../src/send.ts';
import { groupRow, messageRow, receiptRow, unavailableRow } from '../src/stanzas.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

test('frames survive any chopping', () => {
  const sent: Frame[] = [[REQUEST, 1, 'keys_get', { a: [Buffer.of(1, 2), null, 'é'] }], [NOTE, 'n', 5]];
  const stream = Buffer.concat(sent.map(encodeFrame));
  for (let size = 1; size <= stream.length; size++) {
    const reader = new FrameReader();
    const got: Frame[] = [];
    for (let at = 0; at < stream.length; at += size) got.push(...reader.feed(stream.subarray(at, at + size)));
    assert.equal(got.length, 2);
    assert.equal(got[0]![2], 'keys_get');
    assert.deepEqual(got[1], sent[1]);
  }
});

test('the key cache keeps within its bytes, forgets the oldest first, and knows what is missing', () => {
  const cache = new KeyCache(2000);
  cache.put('a|x', null);
  cache.put('a|y', Buffer.alloc(700));
  cache.get('a|x');
  cache.put('b|z', Buffer.alloc(1000));
  assert.equal(cache.get('a|x'), null);
  assert.equal(cache.get('a|y'), undefined);
  cache.forget('a');
  assert.equal(cache.get('a|x'), undefined);
  assert.equal(cache.get('b|z')?.byteLength, 1000);
});

test('a removed device is told by its tag, whatever number Baileys gives', () => {
  const node = { tag: 'stream:error', attrs: {}, content: [{ tag: 'conflict', attrs: { type: 'device_removed' } }] };
  assert.deepEqual({ ...fromStreamError(node, 440), detail: '' }, { code: 440, tag: 'device_removed', attrs: { type: 'device_removed' }, detail: '' });
});

test('name, network and certificate failures are told apart', () => {
  const tag = (code: string): string => fromSocketError(Object.assign(new Error('x'), { code })).tag;
  assert.equal(tag('ENOTFOUND'), 'dns');
  assert.equal(tag('ECONNREFUSED'), 'refused');
  assert.equal(tag('SELF_SIGNED_CERT_IN_CHAIN'), 'tls');
  assert.equal(tag('ECONNRESET'), 'socket');
  assert.equal(fromSocketError(new AggregateError([Object.assign(new Error('x'), { code: 'ECONNREFUSED' })])).tag, 'refused');
});

test('a row holds the message as plain JSON, and what our phone sent stays visible as such', () => {
  const message = proto.Message.fromObject({
    deviceSentMessage: {
      destinationJid: '1@lid',
      message: { imageMessage: { mediaKey: Buffer.of(1, 2, 3), fileLength: 5000000000, caption: 'hi' } },
    },
    protocolMessage: { type: 'REVOKE' },
  });
  const padded = Buffer.concat([proto.Message.encode(message).finish(), Buffer.of(2, 2)]);
  const row = messageRow({ key: 'k', attrs: { id: '1' }, last: true }, padded);
  assert.deepEqual(JSON.parse(JSON.stringify(row.body)), {
    deviceSentMessage: {
      destinationJid: '1@lid',
      message: { imageMessage: { mediaKey: { $b: 'AQID' }, fileLength: 5000000000, caption: 'hi' } },
    },
    protocolMessage: { type: 'REVOKE' },
  });
  assert.deepEqual(proto.Message.decode(row.plaintext), message);
});

test('a message without content keeps its place, and a notification about a group its children', () => {
  const attrs = { from: '1@lid', id: 'A', t: '9' };
  const word = { tag: 'unavailable', attrs: { type: 'view_once_unavailable_fanout' } };
  const row = unavailableRow({ tag: 'message', attrs, content: [word] });
  assert.deepEqual(
    [row?.kind, row?.key, row?.body, row?.attrs],
    ['waiting', 'waiting|1@lid||A', { unavailable: 'view_once_unavailable_fanout' }, attrs],
  );
  assert.equal(unavailableRow({ tag: 'message', attrs, content: [{ tag: 'enc', attrs: {} }, word] }), null);
  const body = { tag: 'body', attrs: {}, content: Buffer.from('about') };
  const change = { tag: 'description', attrs: { id: 'D' }, content: [body] };
  const told = groupRow({ tag: 'notification', attrs: { ...attrs, type: 'w:gp2' }, content: [change] });
  assert.deepEqual(told?.body, {
    children: [
      { tag: 'description', attrs: { id: 'D' }, text: '', children: [{ tag: 'body', attrs: {}, text: 'about', children: [] }] },
    ],
  });
  assert.equal(groupRow({ tag: 'notification', attrs: { ...attrs, type: 'devices' }, content: [] }), null);
});

test('what our own phone hands us is read, each with its plaintext', () => {
  const inner = { conversation: 'late' };
  const info = proto.WebMessageInfo.fromObject({ key: { id: 'B', remoteJid: '2@lid' }, messageTimestamp: 7, message: inner });
  const webMessageInfoBytes = proto.WebMessageInfo.encode(info).finish();
  const response = { peerDataOperationResult: [{ placeholderMessageResendResponse: { webMessageInfoBytes } }, {}] };
  const message = proto.Message.fromObject({
    protocolMessage: { type: 17, peerDataOperationRequestResponseMessage: response },
  });
  const padded = Buffer.concat([proto.Message.encode(message).finish(), Buffer.of(1)]);
  const row = messageRow({ key: 'k', attrs: { id: '1' }, last: true }, padded);
  const [resent] = (row.body as { resent: Record<string, unknown>[] }).resent;
  assert.deepEqual([resent?.['body'], resent?.['timestamp'], resent?.['key']], [inner, 7, { id: 'B', remoteJid: '2@lid' }]);
  const { $b } = resent?.['plaintext'] as { $b: string };
  assert.equal(proto.Message.decode(Buffer.from($b, 'base64')).conversation, 'late');
});

test('receipts name every message they are for; retries are none', () => {
  const list = { tag: 'list', attrs: {}, content: [{ tag: 'item', attrs: { id: 'B' } }, { tag: 'item', attrs: { id: 'C' } }] };
  const attrs = { from: '1@lid', id: 'A', type: 'read', t: '9' };
  const row = receiptRow({ tag: 'receipt', attrs, content: [list] });
  assert.equal(row?.key, 'receipt|1@lid||A|read|9');
  assert.deepEqual(row?.body, { type: 'read', ids: ['A', 'B', 'C'] });
  assert.equal(receiptRow({ tag: 'receipt', attrs: { ...attrs, type: 'retry' } }), null);
});

test('bulk events wait for credits, and say so; the others do not', () => {
  const out: unknown[] = [];
  const full: boolean[] = [];
  const channel = { event: (value: unknown) => out.push(value) } as unknown as Channel;
  const queue = new EventQueue(channel, 's', 1, 1, (now) => full.push(now));
  for (let n = 0; n < 3; n++) queue.putBulk('synced', n);
  queue.put('closed', 'x');
  assert.deepEqual(out.map((event) => (event as unknown[])[3]), [0, 'x']);
  queue.credit(1);
  queue.credit(1);
  assert.deepEqual(out.map((event) => (event as unknown[])[3]), [0, 'x', 1, 2]);
  assert.deepEqual(full, [true, false]);
});

test('contents become what Baileys sends; what is missing is named', async () => {
  const none = async (): Promise<null> => null;
  const { message } = await toBaileys({ type: 'text', text: 'hi', mentions: ['1@c.us'] }, '2@lid', none);
  assert.deepEqual(message, { text: 'hi', linkPreview: null, mentions: ['1@s.whatsapp.net'] });
  await assert.rejects(toBaileys({ type: 'text' }, '2@lid', none), { code: 'invalid_message' });
  await assert.rejects(toBaileys({ type: 'hologram' }, '2@lid', none), { code: 'invalid_message' });
  await assert.rejects(toBaileys({ type: 'text', text: 'hi', quoted_id: 'Q' }, '2@lid', none), /not known/);
  await assert.rejects(toBaileys({ type: 'text', text: 'hi', mention_all: true }, '2@lid', none), /Only in a group/);
});

test('a reply quotes the message itself: what it was, as it reads now, and by whom', async () => {
  const sent = (message: proto.IMessage): Uint8Array => proto.Message.encode(proto.Message.create(message)).finish();
  const known: Recalled = { chat: 'G@g.us', from_me: false, sender: '1@s.whatsapp.net', text: '', edited: false, revoked: false, raw: new Uint8Array(0), content: null };
  const members = [{ id: '9@lid', phoneNumber: '1@s.whatsapp.net', lid: '9@lid' }];
  const group = { id: 'G@g.us', addressingMode: 'lid', participants: members } as unknown as GroupMetadata;
  const quoted = async (facts: Partial<Recalled>): Promise<WAMessage | undefined> =>
    (await toBaileys({ type: 'text', text: 'hi', quoted_id: 'Q' }, 'G@g.us', async () => ({ ...known, ...facts }), group)).options.quoted;
  const picture = sent({ imageMessage: { mimetype: 'image/jpeg', directPath: '/p' } });
  const shown = await quoted({ raw: picture });
  assert.deepEqual(shown?.key, { remoteJid: 'G@g.us', id: 'Q', fromMe: false, participant: '9@lid' });
  assert.equal(shown?.message?.imageMessage?.directPath, '/p');
  const captioned = await quoted({ raw: sent({ deviceSentMessage: { message: { imageMessage: { caption: 'old' } } } }), edited: true, text: 'new', from_me: true });
  assert.equal(captioned?.message?.imageMessage?.caption, 'new');
  assert.equal(captioned?.key.participant, undefined);
  assert.equal((await quoted({ raw: sent({ conversation: 'old' }), edited: true, text: 'new' }))?.message?.conversation, 'new');
  assert.equal((await quoted({ text: 'without its bytes' }))?.message?.conversation, 'without its bytes');
  await assert.rejects(quoted({ revoked: true }), /deleted/);
});

const authState = { creds: { advSecretKey: Buffer.alloc(32).toString('base64') } };

test('a vanishing message says so, whatever its kind, and an edit of one', async () => {
  const connection = { session: 's', sock: { user: { id: '1@s.whatsapp.net' }, authState } } as unknown as Connection;
  const timer = { seconds: 86_400, since: 1_700_000_000 };
  for (const content of [
    { type: 'text', text: 'hi', mentions: ['1@c.us'] },
    { type: 'location', latitude: 1, longitude: 2 },
    { type: 'contact', vcards: ['BEGIN:VCARD'] },
    { type: 'poll', name: 'When?', options: ['now', 'later'] },
    { type: 'edit', text: 'ho', message_id: 'E' },
  ]) {
    const prepared = await toBaileys(content, '2@lid', async () => null);
    const { message } = await outgoing(connection, '2@lid', prepared, 'M', timer);
    const bare = message.protocolMessage?.editedMessage ?? message;
    const [part] = Object.entries(bare).filter(([name]) => name !== 'messageContextInfo');
    const context = (part?.[1] as { contextInfo?: proto.IContextInfo }).contextInfo;
    assert.deepEqual([context?.expiration, context?.ephemeralSettingTimestamp], [86_400, 1_700_000_000], content.type);
    const without = (await outgoing(connection, '2@lid', prepared, 'M', { seconds: 0, since: 0 })).message;
    assert.ok(!JSON.stringify(without).includes('expiration'), content.type);
  }
});

test('a refusal is one whatever was asked; other failures of a send tell whether something may have left', async () => {
  const boom = (statusCode: number, data?: number): Error => Object.assign(new Error('x'), { isBoom: true, data, output: { statusCode } });
  assert.equal(refusalOf(boom(500, 403)), 403);
  for (const other of [boom(500), boom(428), 1006, new TypeError('no'), undefined, boom(500, 1006)]) assert.equal(refusalOf(other), 0);
  const failing = (error: unknown, group?: unknown): Connection =>
    ({
      open: true,
      acks: new Acks(),
      devices: new TtlCache(1, 1),
      sock: {
        authState,
        groupMetadata: async () => group ?? Promise.reject(error),
        getUSyncDevices: async () => [{}],
        relayMessage: async () => Promise.reject(error),
      },
    }) as unknown as Connection;
  const channel = {} as Channel;
  const to = (chat: string, error: unknown, group?: unknown): Promise<unknown> =>
    send(failing(error, group), channel, { id: 'M', chat, content: { type: 'text', text: 'hi' } }, 5);
  await assert.rejects(to('2@lid', 1006), { code: 'not_connected' }, 'a WebSocket closed with that');
  await assert.rejects(to('2@lid', boom(500)), { code: 'not_connected' });
  await assert.rejects(to('2@lid', boom(500, 406)), { code: 'refused', number: 406 }, 'no keys, asked twice');
  await assert.rejects(to('2@lid', new TypeError('no')), { code: 'invalid_message' });
  await assert.rejects(to('G@g.us', boom(500, 403)), { code: 'refused', number: 403 });
  await assert.rejects(to('G@g.us', new TypeError('no answer')), { code: 'not_connected' });
});

test('nothing that prints reaches the frames', () => {
  assert.equal(process.stdout.write('not a frame'), true);
  console.log('not a frame');
  assert.equal((process.stdout as unknown as { fd: number }).fd, 2);
});

test('what a cache remembers for long holds nothing of the work that told it', async () => {
  const work = new AsyncLocalStorage<object>();
  const cache = new MessageRetryManager(quiet, 5);
  const telling = (tell: () => unknown): WeakRef<object> => {
    const keys = { many: 'keys' };
    work.run(keys, tell);
    return new WeakRef(keys);
  };
  const short = (): unknown => setTimeout(() => undefined, 50_000).unref();
  const [brief, sent] = [telling(short), telling(() => cache.addRecentMessage('4072@s.whatsapp.net', '3EB0', {}))];
  const end = Date.now() + 5000; // that cache's clock sets a timer of its own, of a millisecond
  while (sent.deref() !== undefined && Date.now() < end) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
  assert.ok(brief.deref(), 'what a short timer belongs to must stay, or the check below could not fail');
  assert.equal(sent.deref(), undefined);
  assert.ok(cache.getRecentMessage('4072@s.whatsapp.net', '3EB0'));
  cache.clear();
});

test('a privacy token is given, not given, or the question was not answered', async () => {
  const asking = (answer: () => Promise<unknown>): Connection =>
    ({
      session: 's',
      sock: { authState: { keys: { get: async () => ({}), set: async () => undefined } }, issuePrivacyTokens: answer },
    }) as unknown as Connection;
  const token = { tag: 'token', attrs: { type: 'trusted_contact', t: '1' }, content: Buffer.of(1) };
  const given = { tag: 'iq', attrs: {}, content: [{ tag: 'tokens', attrs: {}, content: [token] }] };
  assert.equal(await hasToken(asking(async () => given), '2@lid'), true);
  assert.equal(await hasToken(asking(async () => ({ tag: 'iq', attrs: {} })), '2@lid'), false);
  assert.equal(await hasToken(asking(async () => Promise.reject(new Error('timed out'))), '2@lid'), undefined);
});
