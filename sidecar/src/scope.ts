// Who an asynchronous piece of work belongs to.
//
// Baileys starts promises that nobody awaits; when one of them fails, Node only tells the process. The scope says which
// connection it was, so that one bad frame closes one socket and not two hundred.
import { AsyncLocalStorage } from 'node:async_hooks';

export interface Owner {
  readonly session: string;
  fail(error: unknown): void;
}

export const scope = new AsyncLocalStorage<Owner>();
