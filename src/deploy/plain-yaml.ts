// How what is printed is written as YAML, so that every reader takes it as it was meant.
//
// Invariant: docker-compose 1, kubectl and cloud-init read YAML 1.1, where a bare `off` is false
// and 22:22 a number to the base of 60; what any version would take for something else is in
// quotes. Must not know: what is written.

import type { CreateNodeOptions, DocumentOptions, SchemaOptions, ToStringOptions } from 'yaml';

export const PLAIN_YAML: DocumentOptions & SchemaOptions & CreateNodeOptions & ToStringOptions = {
  lineWidth: 0,
  compat: 'yaml-1.1',
};
