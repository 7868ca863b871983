// Pairing by code: Baileys sends the request and does not wait for the answer; whether WhatsApp accepted it is seen here.
import type { BinaryNode, WASocket } from 'baileys';

import { ChannelError } from './channel.ts';

const ACCEPTED = 'CB:iq,type:result,link_code_companion_reg';
const REFUSED = 'CB:iq,type:error';

/** The code that WhatsApp accepted for `phone`. Rejects with `pairing_refused` or `not_connected`. */
export async function askCode(sock: WASocket, phone: string, timeout: number): Promise<string> {
  const { ws } = sock;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const accepted = (): void => resolve();
  const refused = (node: BinaryNode): void => {
    const error = Array.isArray(node.content) ? node.content.find((child) => child.tag === 'error') : undefined;
    const words = `${error?.attrs['code'] ?? ''} ${error?.attrs['text'] ?? ''}`.trim();
    reject(new ChannelError('pairing_refused', `WhatsApp refused the pairing code request${words === '' ? '' : ` (${words})`}.`));
  };
  const ended = (): void => reject(new ChannelError('not_connected', 'The connection ended before the code was accepted.'));
  const timer = setTimeout(() => {
    reject(new ChannelError('pairing_refused', 'WhatsApp did not answer the pairing code request.'));
  }, timeout * 1000);
  ws.on(ACCEPTED, accepted);
  ws.on(REFUSED, refused);
  ws.on('close', ended);
  try {
    const [code] = await Promise.all([sock.requestPairingCode(phone), promise]);
    return code;
  } catch (error) {
    throw error instanceof ChannelError ? error : new ChannelError('not_connected', 'The connection is gone.');
  } finally {
    clearTimeout(timer);
    ws.off(ACCEPTED, accepted);
    ws.off(REFUSED, refused);
    ws.off('close', ended);
  }
}
