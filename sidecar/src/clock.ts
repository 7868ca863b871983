// The boot clock: seconds that never jump and that go on while the host sleeps, so that a grant lapses in suspend too.
import { openSync, readSync } from 'node:fs';

const buffer = Buffer.alloc(64);
let uptime: number | null;
try {
  uptime = openSync('/proc/uptime', 'r');
} catch {
  uptime = null;
}

/** Seconds since boot, suspended time included (Linux); elsewhere the monotonic clock. Rounded down to 10 ms. */
export function boot(): number {
  if (uptime === null) return performance.now() / 1000;
  try {
    const length = readSync(uptime, buffer, 0, buffer.length, 0);
    return Number.parseFloat(buffer.toString('latin1', 0, length));
  } catch {
    uptime = null;
    return performance.now() / 1000;
  }
}

/** Not before what the boot clock really shows: a deadline that is held to it is never kept too late. */
export function bootAtMost(): number {
  return boot() + 0.01;
}

/** Seconds on the monotonic clock, for everything but grants: cheap, but stands still in suspend. */
export function monotonic(): number {
  return performance.now() / 1000;
}
