// The storefront on 127.0.0.1:$PORT: the page, and what the page needs in one answer. Node.js without packages.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { getJson, passedOn, passThrough } from './upstream.mjs';

const { PORT, CATALOG_URL, RECOMMENDATIONS_URL, ORDERS_URL } = process.env;
const file = (name, type) => ({ type, body: readFileSync(new URL(`public/${name}`, import.meta.url)) });
const files = {
  '/': file('index.html', 'text/html; charset=utf-8'),
  '/shop.css': file('shop.css', 'text/css; charset=utf-8'),
  '/shop.js': file('shop.js', 'text/javascript; charset=utf-8'),
  '/pictures.js': file('pictures.js', 'text/javascript; charset=utf-8'),
  '/favicon.svg': file('favicon.svg', 'image/svg+xml'),
};
// The page orders through us; the rest the gateway sends straight to its services, here for whoever runs us without one.
const passed = { '/checkout': `${ORDERS_URL}/orders`, '/api/catalog': CATALOG_URL, '/api/recommendations': `${RECOMMENDATIONS_URL}/recommendations`, '/api/orders': `${ORDERS_URL}/orders` };
const SAFE = {
  'content-security-policy': "default-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:",
  'x-content-type-options': 'nosniff',
};

function send(response, status, type, body, headers = {}) {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body), ...headers });
  response.end(body);
}
const json = (response, status, body) =>
  send(response, status, status < 400 ? 'application/json' : 'application/problem+json', JSON.stringify(body));
const problem = (response, status, title, detail) => json(response, status, { type: 'about:blank', title, status, detail });

/** The home page's data in one answer: the catalog is needed, the rest is named in `degraded` when it is away. */
async function home(customer, headers) {
  const who = `customer=${encodeURIComponent(customer)}`;
  const degraded = [];
  const optional = (name, call) => call.catch((error) => (degraded.push(name), log(`${name} is away: ${error.message}`), {}));
  const [catalog, recommended, history] = await Promise.all([
    getJson(new URL(`${CATALOG_URL}/products`), headers),
    optional('recommendations', getJson(new URL(`${RECOMMENDATIONS_URL}/recommendations?${who}`), headers)),
    customer ? optional('orders', getJson(new URL(`${ORDERS_URL}/orders?${who}&limit=5`), headers)) : {},
  ]);
  degraded.push(...(recommended.degraded ?? []).filter((name) => !degraded.includes(name)));
  const recommendations = (recommended.recommendations ?? []).slice(0, 6);
  return { products: catalog.products, recommendations, orders: history.orders ?? [], degraded };
}

async function answer(request, response) {
  const url = new URL(request.url, 'http://storefront');
  const prefix = Object.keys(passed).find((path) => url.pathname === path || url.pathname.startsWith(`${path}/`));
  if (prefix) {
    const target = new URL(passed[prefix] + url.pathname.slice(prefix.length) + url.search);
    return passThrough(target, request, response, (error) => problem(response, 502, 'The service cannot be reached', error.message));
  }
  if (!['GET', 'HEAD'].includes(request.method)) return problem(response, 405, 'Only GET here');
  if (files[url.pathname]) {
    const { type, body } = files[url.pathname];
    return send(response, 200, type, body, { ...SAFE, 'cache-control': 'no-cache' });
  }
  if (url.pathname === '/healthz') return json(response, 200, { status: 'ok' });
  if (url.pathname !== '/api/home') return problem(response, 404, 'Not found');
  const customer = (url.searchParams.get('customer') ?? '').slice(0, 100);
  try {
    json(response, 200, await home(customer, passedOn(request.headers)));
  } catch (error) {
    problem(response, 503, 'The catalog cannot be reached', error.message);
  }
}

const log = (line) => process.stdout.write(`${line}\n`);

const server = http.createServer((request, response) => {
  const started = performance.now();
  response.on('close', () => {
    const status = response.writableFinished ? response.statusCode : 499; // 499: the client left
    if (request.url === '/healthz' && status === 200) return; // a passing check every second is no news
    const id = request.headers['x-request-id'] ?? '-';
    log(`${request.method} ${request.url} ${status} ${(performance.now() - started).toFixed(1)}ms id=${id}`);
  });
  answer(request, response).catch((error) => {
    log(`bug: ${error.stack}`);
    if (!response.headersSent) problem(response, 500, 'Something is wrong on our side');
  });
});
server.keepAliveTimeout = 75_000; // ms; longer than a proxy keeps an idle connection, so it never meets a closed one
server.requestTimeout = 300_000; // ms for a whole request, uploads included

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    server.close(() => process.exit(0)); // takes no new connections and waits for what is being answered
    setInterval(() => server.closeIdleConnections(), 50).unref();
    setTimeout(() => process.exit(0), 10_000).unref();
  });
}
server.listen(Number(PORT), '127.0.0.1', () => log(`storefront listens on 127.0.0.1:${PORT}`));
