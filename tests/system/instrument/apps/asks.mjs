// A Node.js service without packages that asks MIRROR for every request, by http.get or by fetch.
import http from 'node:http';

const { PORT, MIRROR } = process.env;

http.createServer(async (request, response) => {
  let said = '';
  if (request.url === '/orders/get') said = await new Promise((done, failed) => http.get(MIRROR, (answer) => { let text = ''; answer.on('data', (piece) => { text += piece; }).on('end', () => done(text)); }).on('error', failed));
  if (request.url === '/orders/fetch') said = await (await fetch(MIRROR)).text();
  if (request.url === '/orders/own') said = await (await fetch(MIRROR, { headers: { baggage: 'mine=1' } })).text();
  response.end(said);
}).listen(Number(PORT), '127.0.0.1');
