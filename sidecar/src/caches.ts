// A cache for Baileys without a timer of its own: its default one starts five timers a socket.
import type { CacheStore } from 'baileys';

import { monotonic } from './clock.ts';

export class TtlCache implements CacheStore {
  private readonly entries = new Map<string, { value: unknown; until: number }>();
  private readonly ttl: number;
  private readonly limit: number;

  constructor(ttlSeconds: number, limit: number) {
    this.ttl = ttlSeconds;
    this.limit = limit;
  }

  get<T>(key: string): T | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.until > monotonic()) return entry.value as T;
    this.entries.delete(key);
    return undefined;
  }

  set<T>(key: string, value: T): void {
    this.entries.delete(key);
    this.entries.set(key, { value, until: monotonic() + this.ttl });
    for (const oldest of this.entries.keys()) {
      if (this.entries.size <= this.limit) break;
      this.entries.delete(oldest);
    }
  }

  del(key: string): void {
    this.entries.delete(key);
  }

  flushAll(): void {
    this.entries.clear();
  }
}
