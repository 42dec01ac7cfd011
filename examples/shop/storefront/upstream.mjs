// Calls to the other services: JSON with a time limit, and pass-through of whole requests. Only node:http.
import http from 'node:http';
import { pipeline } from 'node:stream';

const TIMEOUT = 2000; // ms for a JSON answer
const QUIET = 30000; // ms without a byte before a passed-through request is given up
const LARGEST = 4 * 1024 * 1024; // bytes of JSON we are ready to read
const PASSED_ON = ['traceparent', 'tracestate', 'x-request-id'];
const HOP_BY_HOP = ['connection', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'proxy-connection'];
const agent = new http.Agent({ keepAlive: true, timeout: 4000, maxSockets: 256 }); // 4 s: gone before the other end closes it

/** The headers that make our calls part of the caller's trace. */
export const passedOn = (headers) =>
  Object.fromEntries(PASSED_ON.filter((name) => headers[name]).map((name) => [name, headers[name]]));

/** GET JSON; rejects when the service cannot be reached, is slow, or does not answer 2xx. */
export function getJson(url, headers, again = true) {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent, headers, signal: AbortSignal.timeout(TIMEOUT) }, (answer) => {
      const pieces = [];
      let size = 0;
      answer.on('data', (piece) => {
        size += piece.length;
        if (size > LARGEST) request.destroy(new Error('the answer is too long'));
        pieces.push(piece);
      });
      answer.on('error', reject);
      answer.on('end', () => {
        if (answer.statusCode !== 200) return reject(new Error(`${url.pathname}: ${answer.statusCode}`));
        try {
          resolve(JSON.parse(Buffer.concat(pieces).toString()));
        } catch (error) {
          reject(error);
        }
      });
    });
    request.on('error', (error) => {
      // a kept connection may be closed just as we use it; that one is worth a second try
      if (again && request.reusedSocket && error.code === 'ECONNRESET') resolve(getJson(url, headers, false));
      else reject(error);
    });
  });
}

const endToEnd = (headers) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_BY_HOP.includes(name)));

/** Send a request on as it is and stream the answer back, both ways; `fail` answers when nobody is there. */
export function passThrough(url, request, response, fail) {
  const headers = { ...endToEnd(request.headers), host: url.host };
  const onward = http.request(url, { agent, method: request.method, headers, timeout: QUIET }, (answer) => {
    response.writeHead(answer.statusCode, endToEnd(answer.headers));
    response.flushHeaders(); // an event stream begins before its first event
    pipeline(answer, response, () => {});
  });
  onward.on('timeout', () => onward.destroy(new Error('no answer in time')));
  onward.on('error', (error) => (response.headersSent ? response.destroy() : fail(error)));
  response.on('close', () => onward.destroy());
  pipeline(request, onward, () => {});
}
