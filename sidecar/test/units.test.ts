// The sidecar's small parts: frames, cache, reasons, rows, contents.
import '../src/guard.ts';

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { MessageRetryManager, proto } from 'baileys';

import { Acks } from '../src/acks.ts';
import type { Channel } from '../src/channel.ts';
import type { Connection } from '../src/connection.ts';
import { toBaileys } from '../src/content.ts';
import { EventQueue } from '../src/events.ts';
import { encodeFrame, type Frame, FrameReader, NOTE, REQUEST } from '../src/frames.ts';
import { KeyCache } from '../src/keys.ts';
import { quiet } from '../src/log.ts';
import { fromSocketError, fromStreamError } from '../src/reasons.ts';
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
  const { message, options } = await toBaileys({ type: 'text', text: 'hi', mentions: ['1@c.us'], quoted_id: 'Q' }, '2@lid', none);
  assert.deepEqual(message, { text: 'hi', linkPreview: null, mentions: ['1@s.whatsapp.net'] });
  assert.equal(options.quoted?.key.id, 'Q');
  await assert.rejects(toBaileys({ type: 'text' }, '2@lid', none), { code: 'invalid_message' });
  await assert.rejects(toBaileys({ type: 'hologram' }, '2@lid', none), { code: 'invalid_message' });
});

test('a send that the end of the connection broke off says nothing of its message, and one that cannot be made does', async () => {
  const failing = (error: unknown): Connection =>
    ({
      open: true,
      acks: new Acks(),
      sock: { getUSyncDevices: async () => [{}], sendMessage: async () => Promise.reject(error) },
    }) as unknown as Connection;
  const args = { id: 'M', chat: '2@lid', content: { type: 'text', text: 'hi' } };
  const channel = {} as Channel;
  await assert.rejects(send(failing(1006), channel, args, 5), { code: 'not_connected' }, 'a WebSocket closed with that');
  const keyless = Object.assign(new Error('All encryptions failed'), { output: { statusCode: 500 } });
  await assert.rejects(send(failing(keyless), channel, args, 5), { code: 'not_connected' });
  await assert.rejects(send(failing(new TypeError('no')), channel, args, 5), { code: 'invalid_message' });
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
