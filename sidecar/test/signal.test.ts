// The durable Signal repository: what is committed with what, and before what.
import '../src/guard.ts';

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { addTransactionCapability, type AuthenticationCreds, initAuthCreds, type SignalAuthState, signedKeyPair } from 'baileys';

import type { Channel } from '../src/channel.ts';
import { type InboxRow, KeyCache, Vault } from '../src/keys.ts';
import { quiet } from '../src/log.ts';
import { scope } from '../src/scope.ts';
import { durableRepository } from '../src/signal.ts';
import { Envelopes } from '../src/stanzas.ts';

interface Write {
  keys: [string, string, Uint8Array | null][];
  inbox: InboxRow[];
}

/** The parent's side of the pipe in memory, strict about what it is asked. */
class FakeStore {
  readonly keys = new Map<string, Uint8Array>();
  readonly inbox = new Map<string, InboxRow>();
  readonly writes: Write[] = [];
  /** Reads of pre-keys wait for it: libsignal makes them in the middle of its job. */
  gate: Promise<void> | null = null;
  readonly atGate = Promise.withResolvers<void>();
  refuse = false;
  /** Nothing can be read now. */
  away = false;

  async request(method: string, args: never): Promise<unknown> {
    await Promise.resolve();
    if (this.away && method !== 'keys_set') throw new Error('store away');
    switch (method) {
      case 'keys_get':
        if (this.gate !== null && (args as { keys: [string, string][] }).keys[0]?.[0] === 'pre-key') {
          this.atGate.resolve();
          await this.gate;
        }
        return (args as { keys: [string, string][] }).keys.map(([type, id]) => this.keys.get(`${type}|${id}`) ?? null);
      case 'keys_set':
        if (this.refuse) throw new Error('store away');
        this.apply(args);
        return null;
      case 'inbox_find':
        return this.inbox.get((args as { key: string }).key)?.plaintext ?? null;
      default:
        throw new Error(`unexpected request ${method}`);
    }
  }

  private apply(write: Write): void {
    this.writes.push(write);
    for (const [type, id, value] of write.keys) {
      if (value === null) this.keys.delete(`${type}|${id}`);
      else this.keys.set(`${type}|${id}`, value);
    }
    for (const row of write.inbox) if (!this.inbox.has(row.key)) this.inbox.set(row.key, row);
  }
}

class Party {
  readonly store = new FakeStore();
  readonly envelopes = new Envelopes();
  readonly failures: string[] = [];
  readonly creds: AuthenticationCreds = initAuthCreds();
  readonly repository;
  readonly keys;
  readonly owner;
  readonly vault;
  private readonly cache;

  constructor(name: string, cacheBytes = 1 << 20) {
    this.owner = { session: name, fail: () => undefined };
    this.cache = new KeyCache(cacheBytes);
    const vault = this.next();
    this.vault = vault;
    this.keys = addTransactionCapability(vault, quiet, { maxCommitRetries: 1, delayBetweenTriesMs: 0 });
    const auth: SignalAuthState = { creds: this.creds, keys: this.keys };
    this.repository = scope.run(this.owner, () => durableRepository(vault, this.envelopes)(auth, quiet));
  }

  /** The keys as a connection of its own sees them. */
  next(): Vault {
    return new Vault(
      this.store as unknown as Channel,
      this.cache,
      { session: this.owner.session, connection: 1, epoch: 1 },
      { value: this.creds, stored: new Uint8Array(0) },
      (code) => this.failures.push(code),
    );
  }

  /** Give out a bundle with one one-time key, which is stored as after an upload. */
  async bundle(keyId: number) {
    const pair = signedKeyPair(this.creds.signedIdentityKey, keyId).keyPair;
    await this.keys.set({ 'pre-key': { [keyId]: pair } });
    const key = (bytes: Uint8Array): Buffer => Buffer.concat([Buffer.of(5), bytes]);
    return {
      registrationId: this.creds.registrationId,
      identityKey: key(this.creds.signedIdentityKey.public),
      signedPreKey: {
        keyId: this.creds.signedPreKey.keyId,
        publicKey: key(this.creds.signedPreKey.keyPair.public),
        signature: this.creds.signedPreKey.signature,
      },
      preKey: { keyId, publicKey: key(pair.public) },
    };
  }

  receive(from: string, id: string, type: 'pkmsg' | 'msg', ciphertext: Uint8Array): Promise<Uint8Array> {
    this.envelopes.remember({
      tag: 'message',
      attrs: { from, id, t: '1' },
      content: [{ tag: 'enc', attrs: { type, v: '2' }, content: ciphertext }],
    });
    return scope.run(this.owner, () => this.repository.decryptMessage({ jid: from, type, ciphertext }));
  }
}

const text = (words: string): Buffer => Buffer.concat([Buffer.of(0x0a, words.length), Buffer.from(words), Buffer.of(3, 3, 3)]);
const ALICE = '111@lid';
const BOB = '222@lid';

async function meet(): Promise<{ alice: Party; bob: Party }> {
  const alice = new Party('alice');
  const bob = new Party('bob');
  await alice.repository.injectE2ESession({ jid: BOB, session: await bob.bundle(7) });
  bob.store.writes.length = 0;
  alice.store.writes.length = 0;
  return { alice, bob };
}

test('a first message commits ratchet, identity, used pre-key and plaintext in one write', async () => {
  const { alice, bob } = await meet();
  const { type, ciphertext } = await alice.repository.encryptMessage({ jid: BOB, data: text('hello') });
  assert.equal(type, 'pkmsg');
  await bob.receive(ALICE, 'M1', type, ciphertext);
  assert.equal(bob.store.writes.length, 1);
  const [write] = bob.store.writes;
  assert.deepEqual(write!.keys.map(([kind]) => kind).sort(), ['identity-key', 'pre-key', 'session']);
  assert.equal(write!.keys.find(([kind]) => kind === 'pre-key')![2], null);
  assert.equal(write!.inbox[0]!.key, '111@lid||M1');
  assert.deepEqual(write!.inbox[0]!.body, { conversation: 'hello' });
});

test('what is delivered again is answered from the inbox', async () => {
  const { alice, bob } = await meet();
  const { type, ciphertext } = await alice.repository.encryptMessage({ jid: BOB, data: text('once') });
  const first = await bob.receive(ALICE, 'M1', type, Uint8Array.from(ciphertext) && Buffer.from(ciphertext));
  const again = await bob.receive(ALICE, 'M1', type, Buffer.from(ciphertext));
  const cut = (bytes: Uint8Array): Buffer => Buffer.from(bytes.subarray(0, bytes.length - bytes.at(-1)!));
  assert.deepEqual(cut(again), cut(first));
  assert.equal(bob.store.inbox.size, 1);
});

test('what was never stored and cannot be decrypted stays an error', async () => {
  const { alice, bob } = await meet();
  const { type, ciphertext } = await alice.repository.encryptMessage({ jid: BOB, data: text('x') });
  await bob.receive(ALICE, 'M1', type, Buffer.from(ciphertext));
  await assert.rejects(bob.receive(ALICE, 'M2', type, Buffer.from(ciphertext)));
});

test('a failed commit gives no plaintext, and ends the vault', async () => {
  const { alice, bob } = await meet();
  const { type, ciphertext } = await alice.repository.encryptMessage({ jid: BOB, data: text('x') });
  bob.store.refuse = true;
  await assert.rejects(bob.receive(ALICE, 'M1', type, ciphertext));
  assert.equal(bob.failures.length, 1);
  bob.store.refuse = false;
  await assert.rejects(bob.receive(ALICE, 'M1', type, ciphertext), 'nothing works after a failed write');
  assert.equal(bob.store.writes.length, 0);
});

test('a failed read ends the vault: what cannot be read is never taken for what cannot be decrypted', async () => {
  const { alice, bob } = await meet();
  const { type, ciphertext } = await alice.repository.encryptMessage({ jid: BOB, data: text('x') });
  bob.store.away = true;
  await assert.rejects(bob.receive(ALICE, 'M1', type, ciphertext));
  assert.ok(bob.failures.length > 0, 'the connection is told to end, before the sender is asked again');
  bob.store.away = false;
  await assert.rejects(bob.receive(ALICE, 'M1', type, ciphertext), 'nothing works after a failed read');
  assert.equal(bob.store.writes.length, 0, 'nor is the message noted as one that waits for its sender');
});

test('what was in hand when a connection ended reaches neither the store nor the next connection', async () => {
  const { alice, bob } = await meet();
  const { type, ciphertext } = await alice.repository.encryptMessage({ jid: BOB, data: text('x') });
  bob.next().end(); // nothing is cached
  const gate = Promise.withResolvers<void>();
  bob.store.gate = gate.promise;
  const late = bob.receive(ALICE, 'M1', type, ciphertext);
  await bob.store.atGate.promise;
  bob.vault.end();
  const next = bob.next();
  gate.resolve();
  await assert.rejects(late);
  assert.equal(bob.store.writes.length, 0);
  bob.store.keys.delete('pre-key|7'); // as another instance stored meanwhile
  assert.deepEqual(await next.get('pre-key', ['7']), {}, 'a late answer was remembered');
});

test('the session record is stored before the ciphertext is handed out, even inside the transaction of a send', async () => {
  const { alice } = await meet();
  await alice.keys.transaction(async () => {
    await alice.repository.encryptMessage({ jid: BOB, data: text('x') });
    assert.deepEqual(alice.store.writes.flatMap((write) => write.keys.map(([kind]) => kind)), ['session']);
  }, 'me');
});

test('encrypting and decrypting for one device at once loses no ratchet step', async () => {
  const { alice, bob } = await meet();
  const hello = await alice.repository.encryptMessage({ jid: BOB, data: text('hi') });
  await bob.receive(ALICE, 'M0', hello.type, hello.ciphertext);
  const there: Promise<unknown>[] = [];
  for (let n = 0; n < 20; n++) {
    const out = await alice.repository.encryptMessage({ jid: BOB, data: text(`a${n}`) });
    there.push(bob.receive(ALICE, `A${n}`, out.type, out.ciphertext));
    there.push(
      bob.keys.transaction(async () => {
        const back = await bob.repository.encryptMessage({ jid: ALICE, data: text(`b${n}`) });
        await alice.receive(BOB, `B${n}`, back.type, back.ciphertext);
      }, 'me'),
    );
  }
  await Promise.all(there);
  assert.equal(bob.store.inbox.size, 21);
  assert.equal(alice.store.inbox.size, 20);
});

test('a message that was under way on the session before leaves the new one usable', async () => {
  const { alice, bob } = await meet();
  const hello = await alice.repository.encryptMessage({ jid: BOB, data: text('hi') });
  await bob.receive(ALICE, 'M1', hello.type, hello.ciphertext);
  const back = await bob.repository.encryptMessage({ jid: ALICE, data: text('hi') });
  await alice.receive(BOB, 'M2', back.type, back.ciphertext);
  const late = await alice.repository.encryptMessage({ jid: BOB, data: text('late') });
  await bob.repository.injectE2ESession({ jid: ALICE, session: await alice.bundle(8) }); // as at every look-up
  await bob.receive(ALICE, 'M3', late.type, late.ciphertext);
  const first = await bob.repository.encryptMessage({ jid: ALICE, data: text('new') });
  assert.equal(first.type, 'pkmsg');
  await alice.receive(BOB, 'M4', first.type, first.ciphertext);
  const answer = await alice.repository.encryptMessage({ jid: BOB, data: text('got it') });
  await bob.receive(ALICE, 'M5', answer.type, answer.ciphertext);
  assert.deepEqual([...alice.store.inbox.values()].map((row) => row.body), [{ conversation: 'hi' }, { conversation: 'new' }]);
});

test('sessions of one process that hear from the same address do not mix their writes', async () => {
  const alice = new Party('alice');
  const bobs = [new Party('bob1', 0), new Party('bob2', 0)];
  const sent: { type: 'pkmsg' | 'msg'; ciphertext: Uint8Array }[] = [];
  for (const [index, bob] of bobs.entries()) {
    const jid = `${500 + index}@lid`;
    await alice.repository.injectE2ESession({ jid, session: await bob.bundle(1) });
    sent.push(await alice.repository.encryptMessage({ jid, data: text('same') }));
    bob.store.writes.length = 0;
  }
  // The first one's store is slow in the middle of libsignal's job, so the second one's job comes while it runs.
  const gate = Promise.withResolvers<void>();
  bobs[0]!.store.gate = gate.promise;
  const first = bobs[0]!.receive(ALICE, 'M', sent[0]!.type, sent[0]!.ciphertext);
  await bobs[0]!.store.atGate.promise;
  const second = bobs[1]!.receive(ALICE, 'M', sent[1]!.type, sent[1]!.ciphertext);
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  gate.resolve();
  await Promise.all([first, second]);
  for (const bob of bobs) {
    assert.equal(bob.store.writes.length, 1);
    assert.equal(bob.store.writes[0]!.inbox.length, 1);
    assert.ok(bob.store.writes[0]!.keys.some(([kind]) => kind === 'session'));
  }
});

test('a group message and its sender key have rows of their own', async () => {
  const alice = new Party('alice');
  const bob = new Party('bob');
  const group = '1@g.us';
  const { ciphertext, senderKeyDistributionMessage } = await alice.repository.encryptGroupMessage({
    group,
    meId: ALICE,
    data: text('all'),
  });
  await bob.repository.processSenderKeyDistributionMessage({
    authorJid: ALICE,
    item: { groupId: group, axolotlSenderKeyDistributionMessage: senderKeyDistributionMessage },
  });
  const part = Buffer.from('part');
  bob.envelopes.remember({
    tag: 'message',
    attrs: { from: group, participant: ALICE, id: 'G1' },
    content: [
      { tag: 'enc', attrs: { type: 'pkmsg' }, content: part },
      { tag: 'enc', attrs: { type: 'skmsg' }, content: ciphertext },
    ],
  });
  assert.equal(bob.envelopes.of(part)?.key, '1@g.us|111@lid|G1|part0');
  bob.store.writes.length = 0;
  await bob.repository.decryptGroupMessage({ group, authorJid: ALICE, msg: ciphertext });
  assert.deepEqual(bob.store.writes[0]!.keys.map(([kind]) => kind), ['sender-key']);
  assert.equal(bob.store.writes[0]!.inbox[0]!.key, '1@g.us|111@lid|G1');
});
