// Refused with 463: either WhatsApp's reach-out timelock forbids writing to new people for a while, or the contact's
// privacy token is missing. WhatsApp uses one number for both (Baileys 7.0.0-rc14 `NACK_REASONS`, `SERVER_ERROR_CODES`).
import { isLidUser, jidNormalizedUser, type BinaryNode } from 'baileys';

import type { Connection } from './connection.ts';
import { kindOf, log } from './log.ts';

export const RESTRICTED = 463;

/** `cause`: `timelock`, `token`, or empty where WhatsApp did not say. `until`: the end of a timelock, in Unix seconds. */
export interface Restriction {
  cause: 'timelock' | 'token' | '';
  until?: number;
}

export async function restrictionOf(connection: Connection): Promise<Restriction> {
  try {
    const lock = await connection.sock.fetchAccountReachoutTimelock();
    if (lock.isActive !== true) return { cause: 'token' };
    const end = lock.timeEnforcementEnds?.getTime();
    return { cause: 'timelock', ...(end === undefined ? {} : { until: end / 1000 }) };
  } catch (error) {
    log('warning', 'restriction not told', { session: connection.session, kind: kindOf(error) });
    return { cause: '' };
  }
}

/**
 * Whether the contact's privacy token is there now: asked for once, unless another send's question brought it.
 * Undefined: the question was not answered, which says nothing of the contact.
 */
export async function hasToken(connection: Connection, chat: string): Promise<boolean | undefined> {
  const { sock } = connection;
  const { keys } = sock.authState;
  const lid = isLidUser(chat) ? chat : ((await sock.signalRepository.lidMapping.getLIDForPN(chat)) ?? chat);
  const stored = async () => (await keys.get('tctoken', [lid]))[lid];
  try {
    if (((await stored())?.token.length ?? 0) > 0) return true;
    const byLid = (sock as unknown as { serverProps?: { lidTrustedTokenIssueToLid?: boolean } }).serverProps?.lidTrustedTokenIssueToLid === true;
    const answer = await sock.issuePrivacyTokens([byLid ? lid : chat]);
    const token = tokenIn(answer as BinaryNode | undefined);
    if (token === undefined) return ((await stored())?.token.length ?? 0) > 0;
    const { t } = token.attrs;
    await keys.set({ tctoken: { [jidNormalizedUser(lid)]: { ...(await stored()), token: Buffer.from(token.content as Uint8Array), timestamp: t ?? '' } } });
    return true;
  } catch (error) {
    log('warning', 'privacy token query failed', { session: connection.session, kind: kindOf(error) });
    return undefined;
  }
}

function tokenIn(answer: BinaryNode | undefined): BinaryNode | undefined {
  const parts = (node: BinaryNode | undefined): BinaryNode[] => (Array.isArray(node?.content) ? node.content : []);
  const tokens = parts(answer).find(({ tag }) => tag === 'tokens');
  return parts(tokens).find(({ attrs, content }) => attrs['type'] === 'trusted_contact' && content instanceof Uint8Array && content.length > 0);
}
