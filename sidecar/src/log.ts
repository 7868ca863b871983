// Log lines for the parent: one JSON object a line on stderr, and only fields that can hold no key and no message text.
//
// The parent drops every line that does not begin with the mark, so whatever a library prints by itself goes nowhere.
import { writeSync } from 'node:fs';

export type Level = 'debug' | 'info' | 'warning' | 'error';

const MARK = 1;

export function log(level: Level, event: string, facts: Record<string, string | number | boolean | undefined> = {}): void {
  try {
    writeSync(2, `${JSON.stringify({ holdfast: MARK, level, event, ...facts })}\n`);
  } catch {
    // The parent is gone or its pipe is full; a log line is never worth a crash.
  }
}

/** The kind of an error, without its text, which may quote what was being read. */
export function kindOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' ? `${error.name}:${code}` : error.name;
}

/** Where an error came from: function names and line numbers of the topmost frames, no values. */
export function placeOf(error: unknown): string {
  if (!(error instanceof Error) || error.stack === undefined) return '';
  const frames = error.stack.split('\n').filter((line) => line.trimStart().startsWith('at '));
  return frames
    .slice(0, 3)
    .map((line) => line.trim().replace(/^at /, '').replace(/\(?(file:\/\/)?\/.*\//, '('))
    .join(' < ');
}

/** What Baileys calls a logger: it tells message contents and keys, so nothing of it leaves the process. */
export const quiet = {
  level: 'silent',
  child: () => quiet,
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
