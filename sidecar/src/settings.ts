// What the parent tells this process once, in its first request. Times are in seconds, already scaled for tests.
import { WA_CERT_DETAILS, type WAVersion } from 'baileys';

export interface Settings {
  whatsapp_url: string;
  root_key: Uint8Array | null;
  wa_version: number[] | null;
  browser: string;
  keepalive: number;
  liveness: number;
  connect_timeout: number;
  send_timeout: number;
  query_timeout: number;
  close_timeout: number;
  proved_every: number;
  first_qr: number;
  next_qr: number;
  cache_bytes: number;
  credits: number;
}

export function versionOf(settings: Settings): { version?: WAVersion } {
  const parts = settings.wa_version;
  return parts?.length === 3 ? { version: parts as WAVersion } : {};
}

/** Trust another Noise root than WhatsApp's: Baileys reads this exported object at each handshake. */
export function trust(settings: Settings): void {
  if (settings.root_key !== null) WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(settings.root_key);
}
