/** A real headless Chromium: Debian's, unpacked into the user's cache, with a typeface of its own so that screenshots are alike. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser } from 'playwright-core';
import { obtainFolder } from '../../test/cached-folder.js';
import { unpackPackages } from '../debian-packages.js';

export function obtainChromium(): Promise<string> {
  return obtainFolder('chromium', (path) =>
    unpackPackages(path, ['chromium', 'fonts-inter']),
  );
}

export interface StartedChromium extends AsyncDisposable {
  readonly browser: Browser;
}

export async function startChromium(): Promise<StartedChromium> {
  const folder = await obtainChromium();
  const settings = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-chromium-'));
  const fonts = join(settings, 'fonts.conf');
  await writeFile(
    fonts,
    `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${join(folder, 'usr/share/fonts')}</dir>
  <cachedir>${join(settings, 'cache')}</cachedir>
  <match target="pattern"><edit name="family" mode="append_last"><string>Inter</string></edit></match>
</fontconfig>
`,
  );
  const libraries = join(folder, 'usr/lib');
  const found = await readdir(libraries, { recursive: true });
  const paths = new Set(
    found
      .filter((path) => /\.so(\.\d+)*$/.test(path))
      .map((path) => join(libraries, path, '..')),
  );
  const browser = await chromium.launch({
    // As root Chromium has no sandbox; the pages are of these tests only.
    chromiumSandbox: false,
    executablePath: join(folder, 'usr/lib/chromium/chromium'),
    env: {
      ...process.env,
      HOME: settings,
      FONTCONFIG_FILE: fonts,
      LD_LIBRARY_PATH: [...paths].join(':'),
    },
  });
  return {
    browser,
    [Symbol.asyncDispose]: async () => {
      await browser.close();
      await rm(settings, { recursive: true, force: true });
    },
  };
}
