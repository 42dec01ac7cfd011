// A Node.js service without packages, which calls itself for every request, by http.get and by fetch.
import http from 'node:http';

const { PORT } = process.env;
const base = `http://127.0.0.1:${PORT}`;

http.createServer(async (request, response) => {
  if (request.url.startsWith('/orders')) {
    const { traceparent } = request.headers; // the habit of an app that passes headers on
    await new Promise((done, failed) => http.get(new URL(`${base}/inner`), { headers: { traceparent } }, (answer) => answer.resume().on('end', done)).on('error', failed));
    await (await fetch(`${base}/fetched`)).text();
    response.on('close', () => console.log(`order ${request.url} printed`));
  }
  response.end('ok');
}).listen(Number(PORT), '127.0.0.1');
