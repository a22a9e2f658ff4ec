// The name of the dashboard's session cookie: that of its port, and behind `__Host-` over https.
//
// Invariant: browsers tell cookies apart by host and not by port, and send one that was set in the
// clear over https, too; so a cookie says which port and scheme it is of, and whoever passes
// visitors' requests on keeps back those of others than they came to. Must not know: what a session
// is worth.

/** Begins the name; `_PORT` follows where the address has one. */
export const DASHBOARD_COOKIE = 'sluiceway_session';
const PORT = /:(\d{1,5})$/;

/** Of a host with its port, or without. */
export function dashboardCookieOf(authority: string): string {
  const port = PORT.exec(authority)?.[1];
  return port === undefined ? DASHBOARD_COOKIE : `${DASHBOARD_COOKIE}_${port}`;
}
