// Checks what the published package pulls in, from package.json and the lock file.
//
// Invariant: a new package, and a script that runs at installation, is noticed before it lands.
// Must not know: the network; only what the lock file says.

export interface LockEntry {
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly devOptional?: boolean;
  readonly peer?: boolean;
  readonly hasInstallScript?: boolean;
  readonly integrity?: string;
  /** Platforms of a build for some only. */
  readonly os?: readonly string[];
}

export interface LockFile {
  readonly packages: Readonly<Record<string, LockEntry>>;
}

export interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** Paths of the packages that `npm install --omit=dev --omit=optional` brings. */
export function productionPackages(lock: LockFile): string[] {
  return Object.entries(lock.packages)
    .filter(([path]) => path !== '')
    .filter(([, entry]) => !(entry.dev || entry.optional || entry.devOptional))
    .map(([path]) => path);
}

export function supplyProblems(
  manifest: Manifest,
  lock: LockFile,
  allowed: { readonly packages: readonly string[]; readonly countMax: number },
): string[] {
  const unknown = Object.keys(manifest.dependencies ?? {})
    .filter((name) => !allowed.packages.includes(name))
    .map((name) => `package.json: ${name} is in no row of the package table`);
  const shipped = productionPackages(lock);
  const scripted = shipped
    .filter((path) => lock.packages[path]?.hasInstallScript === true)
    .map((path) => `${path}: runs a script at installation: leave it out or make it optional`);
  // Optional ones too, but for other platforms' builds: no machine of ours fetched those.
  const loose = Object.entries(lock.packages)
    .filter(([path, entry]) => path !== '' && entry.integrity === undefined && !entry.os)
    .map(([path]) => `${path}: the lock file has no integrity for it`);
  const many =
    shipped.length > allowed.countMax
      ? [`${shipped.length} packages are shipped, at most ${allowed.countMax}: argue for each`]
      : [];
  return [...unknown, ...scripted, ...loose, ...many];
}
