// Server acknowledgements of messages that are being sent, by message id.
//
// Baileys' `sendMessage` resolves when the stanza was written; only `<ack class="message">` says that WhatsApp has it.
export interface ServerAck {
  error: number;
  at: number;
}

interface Waiting {
  resolve(ack: ServerAck): void;
  reject(): void;
}

export class Acks {
  private readonly waiting = new Map<string, Waiting>();

  /** Resolves with the server's answer to `id`; rejects when the connection ends without one. */
  wait(id: string): Promise<ServerAck> {
    this.waiting.get(id)?.reject();
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject: () => reject(new Error('no ack')) }));
  }

  forget(id: string): void {
    this.waiting.delete(id);
  }

  /** Whether somebody waited for this answer of the server's. */
  settle(attrs: Record<string, string | undefined>): boolean {
    const id = attrs['id'] ?? '';
    const waiting = this.waiting.get(id);
    if (waiting === undefined) return false;
    this.waiting.delete(id);
    const at = Number(attrs['t'] ?? 0);
    waiting.resolve({ error: Number(attrs['error'] ?? 0) || (attrs['error'] === undefined ? 0 : 500), at });
    return true;
  }

  /** The connection ended: whatever is not acknowledged now is in doubt. */
  abandon(): void {
    for (const waiting of this.waiting.values()) waiting.reject();
    this.waiting.clear();
  }
}
