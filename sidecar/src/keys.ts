// A session's credentials and Signal keys: they live in the parent's store; here is only a small bounded read cache.
//
// Values are the bytes that Baileys' own `useMultiFileAuthState` would write into a file (JSON with BufferJSON), so that
// credentials come from there, and can go back.
import type { AuthenticationCreds, SignalDataSet, SignalDataTypeMap, SignalKeyStore } from 'baileys';
import { BufferJSON, proto } from 'baileys';

import { type Channel, ChannelError } from './channel.ts';

export interface InboxRow {
  key: string;
  kind: 'message' | 'receipt' | 'waiting' | 'group';
  attrs: Record<string, string>;
  plaintext: Uint8Array;
  body: unknown;
}

type KeyType = keyof SignalDataTypeMap;
type Written = [type: string, id: string, value: Uint8Array | null];

/** The type under which inbox rows travel through Baileys' key transactions, to be committed with the ratchet. */
export const INBOX = 'inbox';

/** Types that hold no bytes: read without the reviver, which costs more than the parsing itself. */
const PLAIN: ReadonlySet<string> = new Set(['session', 'lid-mapping', 'device-list', 'sender-key-memory']);

export function encodeValue(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value, BufferJSON.replacer));
}

function decodeValue(type: string, bytes: Uint8Array): unknown {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
  const value: unknown = PLAIN.has(type) ? JSON.parse(text) : JSON.parse(text, BufferJSON.reviver);
  return type === 'app-state-sync-key' ? proto.Message.AppStateSyncKeyData.fromObject(value as object) : value;
}

/**
 * Recently used values of all sessions of this process, bounded by bytes; null stands for "there is none".
 *
 * Only this process writes a session's keys while it holds the session's epoch, so what is cached stays true until
 * the session is closed here; then its entries go.
 */
export class KeyCache {
  private readonly entries = new Map<string, Uint8Array | null>();
  private bytes = 0;
  private readonly limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  get(name: string): Uint8Array | null | undefined {
    const value = this.entries.get(name);
    if (value !== undefined) {
      this.entries.delete(name);
      this.entries.set(name, value);
    }
    return value;
  }

  put(name: string, value: Uint8Array | null): void {
    this.drop(name);
    // A copy: the bytes may be a window into a whole frame, which must not be kept alive.
    this.entries.set(name, value === null ? null : Uint8Array.from(value));
    this.bytes += cost(name, value);
    for (const oldest of this.entries.keys()) {
      if (this.bytes <= this.limit) break;
      this.drop(oldest);
    }
  }

  forget(session: string): void {
    const prefix = `${session}|`;
    for (const name of [...this.entries.keys()]) if (name.startsWith(prefix)) this.drop(name);
  }

  private drop(name: string): void {
    const value = this.entries.get(name);
    if (value === undefined) return;
    this.entries.delete(name);
    this.bytes -= cost(name, value);
  }
}

const cost = (name: string, value: Uint8Array | null): number => 2 * name.length + 120 + (value?.byteLength ?? 0);

/**
 * Reads and writes one session's keys under one epoch, until its connection ends. The first that fails ends it as well,
 * and `onFailure` is told.
 */
export class Vault implements SignalKeyStore {
  readonly session: string;
  readonly creds: AuthenticationCreds;
  private readonly channel: Channel;
  private readonly cache: KeyCache;
  private readonly epoch: number;
  private readonly connection: number;
  private readonly onFailure: (code: string) => void;
  private failed: ChannelError | null = null;
  private writes = 0;
  private credsDirty = false;
  private credsStored: Buffer;
  private holdCreds: boolean;
  private lastWrite: Promise<void> = Promise.resolve();

  constructor(
    channel: Channel,
    cache: KeyCache,
    owner: { session: string; connection: number; epoch: number },
    creds: { value: AuthenticationCreds; stored: Uint8Array | null },
    onFailure: (code: string) => void,
  ) {
    this.channel = channel;
    this.cache = cache;
    this.session = owner.session;
    this.connection = owner.connection;
    this.epoch = owner.epoch;
    this.creds = creds.value;
    this.credsStored = Buffer.from(creds.stored ?? []);
    // Half-made credentials are worth nothing: until the pairing is complete, they exist in memory only.
    this.holdCreds = creds.stored === null;
    this.onFailure = onFailure;
  }

  async get<T extends KeyType>(type: T, ids: string[]): Promise<{ [id: string]: SignalDataTypeMap[T] }> {
    const found: Record<string, unknown> = {};
    const missing: string[] = [];
    for (const id of ids) {
      const cached = this.cache.get(this.nameOf(type, id));
      if (cached === undefined) missing.push(id);
      else if (cached !== null) found[id] = decodeValue(type, cached);
    }
    if (missing.length > 0) await this.fetch(type, missing, found);
    return found as { [id: string]: SignalDataTypeMap[T] };
  }

  private async fetch(type: string, ids: string[], found: Record<string, unknown>): Promise<void> {
    const before = this.writes;
    const values = await this.read<(Uint8Array | null)[]>('keys_get', { keys: ids.map((id) => [type, id]) });
    // A write that was asked for meanwhile may be newer than this answer, which then must not be remembered.
    const settled = before === this.writes;
    for (const [index, id] of ids.entries()) {
      const value = values[index] ?? null;
      if (settled && this.failed === null) this.cache.put(this.nameOf(type, id), value);
      if (value !== null) found[id] = decodeValue(type, value);
    }
  }

  set(data: SignalDataSet & { [INBOX]?: Record<string, InboxRow> }): Promise<void> {
    const keys: Written[] = [];
    const inbox: InboxRow[] = [];
    for (const [type, values] of Object.entries(data)) {
      if (type === INBOX) {
        inbox.push(...(Object.values(values) as InboxRow[]));
        continue;
      }
      for (const [id, value] of Object.entries(values)) {
        const bytes = value === null || value === undefined ? null : encodeValue(value);
        if (!this.isStored(type, id, bytes)) keys.push([type, id, bytes]);
      }
    }
    return this.write(keys, inbox);
  }

  /** Commit rows that come without a key: receipts of our own messages. */
  storeInbox(rows: InboxRow[]): Promise<void> {
    return this.write([], rows);
  }

  /** What was committed for a stanza before, or null. */
  inboxFind(key: string): Promise<Uint8Array | null> {
    return this.read<Uint8Array | null>('inbox_find', { connection: this.connection, key });
  }

  /** What cannot be read is not what is not there: Baileys would take it so, and ask senders for their messages anew. */
  private async read<T>(method: string, args: object): Promise<T> {
    if (this.failed !== null) throw this.failed;
    try {
      return await this.channel.request<T>(method, { session: this.session, ...args });
    } catch (error) {
      throw this.fail(error);
    }
  }

  private fail(error: unknown): ChannelError {
    this.failed ??= error instanceof ChannelError ? error : new ChannelError('store_unavailable', 'The store failed.');
    this.onFailure(this.failed.code);
    return this.failed;
  }

  /** `creds` changed: they are written with the next commit, or by themselves before this turn of the loop ends. */
  touchCreds(): void {
    if (this.credsDirty || this.holdCreds) return;
    this.credsDirty = true;
    queueMicrotask(() => {
      if (this.credsDirty) this.write([], []).catch(() => undefined); // told by onFailure
    });
  }

  /** The pairing is complete: from now on the credentials are kept. Resolves when they are. */
  keepCreds(complete: AuthenticationCreds): Promise<void> {
    this.holdCreds = false;
    return this.write([['creds', '', encodeValue(complete)]], []);
  }

  /** Resolves when everything asked for so far is committed, or has failed. */
  settled(): Promise<void> {
    if (this.credsDirty) this.write([], []).catch(() => undefined);
    return this.lastWrite.catch(() => undefined);
  }

  /**
   * The connection is gone: from now on nothing is read, remembered or written. The next one may be open already, here
   * or elsewhere, and what this one still had in hand is older than what that one stores.
   */
  end(): void {
    this.failed ??= new ChannelError('not_connected', 'The connection has ended.');
    this.cache.forget(this.session);
  }

  private async write(keys: Written[], inbox: InboxRow[]): Promise<void> {
    if (this.failed !== null) throw this.failed;
    if (this.credsDirty) {
      this.credsDirty = false;
      const creds = Buffer.from(encodeValue(this.creds));
      if (!creds.equals(this.credsStored)) {
        this.credsStored = creds;
        keys.push(['creds', '', creds]);
      }
    }
    if (keys.length === 0 && inbox.length === 0) return;
    this.writes++;
    const done = this.channel.request<void>('keys_set', {
      session: this.session,
      connection: this.connection,
      epoch: this.epoch,
      keys,
      inbox,
    });
    this.lastWrite = done;
    try {
      await done;
    } catch (error) {
      throw this.fail(error);
    }
    this.writes++;
    if (this.failed !== null) return;
    for (const [type, id, value] of keys) if (type !== 'creds') this.cache.put(this.nameOf(type, id), value);
  }

  private isStored(type: string, id: string, bytes: Uint8Array | null): boolean {
    const cached = this.cache.get(this.nameOf(type, id));
    if (cached === undefined) return false;
    return cached === null || bytes === null ? cached === bytes : Buffer.compare(cached, bytes) === 0;
  }

  private nameOf(type: string, id: string): string {
    return `${this.session}|${type}|${id}`;
  }
}
