// A real Chromium that a test drives, and what went wrong in its pages.
//
// Invariant: what a page complains of, and whom it asks, is noted from its first byte on. Must not
// know: which pages.

import type { TestContext } from 'node:test';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { undoAfter } from './cleanup.ts';
import { requirePrograms } from './programs.ts';

/** Tests run as root in containers, where Chromium's own sandbox cannot be set up. */
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'];

/** Skips, or fails in CI, without the program. */
export async function startBrowser(
  t: TestContext,
  more: readonly string[] = [],
): Promise<Browser | undefined> {
  const programs = requirePrograms(t, ['chromium']);
  if (programs === undefined) return undefined;
  const args = [...ARGS, ...more];
  const browser = await chromium.launch({ executablePath: programs.chromium, args });
  undoAfter(t, () => browser.close());
  return browser;
}

export interface WatchedPage {
  readonly page: Page;
  readonly context: BrowserContext;
  /** Errors and warnings of the console, uncaught errors, and requests that failed. */
  readonly complaints: string[];
  /** Hosts, with ports, that were asked. */
  readonly hosts: Set<string>;
}

export interface PageOptions {
  readonly width: number;
  readonly height: number;
  readonly colorScheme?: 'light' | 'dark';
  readonly headers?: Readonly<Record<string, string>>;
  /** Certificates of a test, which nobody knows. */
  readonly trustsEveryCertificate?: boolean;
}

export async function openPage(browser: Browser, options: PageOptions): Promise<WatchedPage> {
  const { width, height, colorScheme = 'light', headers = {} } = options;
  const { trustsEveryCertificate: ignoreHTTPSErrors = false } = options;
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme,
    extraHTTPHeaders: headers,
    ...{ locale: 'en-GB', ignoreHTTPSErrors },
  });
  const page = await context.newPage();
  const complaints: string[] = [];
  const hosts = new Set<string>();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => {
    complaints.push(`${request.url()} ${request.failure()?.errorText}`);
  });
  page.on('request', (request) => hosts.add(new URL(request.url()).host));
  return { page, context, complaints, hosts };
}
