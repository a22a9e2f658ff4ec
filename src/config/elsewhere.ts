// Files that options name and that are on another machine: a deployment is written for it here.
//
// Invariant: only a reader that says so itself throws this; a server or client that cannot read a
// file has a problem, as ever. Must not know: where the files are.

/** Thrown by `readFile` of a configuration whose files need not be on this machine. */
export class FileElsewhere extends Error {}
