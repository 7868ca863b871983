// One session's connection: a Baileys socket under a grant, from open to the close of its raw socket.
//
// Nothing reconnects here. Only while a phone has not scanned yet, a pairing socket that WhatsApp closed is replaced by
// the next one, so that the QR on show stays valid for as long as the parent wants.
import type { AuthenticationCreds, BinaryNode, ReachoutTimelockState, WASocket } from 'baileys';
import { configureSuccessfulPairing, initAuthCreds, jidDecode, makeWASocket, proto } from 'baileys';
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { WebSocket } from 'ws';

import { Acks } from './acks.ts';
import { TtlCache } from './caches.ts';
import { type Channel, ChannelError } from './channel.ts';
import { bootAtMost, monotonic } from './clock.ts';
import { crashing, crashPoint } from './crash.ts';
import { EventQueue } from './events.ts';
import { type InboxRow, type KeyCache, Vault } from './keys.ts';
import { kindOf, log, placeOf, quiet } from './log.ts';
import { askCode } from './pairing.ts';
import { codeOf, fromBaileys, fromFailure, fromSocketError, fromStreamError, fromUpgrade, type Reason, reason } from './reasons.ts';
import { recall } from './recall.ts';
import { RESTRICTED, restrictionOf } from './restrictions.ts';
import type { Route } from './routes.ts';
import { scope } from './scope.ts';
import { type Settings, versionOf } from './settings.ts';
import { durableRepository, sending } from './signal.ts';
import { Envelopes, groupRow, receiptRow, unavailableRow } from './stanzas.ts';
import { forwardSynced } from './synced.ts';
import type { ProxyArgs } from './tunnel.ts';
import { askAgain } from './unread.ts';

export interface OpenArgs {
  session: string;
  connection: number;
  epoch: number;
  deadline: number;
  pair_phone: string | null;
  expect_phone: string;
  creds: Uint8Array | null;
  mark_online: boolean;
  proxy: ProxyArgs | null;
  /** Names of system and browser that the phone shows for the device; empty: the instance's. */
  shown_as: [string, string];
}

const DAY_MS = 24 * 60 * 60 * 1000;

export class Connection {
  readonly session: string;
  readonly number: number;
  readonly route: Route | null;
  readonly acks: Acks;
  readonly events: EventQueue;
  readonly closed: Promise<void>;
  deadline: number;
  open = false;
  sock!: WASocket;

  private readonly settings: Settings;
  private readonly channel: Channel;
  private readonly vault: Vault;
  private readonly envelopes = new Envelopes();
  /** What people's device lists are; to be dropped when one proved wrong. */
  readonly devices = new TtlCache(300, 2000);
  private readonly markOnline: boolean;
  private readonly shownAs: [string, string, string];
  private readonly expectPhone: string;
  private readonly onGone: () => void;
  private resolveClosed!: () => void;
  private pairPhone: string | null;
  private paired: boolean;
  private closing = false;
  private gone = false;
  private silent = false;
  private paused = false;
  private shown = false;
  private why: Reason | null = null;
  private streamError: BinaryNode | null = null;
  private lastSeen = monotonic();
  private lastDelivered: number | null = null;
  private lastPing = 0;
  private lastProved = 0;
  private closingSince = 0;

  constructor(
    settings: Settings,
    channel: Channel,
    cache: KeyCache,
    args: OpenArgs,
    creds: AuthenticationCreds | null,
    route: Route | null,
    onGone: () => void,
  ) {
    this.settings = settings;
    this.route = route;
    this.channel = channel;
    this.session = args.session;
    this.number = args.connection;
    this.deadline = args.deadline;
    this.pairPhone = args.pair_phone;
    this.paired = creds !== null;
    this.markOnline = args.mark_online;
    const [system, browser] = args.shown_as;
    this.shownAs = [system === '' ? settings.browser : system, browser === '' ? 'Chrome' : browser, '1.0.0'];
    this.expectPhone = args.expect_phone;
    this.onGone = onGone;
    this.closed = new Promise((resolve) => (this.resolveClosed = resolve));
    this.events = new EventQueue(channel, args.session, args.connection, settings.credits, (full) => this.throttle(full));
    this.acks = new Acks();
    this.vault = new Vault(
      channel,
      cache,
      { session: args.session, connection: args.connection, epoch: args.epoch },
      { value: creds ?? initAuthCreds(), stored: args.creds },
      (code) => this.terminate(reason(0, code === 'stale_epoch' ? 'grant' : 'store', `The store failed (${code}).`)),
    );
  }

  /** Whether it has ended or is about to: nothing can be asked of it. */
  get isOver(): boolean {
    return this.gone || this.closing;
  }

  /** Make the socket and let it connect, unless the right to has run out already. */
  start(): void {
    if (bootAtMost() >= this.deadline) {
      // The parent was stopped on the way here: by now another instance may be connected.
      this.why = reason(0, 'grant', 'The right to run this session had run out before it was opened.');
      this.finish();
      return;
    }
    scope.run(this, () => {
      try {
        this.connect();
      } catch (error) {
        this.why = fromBaileys(error);
        this.finish();
      }
    });
  }

  // --- the socket -------------------------------------------------------------------------------------------------

  private connect(): void {
    this.why = null;
    this.streamError = null;
    this.shown = false;
    this.closingSince = 0;
    this.lastSeen = monotonic();
    const { settings } = this;
    const sock = makeWASocket({
      ...versionOf(settings),
      auth: { creds: this.vault.creds, keys: this.vault },
      waWebSocketUrl: settings.whatsapp_url,
      ...(this.route === null ? {} : { agent: this.route.agent, fetchAgent: this.route.agent }),
      browser: this.shownAs,
      logger: quiet,
      connectTimeoutMs: settings.connect_timeout * 1000,
      defaultQueryTimeoutMs: settings.query_timeout * 1000,
      keepAliveIntervalMs: DAY_MS, // our own keepalive skips busy sockets and knows its liveness deadline
      ...(settings.first_qr === settings.next_qr ? { qrTimeout: settings.next_qr * 1000 } : {}),
      emitOwnEvents: false,
      markOnlineOnConnect: this.markOnline,
      syncFullHistory: false,
      transactionOpts: { maxCommitRetries: 1, delayBetweenTriesMs: 0 }, // the parent retries, in order
      userDevicesCache: this.devices,
      cachedGroupMetadata: async () => sending.getStore()?.group,
      msgRetryCounterCache: new TtlCache(3600, 2000),
      callOfferCache: new TtlCache(300, 100),
      placeholderResendCache: new TtlCache(3600, 500),
      makeSignalRepository: durableRepository(this.vault, this.envelopes),
      getMessage: (key) => recall(this.channel, this.session, key.id ?? ''),
    });
    this.sock = sock;
    this.watchSocket(sock);
    this.watchStanzas(sock);
    this.watchEvents(sock);
  }

  private raw(): WebSocket | null {
    return (this.sock?.ws as unknown as { socket: WebSocket | null } | undefined)?.socket ?? null;
  }

  private watchSocket(sock: WASocket): void {
    const raw = this.raw();
    raw?.on('message', () => (this.lastSeen = monotonic()));
    raw?.once('close', () => {
      // Baileys tells of the end by itself, at once; should it be stuck in a handler, the end is told all the same.
      setTimeout(() => this.sock === sock && this.finish(), 1000).unref();
    });
    sock.ws.prependListener('unexpected-response', (_request: ClientRequest, response: IncomingMessage) => {
      this.terminate(fromUpgrade(response.statusCode ?? 0));
    });
    sock.ws.prependListener('error', (error: unknown) => (this.why ??= fromSocketError(error)));
  }

  private watchStanzas(sock: WASocket): void {
    const { ws } = sock;
    ws.prependListener('CB:message', (node: BinaryNode) => {
      this.envelopes.remember(node);
      // Baileys works off what waited on the server one by one, and meanwhile handles live messages at once: those would
      // overtake. Called offline, a live message takes its place in the same queue (seen in messages-recv.js).
      node.attrs['offline'] ??= 'live';
    });
    // What WhatsApp sends of its own accord; a link that only answers is deaf.
    for (const tag of ['message', 'receipt', 'notification', 'presence', 'chatstate', 'call']) {
      ws.prependListener(`CB:${tag}`, () => (this.lastDelivered = monotonic()));
    }
    ws.prependListener('CB:failure', (node: BinaryNode) => (this.why ??= fromFailure(node)));
    ws.prependListener('CB:stream:error', (node: BinaryNode) => (this.streamError = node));
    this.interpose(sock, 'CB:ack,class:message', (node) => {
      crashPoint('ack.received');
      const awaited = this.acks.settle(node.attrs);
      if (Number(node.attrs['error']) !== RESTRICTED) return null;
      // Who waits asks why, and for a token once; Baileys would ask for one beside it. Else nobody does.
      if (!awaited) scope.run(this, () => void restrictionOf(this));
      return new Promise(() => undefined);
    });
    const keep = (event: string, what: string, rowOf: (node: BinaryNode) => InboxRow | null): void =>
      this.interpose(sock, event, (node) => {
        const row = rowOf(node);
        return row === null ? null : this.keepRow(row, what);
      });
    keep('CB:receipt', 'receipt', receiptRow);
    keep('CB:notification', 'notification', groupRow);
    keep('CB:message', 'unavailable', unavailableRow);
    this.interpose(sock, 'CB:iq,,pair-success', async (node) => {
      // Stored before the phone is answered: a crash in between must not leave a linked device without credentials.
      const { creds } = configureSuccessfulPairing(node, this.vault.creds);
      const phone = jidDecode(creds.me?.id)?.user ?? '';
      if (this.expectPhone !== '' && phone !== this.expectPhone) return this.refusePairing(node, phone);
      await this.vault.keepCreds({ ...this.vault.creds, ...creds });
      crashPoint('pairing.stored');
    });
  }

  private async keepRow(row: InboxRow, what: string): Promise<void> {
    crashPoint(`${what}.received`);
    await this.vault.storeInbox([row]);
    crashPoint(`${what}.stored`);
  }

  /** As whatsmeow refuses a pairing (pair.go): the phone is told that linking failed, so no dead device stays listed. */
  private async refusePairing(node: BinaryNode, phone: string): Promise<never> {
    const content = [{ tag: 'error', attrs: { code: '500', text: 'internal-error' } }];
    const attrs = { to: 's.whatsapp.net', type: 'error', id: node.attrs['id'] ?? '' };
    await this.sock.sendNode({ tag: 'iq', attrs, content });
    this.terminate(reason(0, 'another_number', 'A phone with another number scanned the QR code.', { phone }));
    throw new ChannelError('another_number', 'Another number.');
  }

  /** Let `first` finish, if there is anything to do, before Baileys' own listeners see the stanza; if it fails, they
   * never do. */
  private interpose(sock: WASocket, event: string, first: (node: BinaryNode) => Promise<void> | null): void {
    const listeners = sock.ws.listeners(event) as ((node: BinaryNode) => void)[];
    sock.ws.removeAllListeners(event);
    sock.ws.on(event, (node: BinaryNode) => {
      const go = (): void => listeners.forEach((listener) => listener(node));
      const work = first(node);
      if (work === null) go();
      else work.then(go, (error: unknown) => this.fail(error));
    });
  }

  private watchEvents(sock: WASocket): void {
    sock.ev.on('creds.update', () => this.vault.touchCreds());
    sock.ev.on('connection.update', (update) => {
      if (update.qr !== undefined) this.onQr(update.qr);
      if (update.isNewLogin === true) void this.onPaired();
      if (update.reachoutTimeLock !== undefined) this.onTimeLock(update.reachoutTimeLock);
      if (update.connection === 'open') this.onOpen();
      if (update.connection === 'close') this.onEnd(sock, update.lastDisconnect?.error);
    });
    sock.ev.on('message-capping.update', (quota) => this.events.put('capped', { ...quota }));
    if (crashing) {
      sock.ev.on('messages.upsert', ({ messages }) => {
        const unread = messages.some((message) => message.messageStubType === proto.WebMessageInfo.StubType.CIPHERTEXT);
        crashPoint(unread ? 'waiting.receipted' : 'message.receipted');
      });
    }
    forwardSynced(sock, this.events);
  }

  // --- what happens on it -----------------------------------------------------------------------------------------

  private onQr(qr: string): void {
    const first = !this.shown;
    this.shown = true;
    if (this.pairPhone === null) {
      this.events.put('qr', { qr, lifetime: first ? this.settings.first_qr : this.settings.next_qr });
    } else if (first) {
      this.requestCode(this.pairPhone).catch((error: unknown) => {
        const sentence = error instanceof ChannelError ? error.message : 'WhatsApp gave no pairing code.';
        this.terminate(reason(0, 'pairing_refused', sentence));
      });
    }
  }

  /** A pairing code for `phone` (digits); from now on this connection pairs by code, also after a renewal. */
  async requestCode(phone: string): Promise<string> {
    this.pairPhone = phone;
    const code = await askCode(this.sock, phone, this.settings.query_timeout);
    this.events.put('code', { code, phone });
    return code;
  }

  private async onPaired(): Promise<void> {
    this.paired = true;
    this.vault.touchCreds();
    await this.vault.settled();
    this.events.put('paired', this.account());
  }

  private onOpen(): void {
    this.open = true;
    this.lastProved = monotonic();
    this.events.put('opened', this.account());
    scope.run(this, () => {
      askAgain(this.channel, this.session, this.sock).catch((error: unknown) => {
        log('warning', 'unread messages not asked for', { session: this.session, kind: kindOf(error) });
      });
    });
  }

  /** WhatsApp names an end, or none; without one it lasts a day at most, and is asked for again by then. */
  private onTimeLock(lock: Partial<ReachoutTimelockState>): void {
    const end = lock.timeEnforcementEnds?.getTime() ?? Date.now() + DAY_MS;
    const until = lock.isActive === true ? end / 1000 : null;
    this.events.put('restricted', { until, enforcement: lock.enforcementType ?? '' });
  }

  private account(): Record<string, string> {
    const me = this.vault.creds.me;
    const user = (jid: string | undefined): string => (jid === undefined ? '' : (jidDecode(jid)?.user ?? ''));
    const lid = user(me?.lid);
    return { phone: user(me?.id), lid: lid === '' ? '' : `${lid}@lid`, push_name: me?.name ?? '' };
  }

  private onEnd(sock: WASocket, error: unknown): void {
    if (this.sock !== sock || this.gone) return;
    this.why ??= this.streamError === null ? fromBaileys(error) : fromStreamError(this.streamError, codeOf(error));
    if (this.mayRenew()) {
      this.vault.creds.me = undefined;
      this.vault.creds.pairingCode = undefined;
      scope.run(this, () => this.connect());
      return;
    }
    this.finish();
  }

  /** Only a socket that had shown a QR or a code is replaced, so a server that is gone is told, not hammered. */
  private mayRenew(): boolean {
    return !this.paired && !this.closing && this.shown && this.why?.tag !== 'failure' && bootAtMost() < this.deadline;
  }

  // --- the end ----------------------------------------------------------------------------------------------------

  /** Something of this connection failed where nobody waited for it: the connection ends, the process goes on. */
  fail(error: unknown): void {
    if (this.closing || this.gone) return;
    log('warning', 'connection failed', { session: this.session, kind: kindOf(error), place: placeOf(error) });
    this.terminate(reason(0, 'socket', 'Something arrived that could not be read.'));
  }

  /** End at once, without a word to the other side. */
  terminate(why: Reason): void {
    if (this.gone) return;
    this.why ??= why;
    this.closing = true;
    const raw = this.raw();
    if (raw === null || raw.readyState === raw.CLOSED) this.finish();
    else raw.terminate();
  }

  /** End properly: WhatsApp is told, and the raw socket is terminated if it does not answer in time. */
  async close(logout: boolean): Promise<void> {
    this.silent = true;
    this.closing = true;
    if (this.gone) return this.closed;
    if (logout && this.open) await this.unlink();
    await this.vault.settled();
    if (this.gone) return this.closed;
    this.closingSince = monotonic();
    void Promise.resolve(this.sock.end(undefined)).catch(() => undefined);
    return this.closed;
  }

  private async unlink(): Promise<void> {
    const jid = this.vault.creds.me?.id;
    if (jid === undefined) return;
    const remove = { tag: 'remove-companion-device', attrs: { jid, reason: 'user_initiated' } };
    const attrs = { to: 's.whatsapp.net', type: 'set', xmlns: 'md' };
    const done = this.sock.query({ tag: 'iq', attrs, content: [remove] }, this.settings.close_timeout * 2000);
    await done.catch((error: unknown) => log('warning', 'logout not confirmed', { session: this.session, kind: kindOf(error) }));
  }

  private finish(): void {
    if (this.gone) return;
    this.gone = true;
    this.open = false;
    this.acks.abandon();
    const why = this.why ?? reason(428, 'socket', 'The connection ended.');
    void this.vault.settled().then(() => {
      this.vault.end();
      if (!this.silent) this.events.put('closed', why);
      this.route?.close();
      this.onGone();
      this.resolveClosed();
    });
  }

  // --- time -------------------------------------------------------------------------------------------------------

  /** Called a few times a second. When a proof of life is due: the ages of the last frame and of the last delivery. */
  tick(now: number, bootNow: number): [number, number | null] | null {
    if (this.gone) return null;
    if (bootNow >= this.deadline) {
      this.terminate(reason(0, 'grant', 'The right to run this session was not renewed in time.'));
      return null;
    }
    const raw = this.raw();
    if (raw !== null && raw.readyState === raw.CLOSING && this.closingSince === 0) this.closingSince = now;
    if (this.closingSince !== 0 && now - this.closingSince > this.settings.close_timeout) {
      if (raw === null) this.finish();
      else raw.terminate();
      return null;
    }
    if (this.paused || !(this.open || this.shown)) return null;
    const idle = now - this.lastSeen;
    if (idle > this.settings.liveness) {
      this.terminate(reason(0, 'liveness', 'Nothing came through the connection.'));
      return null;
    }
    if (idle >= this.settings.keepalive && now - this.lastPing >= this.settings.keepalive) this.ping(now);
    if (this.open && now - this.lastProved >= this.settings.proved_every && this.lastSeen > this.lastProved) {
      this.lastProved = now;
      return [idle, this.lastDelivered === null ? null : now - this.lastDelivered];
    }
    return null;
  }

  private ping(now: number): void {
    this.lastPing = now;
    const attrs = { id: this.sock.generateMessageTag(), to: 's.whatsapp.net', type: 'get', xmlns: 'w:p' };
    scope.run(this, () => {
      this.sock.sendNode({ tag: 'iq', attrs, content: [{ tag: 'ping', attrs: {} }] }).catch(() => undefined);
    });
  }

  /** A parent that does not consume this session's events stops the reading of this session's socket only. */
  private throttle(full: boolean): void {
    this.paused = full;
    this.lastSeen = monotonic();
    if (full) this.raw()?.pause();
    else this.raw()?.resume();
  }
}
