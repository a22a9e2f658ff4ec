import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Masked } from '../../src/base/masked.ts';
import { resolveConfig } from '../../src/config/config.ts';
import { COMMANDS, describeOptions, maskedConfig } from '../../src/config/print.ts';
import { configInput, problemsOf, TOKEN } from './input.ts';

const CLIENT_FLAGS = {
  url: 'wss://tunnel.example.com:8123',
  upstream: 'example.com=localhost:3000',
};

describe('the server configuration', () => {
  test('has the defaults of the contract', () => {
    const { token, tuning, ...rest } = resolveConfig(configInput('server'));
    assert.equal(token?.reveal(), TOKEN);
    assert.deepEqual(rest, {
      controlAddr: { host: '0.0.0.0', port: 8123 },
      autoTls: { folder: '/var/lib/sluiceway/tls', names: [] },
      httpAddr: { host: '0.0.0.0', port: 8000 },
      tcpHost: '0.0.0.0',
      tcpPorts: [{ first: 1024, last: 65_535 }],
      udpHost: '0.0.0.0',
      udpPorts: [{ first: 1024, last: 65_535 }],
      adminAddr: { host: '127.0.0.1', port: 9123 },
      shards: 3,
      reusePort: 'auto',
      drainDelayMs: 5000,
      drainTimeoutMs: 30_000,
      logLevel: 'info',
      logFormat: 'json',
      allowIps: [],
      denyIps: [],
      controlAllowIps: [],
      acceptProxyProtocol: [],
      trustedProxies: [],
      clientForwarding: [],
      linkSchemes: [],
      accessLog: false,
      limits: {
        connectionsPerAddressMax: 0,
        addressConnectionsPerSecondMax: 0,
        tunnelConnectionsMax: 0,
        requestsPerSecondMax: 0,
        addressRequestsPerSecondMax: 0,
        tunnelRequestsPerSecondMax: 0,
        tunnelBytesInPerSecondMax: 0,
        tunnelBytesOutPerSecondMax: 0,
        requestBodyBytesMax: 0,
      },
      memoryMax: 'auto',
      inspect: { tunnels: [], requestsMax: 100, bodyBytesMax: 0 },
      allowFaults: false,
    });
    assert.deepEqual(tuning, {
      windowInitialBytes: 256 * 1024,
      windowMaxBytes: 8 * 1024 * 1024,
      sessionMemoryMaxBytes: 64 * 1024 * 1024,
      frameMaxBytes: 256 * 1024,
      streamsPerLinkMax: 10_000,
      upstreamConnectTimeoutMs: 10_000,
      tcpIdleTimeoutMs: 0,
      udpIdleTimeoutMs: 120_000,
      halfCloseTimeoutMs: 3_600_000,
      linkPingIntervalMs: 10_000,
      linkDeadAfterMs: 30_000,
      visitorConnectionsMax: 0,
      udpFlowsMax: 4096,
      udpFlowsPerAddressMax: 1024,
      udpNewFlowsPerSecondMax: 2000,
      headerTimeoutMs: 10_000,
      bodyIdleTimeoutMs: 60_000,
      keepAliveTimeoutMs: 75_000,
      upstreamResponseTimeoutMs: 60_000,
    });
  });

  test('takes the machine into account where a default says so', () => {
    for (const [cores, shards] of [
      [1, 1],
      [2, 1],
      [8, 7],
      [256, 64],
    ] as const) {
      const defaults = { cores, logFormat: 'pretty' } as const;
      const config = resolveConfig(configInput('server', { defaults }));
      assert.equal(config.shards, shards);
      assert.equal(config.logFormat, 'pretty');
    }
  });

  test('refuses a fault without --allow-faults, and from anywhere but the environment', () => {
    const env = { SLUICEWAY_TOKEN: TOKEN, SLUICEWAY_FAULT: 'shard-throw:2' };
    assert.deepEqual(
      problemsOf(() => resolveConfig(configInput('server', { env }))),
      ['SLUICEWAY_FAULT (environment variable SLUICEWAY_FAULT): is refused without --allow-faults'],
    );
    const flags = { 'allow-faults': true };
    const config = resolveConfig(configInput('server', { env, flags }));
    assert.deepEqual(config.fault, { kind: 'shard-throw', afterMs: 2000 });
    const onCue = { ...env, SLUICEWAY_FAULT: 'shard-block:/tmp/cue' };
    const cued = resolveConfig(configInput('server', { env: onCue, flags }));
    assert.deepEqual(cued.fault, { kind: 'shard-block', file: '/tmp/cue' });
    const flag = configInput('server', { flags: { ...flags, fault: 'shard-oom:1' } });
    assert.match(problemsOf(() => resolveConfig(flag)).join(), /set SLUICEWAY_FAULT in the env/);
    for (const fault of [
      'shard-throw',
      'shard-throw:',
      'shard-throw:-1',
      'shard-throw:cue',
      'oom:1',
    ]) {
      const wrong = configInput('server', { env: { ...env, SLUICEWAY_FAULT: fault }, flags });
      assert.match(problemsOf(() => resolveConfig(wrong)).join(), /is not a fault; write shard-/);
    }
  });
});

describe('the client configuration', () => {
  test('has the defaults of the contract', () => {
    const { token, tuning, ...rest } = resolveConfig(
      configInput('client', { flags: CLIENT_FLAGS }),
    );
    assert.equal(token?.reveal(), TOKEN);
    assert.equal(tuning.headerTimeoutMs, 10_000);
    assert.equal(tuning.upstreamResponseTimeoutMs, 60_000);
    assert.deepEqual(rest, {
      urls: ['wss://tunnel.example.com:8123/connect'],
      trust: {
        autoTls: 'by-address',
        fingerprints: [],
        knownServers: '/var/lib/sluiceway/known-servers',
      },
      tunnels: [
        {
          name: 'example.com',
          kind: 'http',
          upstream: { host: 'localhost', port: 3000, tls: false },
          label: 'example.com=http://localhost:3000',
        },
      ],
      locals: [],
      json: false,
      health: { intervalMs: 10_000, timeoutMs: 5000, rise: 2, fall: 3 },
      localHost: '127.0.0.1',
      statusDir: '/var/lib/sluiceway/run',
      metricsAddr: 'off',
      links: 0,
      linkMask: 'auto',
      proxyProtocol: 'off',
      udpProxyProtocol: 'off',
      once: false,
      maxRetry: 0,
      shards: 1,
      drainTimeoutMs: 30_000,
      logLevel: 'info',
      logFormat: 'json',
    });
  });

  test('needs a server and a tunnel', () => {
    const problems = problemsOf(() => resolveConfig(configInput('client')));
    assert.deepEqual(
      problems.map((line) => line.slice(0, 23)),
      ['--url is required; give', 'a client needs a tunnel'],
    );
  });

  test('refuses the same name, port or server twice', () => {
    const flags = {
      url: ['ws://a:80', 'ws://A/connect'],
      upstream: ['a.example=b:1,A.Example.=c:1'],
      tcp: ['22=b:1', '22'],
    };
    assert.deepEqual(
      problemsOf(() => resolveConfig(configInput('client', { flags }))),
      [
        "--url (flag): 'ws://a/connect' is given twice",
        "--upstream (flag): 'a.example' is given twice",
        "--tcp (flag): 'tcp:22' is given twice",
      ],
    );
  });

  test('refuses more servers, tunnels and values than the bounds', () => {
    const many = (count: number, text: (index: number) => string) =>
      Array.from({ length: count }, (_, index) => text(index + 1));
    const cases = [
      [{ url: many(17, (index) => `ws://a:${index}`) }, /17 servers are too many; give at most 16/],
      [{ tcp: many(1001, String) }, /1002 tunnels are too many; give at most 1000/],
      [{ tcp: many(1025, String) }, /is the first of 1025 values; give at most 1024/],
    ] as const;
    for (const [flags, expected] of cases) {
      const input = configInput('client', { flags: { ...CLIENT_FLAGS, ...flags } });
      assert.match(problemsOf(() => resolveConfig(input)).join('\n'), expected);
    }
  });
});

describe('precedence', () => {
  const file = { path: 'a.yaml', text: 'drain-delay: 1s\ndrain-timeout: 1s\nshards: 11\n' };
  const env = {
    SLUICEWAY_TOKEN: TOKEN,
    SLUICEWAY_DRAIN_DELAY: '2s',
    SLUICEWAY_DRAIN_TIMEOUT: '2s',
  };

  test('is flag, environment, file, default', () => {
    const flags = { 'drain-delay': '3s' };
    const config = resolveConfig(configInput('server', { flags, env, file }));
    assert.equal(config.drainDelayMs, 3000);
    assert.equal(config.drainTimeoutMs, 2000);
    assert.equal(config.shards, 11);
    assert.equal(config.tcpHost, '0.0.0.0');
  });

  test('replaces a list as a whole, and a true by a false', () => {
    const list = { path: 'a.yaml', text: 'tcp: [1, 2]\nonce: true\n' };
    const flags = { ...CLIENT_FLAGS, tcp: ['3,4', '5'], once: false };
    const config = resolveConfig(configInput('client', { flags, file: list }));
    const names = config.tunnels.map(({ name }) => name);
    assert.deepEqual(names, ['example.com', 'tcp:3', 'tcp:4', 'tcp:5']);
    assert.equal(config.once, false);
  });

  test('a wrong value in a weaker source does not matter once it is replaced', () => {
    const wrong = { path: 'a.yaml', text: 'drain-delay: banana\n' };
    assert.equal(resolveConfig(configInput('server', { env, file: wrong })).drainDelayMs, 2000);
  });
});

describe('the environment', () => {
  const check = (env: Record<string, string>) =>
    resolveConfig(configInput('server', { env: { SLUICEWAY_TOKEN: TOKEN, ...env } }));

  test('what holds for TCP ports holds for UDP ports, unless they are given', () => {
    const tcp = { SLUICEWAY_TCP_ADDR: '127.0.0.1', SLUICEWAY_TCP_PORTS: '22' };
    const ofTcp = check(tcp);
    assert.equal(ofTcp.udpHost, '127.0.0.1');
    assert.deepEqual(ofTcp.udpPorts, [{ first: 22, last: 22 }]);
    assert.deepEqual(check({ SLUICEWAY_TCP_PORTS: 'off' }).udpPorts, []);
    const own = check({ ...tcp, SLUICEWAY_UDP_ADDR: '[::1]', SLUICEWAY_UDP_PORTS: '53,5353' });
    assert.equal(own.udpHost, '::1');
    assert.deepEqual(
      own.udpPorts.map(({ first }) => first),
      [53, 5353],
    );
    assert.deepEqual(check({ ...tcp, SLUICEWAY_UDP_PORTS: 'off' }).udpPorts, []);
    assert.deepEqual(check({ ...tcp, SLUICEWAY_UDP_PORTS: 'off' }).tcpPorts, ofTcp.tcpPorts);
  });

  test('separates values by commas or newlines', () => {
    const { tcpPorts } = check({ SLUICEWAY_TCP_PORTS: '22, 80-81\n443,\n' });
    assert.deepEqual(
      tcpPorts.map(({ first }) => first),
      [22, 80, 443],
    );
  });

  test('refuses an unknown variable and names the nearest', () => {
    assert.deepEqual(
      problemsOf(() => check({ SLUICEWAY_CONTROL_ADR: ':1' })),
      [
        "'SLUICEWAY_CONTROL_ADR' (environment): unknown variable; did you mean SLUICEWAY_CONTROL_ADDR?",
      ],
    );
  });

  test('refuses a variable that is set but empty', () => {
    assert.deepEqual(
      problemsOf(() => check({ SLUICEWAY_TCP_PORTS: '' })),
      ['--tcp-ports (environment variable SLUICEWAY_TCP_PORTS): is empty; give a value'],
    );
  });

  test('leaves alone what other commands, Kubernetes and the test suite set', () => {
    check({
      SLUICEWAY_UPSTREAM: 'example.com=nonsense',
      SLUICEWAY_PORT: 'tcp://10.0.0.1:8123',
      SLUICEWAY_PORT_8123_TCP: 'tcp://10.0.0.1:8123',
      SLUICEWAY_PORT_8123_TCP_ADDR: '10.0.0.1',
      SLUICEWAY_PORT_8123_TCP_PORT: '8123',
      SLUICEWAY_PORT_8123_TCP_PROTO: 'tcp',
      SLUICEWAY_DNS_PORT: 'udp://[2001:db8::1]:53',
      SLUICEWAY_DNS_SERVICE_HOST: '2001:db8::1',
      SLUICEWAY_SERVICE_HOST: '10.0.0.1',
      SLUICEWAY_SERVICE_PORT: '8123',
      SLUICEWAY_SERVICE_PORT_CONTROL: '8123',
      SLUICEWAY_CONTROL_SERVICE_HOST: '10.0.0.1',
      SLUICEWAY_SOAK_SECONDS: '20',
      PATH: '/bin',
    });
  });

  test('refuses what has the name of a variable of Kubernetes and another value', () => {
    const cases = {
      SLUICEWAY_TCP_PORT: '2222',
      SLUICEWAY_UDP_PORT: 'off',
      SLUICEWAY_PORT: '8123',
      SLUICEWAY_PORT_8123_TCP: '8123',
      SLUICEWAY_SERVICE_HOST: '@clients.txt',
      SLUICEWAY_SERVICE_PORT: '1024-65535',
    };
    for (const [variable, text] of Object.entries(cases)) {
      const [problem = '', ...others] = problemsOf(() => check({ [variable]: text }));
      assert.deepEqual(others, []);
      assert.match(problem, new RegExp(`^'${variable}' \\(environment\\): unknown variable`));
      if (/^SLUICEWAY_(TCP|UDP)/.test(variable)) assert.ok(problem.endsWith(`${variable}S?`));
    }
  });
});

describe('problems', () => {
  test('are collected from every source, each with its option and its origin', () => {
    const input = configInput('server', {
      flags: { 'contrl-addr': 'x', 'drain-delay': 'banana', constructor: 'x' },
      env: { SLUICEWAY_SHARDS: '0' },
      file: { path: 'a.yaml', text: 'http-addr: 8000\n' },
    });
    assert.deepEqual(
      problemsOf(() => resolveConfig(input)),
      [
        "'--contrl-addr' (flag): unknown option; did you mean --control-addr?",
        "'--constructor' (flag): unknown option",
        "--http-addr (a.yaml line 1, column 1): '8000' is not an address; write HOST:PORT, such as " +
          '0.0.0.0:8123, [::]:80 or :8000',
        "--shards (environment variable SLUICEWAY_SHARDS): '0' is too small; write 1 to 64",
        "--drain-delay (flag): 'banana' is not a duration; write 500ms, 10s, 5m or 1h",
        'a token is required: give --token-file FILE, --token-env NAME or --token TEXT',
      ],
    );
  });

  test('name both options of a broken relation', () => {
    const flags = {
      'window-initial': '16MiB',
      'link-ping-interval': '20s',
      'window-max': '128MiB',
    };
    assert.deepEqual(
      problemsOf(() => resolveConfig(configInput('server', { flags }))),
      [
        '--session-memory-max (default): 64MiB is less than --window-max (flag), 128MiB',
        '--link-dead-after (default): 30s is less than 2 times --link-ping-interval (flag), 20s',
      ],
    );
    const lower = { 'window-initial': '16MiB' };
    assert.match(
      problemsOf(() => resolveConfig(configInput('client', { flags: lower }))).join(),
      /--window-max \(default\): 8MiB is less than --window-initial \(flag\), 16MiB/,
    );
  });

  test('say of an empty list that it is one, whatever option and source it is of', () => {
    for (const command of COMMANDS) {
      for (const { name, flag, key, repeats } of describeOptions(command)) {
        const file = { path: 'a.yaml', text: `${name}: []\n` };
        const ways = {
          ...(key !== undefined && repeats
            ? { 'a.yaml line 1, column 1': configInput(command, { file }) }
            : {}),
          ...(flag === undefined ? {} : { flag: configInput(command, { flags: { [name]: [] } }) }),
        };
        for (const [origin, input] of Object.entries(ways)) {
          const problem = `--${name} (${origin}): is an empty list; give a value, or leave it out`;
          const problems = problemsOf(() => resolveConfig(input));
          assert.equal(problems.filter((line) => line === problem).length, 1, problems.join());
        }
      }
    }
  });

  test('are none for an empty list in a weaker source, once it is replaced', () => {
    const file = { path: 'a.yaml', text: 'allow-ips: []\n' };
    const flags = { 'allow-ips': ['10.0.0.0/8'] };
    assert.equal(resolveConfig(configInput('server', { file, flags })).allowIps.length, 1);
  });

  test('say when an option belongs to another command', () => {
    const input = configInput('client', { flags: { ...CLIENT_FLAGS, 'tcp-ports': '1' } });
    assert.deepEqual(
      problemsOf(() => resolveConfig(input)),
      ["'--tcp-ports' (flag): is an option of server, not of client"],
    );
  });

  test('show hostile values harmlessly', () => {
    const flags = { 'drain-delay': `\u001b[2J${'x'.repeat(500)}` };
    const line = problemsOf(() => resolveConfig(configInput('server', { flags }))).join();
    assert.ok(!line.includes('\u001b') && line.length < 200, line);
  });
});

describe('the resolved configuration', () => {
  test('is frozen through and through', () => {
    const config = resolveConfig(configInput('client', { flags: CLIENT_FLAGS }));
    assert.throws(() => Object.assign(config, { once: true }), TypeError);
    assert.throws(() => Object.assign(config.tuning, { frameMaxBytes: 1 }), TypeError);
    assert.ok(Object.isFrozen(config.tunnels[0]?.upstream));
  });

  test('can be cloned to another thread, all but the token', () => {
    for (const command of ['server', 'client'] as const) {
      const flags = command === 'client' ? CLIENT_FLAGS : {};
      const { token, ...rest } = resolveConfig(configInput(command, { flags }));
      assert.ok(token instanceof Masked);
      assert.deepEqual(structuredClone(rest), rest);
    }
  });

  test('is printed as a file that reads back as the same', () => {
    const flags = { ...CLIENT_FLAGS, tcp: ['22=[::1]:22'], once: true, 'tcp-idle-timeout': '90s' };
    const text = maskedConfig(configInput('client', { flags }));
    assert.match(text, /^tcp-idle-timeout: 90s$/m);
    assert.match(text, /^once: true$/m);
    const file = { path: 'a.yaml', text: text.replace(/^token: .*\n/m, '') };
    const again = resolveConfig(configInput('client', { file }));
    assert.deepEqual(again, resolveConfig(configInput('client', { flags })));
    const masked = configInput('client', { env: {}, file: { path: 'a.yaml', text } });
    assert.match(problemsOf(() => resolveConfig(masked)).join(), /stands for a masked one/);
  });
});

describe('a client with UDP tunnels alone', () => {
  const resolve = (more: Readonly<Record<string, string>>) =>
    resolveConfig(
      configInput('client', {
        flags: { url: CLIENT_FLAGS.url, udp: '5353=127.0.0.1:53', ...more },
      }),
    );

  test('needs no other tunnel, and has no health check by an option for all', () => {
    assert.deepEqual(
      resolve({}).tunnels.map(({ name, kind }) => [name, kind]),
      [['udp:5353', 'udp']],
    );
    const both = resolve({ tcp: '2222', 'health-check': 'tcp' });
    assert.deepEqual(
      both.tunnels.map(({ name, health }) => [name, health]),
      [
        ['tcp:2222', { kind: 'tcp' }],
        ['udp:5353', undefined],
      ],
    );
  });

  test('is told of options that mean nothing for it', () => {
    const problem = (more: Readonly<Record<string, string>>): string =>
      problemsOf(() => resolve(more)).join();
    assert.match(problem({ 'health-check': 'tcp' }), /--health-check .*and there is none/);
    assert.match(problem({ 'proxy-protocol': 'v2' }), /--proxy-protocol .*and there is none/);
    assert.match(problem({ 'basic-auth': 'a:b' }), /--basic-auth .*and there is none/);
    assert.match(problem({ udp: '5353=a:1,5353=b:1' }), /--udp .*'udp:5353' is given twice/);
  });
});

test('every option has a short help without a full stop', () => {
  for (const command of COMMANDS) {
    for (const option of describeOptions(command)) {
      assert.match(option.help, /^.{5,89}[^.]$/, option.name);
      assert.match(option.name, /^[a-z][a-z-]*$/);
    }
  }
});
