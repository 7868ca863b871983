// What WhatsApp refused: the number of its `<error>`, for the parent, which knows what each number means.
import { ChannelError } from './channel.ts';

/** The number of WhatsApp's answer to a query, or 0: Baileys 7.0.0-rc14 `assertNodeErrorFree` puts it into `data`. */
export function refusalOf(error: unknown): number {
  const { data, isBoom } = (error ?? {}) as { data?: unknown; isBoom?: unknown };
  return isBoom === true && typeof data === 'number' && data >= 400 && data < 600 ? data : 0;
}

/** The error for the parent, or undefined where WhatsApp refused nothing. `what` was asked. */
export function asRefused(error: unknown, what: string): ChannelError | undefined {
  const number = refusalOf(error);
  return number === 0 ? undefined : new ChannelError('refused', `WhatsApp refused ${what} (${number}).`, number);
}
