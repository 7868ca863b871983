// Tests kill the process at a named point of the code, to prove that nothing is lost there. Never set in production.
const point = process.env['HOLDFAST_CRASH_AT'] ?? '';

/** Die as by `kill -9` if tests asked for it at this point. */
export function crashPoint(name: string): void {
  if (name === point) process.kill(process.pid, 'SIGKILL');
}
