// Crash points, for tests only: the process ends itself at a named point of the code, as by `kill -9`.
//
// Off unless HOLDFAST_CRASH_FILE names a file. A test arms a point by writing its name into it; the first process that
// comes by takes the file away and dies. The twin is src/holdfast/crash.py.
import { readFileSync, renameSync } from 'node:fs';

const file = process.env['HOLDFAST_CRASH_FILE'] ?? '';

/** Whether tests may ask for a crash: nothing is looked at otherwise. */
export const crashing = file !== '';

/** Die here if a test asked for it. */
export function crashPoint(name: string): void {
  if (crashing) strike(name);
}

function strike(name: string): void {
  try {
    if (readFileSync(file, 'utf8').trim() !== name) return;
    renameSync(file, `${file}.struck`);
  } catch {
    return; // not armed, or another process was faster
  }
  process.kill(process.pid, 'SIGKILL');
}
