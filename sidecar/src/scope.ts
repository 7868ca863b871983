// Who an asynchronous piece of work belongs to.
//
// Baileys starts promises that nobody awaits; when one of them fails, Node only tells the process. The scope says which
// connection it was, so that one bad frame closes one socket and not two hundred.
import { AsyncLocalStorage } from 'node:async_hooks';

import type { Route } from './routes.ts';

export interface Owner {
  readonly session: string;
  /** Its way through a proxy; none: connections are direct. */
  readonly route?: Route | null;
  fail(error: unknown): void;
}

export const scope = new AsyncLocalStorage<Owner>();
