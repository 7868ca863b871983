// Why a connection ended: WhatsApp's own elements first, then the socket's error, then Baileys' number.
//
// Baileys alone would hide much: a removed device without a code becomes 440, a refused upgrade 20 s of silence and 408.
import type { BinaryNode } from 'baileys';

import { ProxyError } from './routes.ts';

export interface Reason {
  code: number;
  tag: string;
  attrs: Record<string, string>;
  detail: string;
}

export function reason(code: number, tag: string, detail: string, attrs: Record<string, string> = {}): Reason {
  return { code, tag, attrs, detail };
}

/** `<stream:error code=…><conflict type="device_removed"/></stream:error>` and its kin. */
export function fromStreamError(node: BinaryNode, baileysCode: number): Reason {
  const child = Array.isArray(node.content) ? node.content[0] : undefined;
  const attrs = { ...node.attrs, ...child?.attrs };
  let tag = child?.tag ?? 'stream:error';
  if (tag === 'conflict') tag = child?.attrs['type'] ?? tag;
  if (baileysCode === 515) tag = 'restart_required';
  return reason(baileysCode, tag, `WhatsApp ended the stream (${tag}).`, attrs);
}

/** `<failure reason="402" expire="…"/>` in place of `<success>`. */
export function fromFailure(node: BinaryNode): Reason {
  const code = Number(node.attrs['reason'] ?? 500);
  return reason(code, 'failure', `WhatsApp refused the login (${code}).`, { ...node.attrs });
}

export function fromUpgrade(status: number): Reason {
  return reason(status, 'upgrade', `The server answered the connection with HTTP ${status}.`, { status: String(status) });
}

const DNS: ReadonlySet<string> = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EAI_NODATA', 'EAI_NONAME']);
const REFUSED: ReadonlySet<string> = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'EADDRNOTAVAIL']);
const TLS = /^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_OSSL|EPROTO|HOSTNAME_MISMATCH|CRL_)/;

export function fromSocketError(error: unknown): Reason {
  if (error instanceof ProxyError) return reason(0, 'proxy', error.message, { proxy: error.proxy, why: error.why });
  const failure = error as { code?: unknown; message?: unknown; errors?: { code?: unknown }[] };
  const code = String(failure.code ?? failure.errors?.[0]?.code ?? '');
  if (DNS.has(code)) return reason(0, 'dns', `The server's name could not be resolved (${code}).`);
  if (REFUSED.has(code)) return reason(0, 'refused', `The server could not be reached (${code}).`);
  if (TLS.test(code)) return reason(0, 'tls', `The secure connection failed (${code}).`);
  if (failure.message === 'Opening handshake has timed out') {
    return reason(408, 'timeout', 'The server did not answer the connection in time.');
  }
  return reason(428, 'socket', code === '' ? 'The connection broke.' : `The connection broke (${code}).`);
}

/** Baileys' own number, from the Boom error with which it ended the socket. */
export function codeOf(error: unknown): number {
  const status = (error as { output?: { statusCode?: unknown } } | undefined)?.output?.statusCode;
  return typeof status === 'number' ? status : 0;
}

export function fromBaileys(error: unknown): Reason {
  const code = codeOf(error);
  const words = (error as { message?: unknown } | undefined)?.message;
  if (words === 'QR refs attempts ended') return reason(code, 'refs', 'The pairing refs were used up.');
  return reason(code, 'socket', code === 0 ? 'The connection ended.' : `The connection ended (${code}).`);
}
