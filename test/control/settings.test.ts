import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shardSettings, visitorSettings } from '../../src/control/settings.ts';
import { serverConfig } from '../support/configs.ts';

const FLAGS = {
  'visitor-connections-max': '10',
  'visitor-connections-per-ip-max': '10',
  'connections-per-second-per-ip-max': '9',
  'requests-per-second-max': '1',
  'tunnel-bytes-in-per-second-max': '1MiB',
  'request-body-max': '1MiB',
};

test('each accepting shard gets a share, rounded up, of what is of the whole server', async () => {
  const config = serverConfig(FLAGS);
  const { limits } = await visitorSettings(config, 4);
  assert.equal(limits.connectionsPerAddressMax, 3);
  assert.equal(limits.addressConnectionsPerSecondMax, 3);
  assert.equal(limits.requestsPerSecondMax, 1, 'a share of a limit is never none');
  assert.equal(limits.tunnelBytesInPerSecondMax, 256 * 1024);
  assert.equal(limits.requestBodyBytesMax, 1024 * 1024, 'of one request, so not divided');
  assert.equal(limits.tunnelConnectionsMax, 0, 'off stays off');
  assert.equal((await shardSettings(config, 'x', 4)).visitorConnectionsMax, 3);
});

test('a single shard that accepts has the whole limit', async () => {
  const config = serverConfig(FLAGS);
  assert.equal((await visitorSettings(config, 1)).limits.connectionsPerAddressMax, 10);
  assert.equal((await shardSettings(config, 'x', 1)).visitorConnectionsMax, 10);
});
