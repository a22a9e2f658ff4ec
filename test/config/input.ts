// Inputs for resolveConfig that are right in every way a test does not change.

import assert from 'node:assert/strict';
import { ConfigError } from '../../src/base/errors.ts';
import { InvalidText, type Kind } from '../../src/config/option.ts';
import type { ConfigInput } from '../../src/config/resolve.ts';
import type { Command } from '../../src/config/schema.ts';

export const TOKEN = 'correct-horse-battery-staple';

/** Has a token in the environment, unless `changes` brings an environment of its own. */
export function configInput<C extends Command>(
  command: C,
  changes: Partial<ConfigInput<C>> = {},
): ConfigInput<C> {
  return {
    command,
    flags: {},
    env: { SLUICEWAY_TOKEN: TOKEN },
    defaults: { cores: 4, logFormat: 'json' },
    readFile: (path) => {
      throw new Error(`the file ${path} does not exist`);
    },
    ...changes,
  };
}

export function problemsOf(run: () => unknown): readonly string[] {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.code, 'SLW_CONFIG_INVALID');
    return error.problems;
  }
  return assert.fail('nothing was wrong');
}

/** What `kind` makes of a text that is right. */
export function readText<T>(kind: Kind<T>, text: string): T {
  const value = kind.read(text);
  return value instanceof InvalidText ? assert.fail(`${text} ${value.message}`) : value;
}

/** What `kind` has against a text that is wrong. */
export function reasonOf<T>(kind: Kind<T>, text: string): string {
  const value = kind.read(text);
  return value instanceof InvalidText ? value.message : assert.fail(`${text} is accepted`);
}
