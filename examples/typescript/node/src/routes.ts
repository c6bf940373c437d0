// A server with a few paths on plain `node:http`. Any framework that takes Node's listeners would do as well.

import http from "node:http";

/** Serves listeners by path at `PORT`, or 3000. */
export function listen(routes: Record<string, http.RequestListener>): void {
  const port = process.env.PORT ?? "3000";
  const server = http.createServer((req, res) => {
    const { pathname } = new URL(req.url ?? "/", "http://localhost");
    const route = routes[pathname];
    if (route) route(req, res);
    else res.writeHead(404).end("not found\n");
  });
  server.listen(port, () => console.log(`listens on http://localhost:${port}: ${Object.keys(routes).join(" ")}`));
}

/** A query parameter, or what stands in for it. */
export function query(req: Request, name: string, otherwise: string): string {
  return new URL(req.url).searchParams.get(name) ?? otherwise;
}
