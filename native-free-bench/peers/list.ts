// All peers that the bench knows, in the order of its columns.
//
// To add one: a file with an adapter (peer.ts says what it must do) and its name here.
// Must not know: how each is started.

import { bore } from './bore.ts';
import { chisel } from './chisel.ts';
import { frp, frpTls } from './frp.ts';
import { haproxy } from './haproxy.ts';
import type { Peer } from './peer.ts';
import { rathole } from './rathole.ts';
import { ssh } from './ssh.ts';
import { wstunnel } from './wstunnel.ts';

export const PEERS: readonly Peer[] = [haproxy, rathole, bore, wstunnel, frp, frpTls, chisel, ssh];
