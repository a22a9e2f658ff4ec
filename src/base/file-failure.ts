// Says in words why a file or a folder cannot be used.
//
// Invariant: the system's own code stands behind the words, for who searches for it; a path of our
// own making, such as that of a temporary file, is never named. Must not know: which file it is.

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist, or its folder does not',
  ENOTDIR: 'a part of its path is a file, not a folder',
  EISDIR: 'it is a folder, not a file',
  EEXIST: 'it is a file, not a folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
};

/** `it is a folder, not a file (EISDIR)`; what has no words here, in its own. */
export function describeFileFailure(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const { code = '' }: NodeJS.ErrnoException = cause;
  return Object.hasOwn(WORDS, code) ? `${WORDS[code]} (${code})` : cause.message;
}
