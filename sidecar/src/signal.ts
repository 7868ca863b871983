// The Signal repository with two promises: what was received is stored before WhatsApp hears of it, and what is sent
// was stored before it leaves.
//
// Baileys holds a whole send in one key transaction and commits it after the stanza left. Here each Signal operation
// runs outside of that (in the context in which the socket was made), in a transaction of its own, locked by the
// address under which the session record is really stored: PN and LID of one device share a lock.
import { AsyncLocalStorage } from 'node:async_hooks';

import type { GroupMetadata, SignalAuthState, SignalKeyStoreWithTransaction, SocketConfig } from 'baileys';
import { DEFAULT_CONNECTION_CONFIG, isHostedPnUser, isPnUser } from 'baileys';

import { crashPoint } from './crash.ts';
import { INBOX, type Vault } from './keys.ts';
import { type Envelope, type Envelopes, messageRow, padded, waitingRow } from './stanzas.ts';

type MakeRepository = SocketConfig['makeSignalRepository'];
type Repository = ReturnType<MakeRepository>;

export interface SendWatch {
  encrypted: boolean;
  /** The group that it goes to, as WhatsApp described it for this send. */
  group?: GroupMetadata | undefined;
}

/** The send that is under way in this context, so that its failure can be told apart: before or after encryption. */
export const sending = new AsyncLocalStorage<SendWatch>();

export function durableRepository(vault: Vault, envelopes: Envelopes): MakeRepository {
  return (auth: SignalAuthState, logger, pnToLid) => {
    const base = DEFAULT_CONNECTION_CONFIG.makeSignalRepository(auth, logger, pnToLid);
    const keys = auth.keys as SignalKeyStoreWithTransaction;
    const outside = AsyncLocalStorage.snapshot();
    const lids = base.lidMapping;

    // Baileys asks for a contact's privacy token beside the send and records that when the answer is there: in the
    // send's transaction, which was committed meanwhile (7.0.0-rc14 lib/Socket/messages-send.js). The record was lost,
    // so it asked again with every message.
    const { get, set } = keys;
    keys.get = (type, ids) => (type === 'tctoken' ? outside(() => get(type, ids)) : get(type, ids));
    keys.set = (data) => ('tctoken' in data ? outside(() => set(data)) : set(data));

    /** The address under which libsignal's storage will look: the LID, where one is known. */
    const addressed = async (jid: string): Promise<string> =>
      isPnUser(jid) || isHostedPnUser(jid) ? ((await lids.getLIDForPN(jid)) ?? jid) : jid;

    const decrypt = async (
      envelope: Envelope | undefined,
      lock: string,
      work: () => Promise<Uint8Array>,
    ): Promise<Uint8Array> => {
      try {
        const plaintext = await keys.transaction(async () => {
          const result = await work();
          if (envelope !== undefined) {
            const rows = { [INBOX]: { [envelope.key]: messageRow(envelope, result) } };
            await keys.set(rows as Parameters<typeof keys.set>[0]);
          }
          crashPoint('message.decrypted');
          return result;
        }, lock);
        crashPoint('message.stored');
        return plaintext;
      } catch (error) {
        // Delivered again after we decrypted it: the ratchet has moved on, but the plaintext is in the inbox.
        const known = envelope === undefined ? null : await vault.inboxFind(envelope.key);
        if (known !== null) return padded(known);
        if (envelope?.last === true) {
          crashPoint('waiting.received');
          await vault.storeInbox([waitingRow(envelope)]);
          crashPoint('waiting.stored');
        }
        throw error; // Baileys asks the sender for it again
      }
    };

    const storeMappings = lids.storeLIDPNMappings.bind(lids);
    lids.storeLIDPNMappings = (pairs) => outside(() => storeMappings(pairs));

    const durable: Repository = {
      ...base,
      decryptMessage: (o) =>
        outside(async () => {
          const jid = await addressed(o.jid);
          return decrypt(envelopes.of(o.ciphertext), jid, () => base.decryptMessage({ ...o, jid }));
        }),
      decryptGroupMessage: (o) =>
        outside(() => decrypt(envelopes.of(o.msg), o.group, () => base.decryptGroupMessage(o))),
      processSenderKeyDistributionMessage: (o) => outside(() => base.processSenderKeyDistributionMessage(o)),
      encryptMessage: async (o) => {
        const watch = sending.getStore();
        crashPoint('send.encrypting');
        const result = await outside(async () => base.encryptMessage({ ...o, jid: await addressed(o.jid) }));
        if (watch !== undefined) watch.encrypted = true;
        crashPoint('send.encrypted');
        return result;
      },
      encryptGroupMessage: async (o) => {
        const watch = sending.getStore();
        const result = await outside(() => base.encryptGroupMessage(o));
        if (watch !== undefined) watch.encrypted = true;
        return result;
      },
      getSenderKeyDistributionMessage: (o) => outside(() => base.getSenderKeyDistributionMessage(o)),
      injectE2ESession: (o) =>
        outside(async () => base.injectE2ESession({ ...o, jid: await addressed(o.jid) })),
      deleteSession: (jids) => outside(() => base.deleteSession(jids)),
      migrateSession: (from, to) => outside(() => base.migrateSession(from, to)),
    };
    return durable;
  };
}
