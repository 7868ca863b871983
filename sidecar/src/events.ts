// Events of one connection to the parent. What changes the session's state goes at once; what WhatsApp tells in bulk
// (history, contacts, presence) spends credits, which the parent gives back as it consumes.
import type { Channel } from './channel.ts';

export class EventQueue {
  private readonly channel: Channel;
  private readonly session: string;
  private readonly connection: number;
  private readonly onFull: (full: boolean) => void;
  private waiting: unknown[] = [];
  private credits: number;

  constructor(channel: Channel, session: string, connection: number, credits: number, onFull: (full: boolean) => void) {
    this.channel = channel;
    this.session = session;
    this.connection = connection;
    this.credits = credits;
    this.onFull = onFull;
  }

  put(type: string, value: unknown): void {
    this.channel.event([this.session, this.connection, type, value]);
  }

  /** Put under credits; without any, the event waits and the connection is told to stop reading. */
  putBulk(type: string, value: unknown): void {
    if (this.credits > 0) {
      this.credits--;
      this.put(type, value);
      return;
    }
    this.waiting.push([type, value]);
    if (this.waiting.length === 1) this.onFull(true);
  }

  credit(count: number): void {
    this.credits += count;
    const wasFull = this.waiting.length > 0;
    while (this.credits > 0 && this.waiting.length > 0) {
      const [type, value] = this.waiting.shift() as [string, unknown];
      this.credits--;
      this.put(type, value);
    }
    if (wasFull && this.waiting.length === 0) this.onFull(false);
  }
}
