// Imported before everything else: keeps secrets off the wires, and mends libsignal before it is used.
//
// 1. libsignal prints whole session records, private keys included, with console.* (libsignal 6.0.0,
//    src/session_record.js "Closing session"): every console method is silenced, and `process.stdout` is a sink, because
//    file descriptor 1 carries our frames.
// 2. libsignal queues jobs by contact address for the whole process, and runs a waiting job inside the asynchronous
//    context of whoever came first (src/queue_job.js). Baileys finds its transaction by that context, so a ratchet
//    advance could land in another transaction, or in none. Each job is bound to its own context here, and the queues
//    of different sessions are kept apart.
// 3. libsignal tries a message on every session that it has with a device, the newest first, and steps the ratchet of
//    each before it knows whether the message belongs there (src/session_cipher.js). What it stores in the end holds
//    the sessions that it failed on as well, and the other side can read nothing of what is sent on those any more: it
//    shows "Waiting for this message". Baileys begins a new session with a device whenever it looks its owner up, so
//    every message that was under way on the one before did that. Here a session that a message failed on stays as it
//    was.
// 4. Whoever sets a timer passes its asynchronous context on to it. Baileys' caches set one of minutes or days for
//    whatever they remember (lru-cache 11, `ttlAutopurge`), often in the middle of a key transaction (7.0.0-rc14
//    lib/Utils/auth-utils.js): each sent message held all that was read and written for it, for five minutes, and each
//    contact that of its last message, for three days. A timer that is this long keeps only whom it belongs to.
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { createRequire } from 'node:module';
import { Writable } from 'node:stream';
import { promisify } from 'node:util';

import { scope } from './scope.ts';

const silent = (): void => undefined;
for (const name of Object.keys(console) as (keyof Console)[]) {
  if (typeof console[name] === 'function') Object.defineProperty(console, name, { value: silent });
}

const sink = new Writable({ write: (_chunk, _encoding, done) => done() });
Object.defineProperty(sink, 'fd', { value: 2 });
Object.defineProperty(process, 'stdout', { value: sink, configurable: true });

type Job = () => Promise<unknown>;
type QueueJob = (bucket: string, job: Job) => Promise<unknown>;

const fromHere = createRequire(import.meta.url);
const fromBaileys = createRequire(fromHere.resolve('baileys'));
const queuePath = fromBaileys.resolve('libsignal/src/queue_job.js');
const queueJob = fromBaileys(queuePath) as QueueJob;
const queueModule = fromBaileys.cache[queuePath];
if (queueModule === undefined) throw new Error('libsignal/src/queue_job.js is not where Baileys 7 expects it');
queueModule.exports = ((bucket, job) =>
  queueJob(`${scope.getStore()?.session ?? ''}|${bucket}`, AsyncResource.bind(job))) satisfies QueueJob;

interface Session {
  serialize(): object;
}
interface Sessions {
  new (): Session;
  deserialize(data: object): Session;
}
interface Cipher {
  doDecryptWhisperMessage(message: Uint8Array, session: Session | undefined): Promise<Uint8Array>;
}

const cipher = (fromBaileys('libsignal') as { SessionCipher: { prototype: Cipher } }).SessionCipher.prototype;
const decrypt = cipher.doDecryptWhisperMessage;
cipher.doDecryptWhisperMessage = async function (message, session) {
  const before = session?.serialize();
  try {
    return await decrypt.call(this, message, session);
  } catch (error) {
    if (session && before) Object.assign(session, (session.constructor as Sessions).deserialize(before));
    throw error;
  }
};

/** Milliseconds from which on a timer outlives what set it. */
const LONG = 60_000;
const apart = AsyncLocalStorage.snapshot();
const timeout = globalThis.setTimeout;
const setTimer = <T extends unknown[]>(job: (...args: T) => void, ms?: number, ...args: T): NodeJS.Timeout => {
  if (ms === undefined || !(ms >= LONG)) return timeout(job, ms, ...args);
  const owner = scope.getStore();
  return apart(() => timeout(owner === undefined ? job : (...given: T) => scope.run(owner, job, ...given), ms, ...args));
};
Object.defineProperty(setTimer, promisify.custom, { value: promisify(timeout) });
Object.defineProperty(globalThis, 'setTimeout', { value: setTimer, configurable: true, writable: true });
