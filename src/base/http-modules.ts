// Node's http and https, without what an import of them would load.
//
// An ES import of a built-in module reads every one of its exports. Those of http are lazy in part
// (WebSocket, MessageEvent), and reading them loads Node's own fetch, HTTP/2 and web streams: 3 MB
// of heap in each thread and as much of Node's code. Invariant: nobody else imports the two but for
// types, which test/tidy keeps. Must not know: who asks whom.

export const http = process.getBuiltinModule('node:http');
export const https = process.getBuiltinModule('node:https');
