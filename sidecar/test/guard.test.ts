// What the guard does to timers; the clock is moved, so it must be there before the guard.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

mock.timers.enable({ apis: ['setTimeout'] });
await import('../src/guard.ts');
const { scope } = await import('../src/scope.ts');

test('a timer knows whose it is and what it was given, however long it is', () => {
  const owner = { session: 'a', fail: () => undefined };
  const seen: unknown[] = [];
  const see = (delay: number): void => void seen.push([delay, scope.getStore()]);
  scope.run(owner, () => setTimeout(see, 300_000, 300_000));
  setTimeout(see, 400_000, 400_000);
  clearTimeout(scope.run(owner, () => setTimeout(see, 350_000, 350_000)));
  mock.timers.tick(299_999);
  assert.deepEqual(seen, []);
  mock.timers.tick(200_000);
  assert.deepEqual(seen, [[300_000, owner], [400_000, undefined]]);
});
