// Spans of a Node.js service that has no OpenTelemetry of its own: of the requests it answers and the calls it makes, and
// which of its printed lines belong to which. Loaded by NODE_OPTIONS before anything of the service, without any package.
// Bounded, and quiet: a fault of ours, or a telemetry process that is away, is no matter of the service's.
'use strict';

const LIMIT = 4096; // spans, and lines, that wait at most; the rest is dropped
const BATCH = 512; // items of one request
const DELAY = 200; // ms that items are gathered
const TIMEOUT = 2000; // ms the receiver may take
const LINE_MOST = 8192; // characters of a printed line
const SERVER = 2, CLIENT = 3, ERROR = 2;

function begin() {
  const environ = process.env;
  if (environ.ATOLL_OTEL !== 'on' || !environ.OTEL_EXPORTER_OTLP_ENDPOINT) return;
  const http = require('http'), https = require('https');
  const { AsyncLocalStorage } = require('async_hooks');
  const { randomBytes } = require('crypto');
  const serving = new AsyncLocalStorage(); // the span of what is being answered; null: it is no news
  const outbox = new Outbox(environ, http.request, https.request);
  const quiet = environ.ATOLL_OTEL_QUIET || '';

  function start(kind, name, parent, attributes) {
    return {
      traceId: parent ? parent.traceId : randomBytes(16).toString('hex'),
      spanId: randomBytes(8).toString('hex'),
      parentSpanId: parent ? parent.spanId : '',
      flags: parent ? parent.flags : 1,
      traceState: (parent && parent.traceState) || '',
      kind, name, attributes, startTimeUnixNano: now(), status: {},
    };
  }
  function end(span, status, error) {
    if (span.endTimeUnixNano) return;
    span.endTimeUnixNano = now();
    if (status) span.attributes['http.response.status_code'] = status;
    if (error) span.attributes['error.type'] = String(error.code || error.name || error);
    if (error || status >= (span.kind === SERVER ? 500 : 400)) span.status = { code: ERROR };
    if (span.flags & 1) outbox.put('spans', span);
  }

  // Requests that come in

  for (const [server, scheme] of [[http.Server, 'http'], [https.Server, 'https']]) {
    const emit = server.prototype.emit;
    server.prototype.emit = function (event, request, response, ...more) {
      const plain = () => emit.call(this, event, request, response, ...more);
      if (event !== 'request' || !request || !response) return plain();
      let span = null;
      try {
        const [path, query] = split(request.url);
        const above = parsed(request.headers);
        if (path !== quiet || above) {
          const attributes = { 'http.request.method': request.method, 'url.path': path, 'url.scheme': scheme };
          if (query) attributes['url.query'] = query;
          if (request.headers['user-agent']) attributes['user_agent.original'] = request.headers['user-agent'];
          span = start(SERVER, request.method, above, attributes);
          span.baggage = request.headers.baggage || ''; // goes on with the calls: deadlines travel in it
          response.once('close', () => end(span, response.statusCode, response.writableFinished ? null : 'client left'));
        }
        for (const one of [request, response]) {
          const own = one.emit; // what it tells later belongs to the request as well
          one.emit = function (...given) {
            return serving.run(span, () => own.apply(this, given));
          };
        }
      } catch (error) {
        note(error);
      }
      return serving.run(span, plain);
    };
  }

  // Calls that go out

  for (const [client, scheme] of [[http, 'http'], [https, 'https']]) {
    const original = client.request;
    client.request = function request(...given) {
      const above = serving.getStore();
      const made = original.apply(this, given);
      if (above === null) return made;
      try {
        if (!made.headersSent) {
          const [path] = split(made.path);
          const [address, port] = [made.host || '', made.port];
          const attributes = { 'http.request.method': made.method, 'server.address': address, 'url.full': `${scheme}://${address}${port ? `:${port}` : ''}${path}` };
          const parent = above || parsed({ traceparent: made.getHeader('traceparent') });
          const span = start(CLIENT, made.method, parent, attributes);
          made.setHeader('traceparent', written(span));
          if (above && above.baggage && !made.hasHeader('baggage')) made.setHeader('baggage', above.baggage);
          made.once('response', (answer) => answer.once('close', () => end(span, answer.statusCode)));
          made.prependOnceListener('error', (error) => end(span, 0, error));
          made.once('close', () => made.res || end(span, 0, 'no answer'));
        }
      } catch (error) {
        note(error);
      }
      return made;
    };
    client.get = function get(...given) {
      const made = client.request(...given);
      made.end();
      return made;
    };
  }
  require('module').syncBuiltinESMExports();
  fetches(serving, start, end);

  // Lines that are printed

  for (const name of ['stdout', 'stderr']) {
    const stream = process[name], write = stream.write;
    if (stream.isTTY) continue;
    let open = '';
    stream.write = function (piece, ...more) {
      const span = serving.getStore();
      if (span && typeof piece === 'string') {
        const lines = (open + piece).split('\n');
        open = lines.pop().slice(0, LINE_MOST);
        for (const line of lines) if (line.trim()) outbox.put('lines', { span, time: now(), line: line.slice(0, LINE_MOST), stream: name });
      }
      return write.call(this, piece, ...more);
    };
  }
}

/** `fetch` tells of itself on channels of its own. */
function fetches(serving, start, end) {
  const { channel } = require('diagnostics_channel');
  const spans = new WeakMap();
  const on = (name, told) => channel(`undici:request:${name}`).subscribe((message) => { try { told(message); } catch (error) { note(error); } });
  on('create', ({ request }) => {
    const above = serving.getStore();
    if (above === null) return;
    if (above && above.baggage && !/\bbaggage\b/i.test(String(request.headers))) request.addHeader('baggage', above.baggage);
    if (/traceparent/i.test(String(request.headers))) return;
    const span = start(CLIENT, request.method, above, { 'http.request.method': request.method, 'url.full': `${request.origin}${split(request.path)[0]}` });
    request.addHeader('traceparent', written(span));
    spans.set(request, span);
  });
  on('headers', ({ request, response }) => { const span = spans.get(request); if (span) span.seen = response.statusCode; });
  on('trailers', ({ request }) => { const span = spans.get(request); if (span) end(span, span.seen); });
  on('error', ({ request, error }) => { const span = spans.get(request); if (span) end(span, span.seen, error); });
}

class Outbox {
  constructor(environ, overHttp, overHttps) {
    this.target = new URL(environ.OTEL_EXPORTER_OTLP_ENDPOINT);
    this.post = this.target.protocol === 'https:' ? overHttps : overHttp;
    this.headers = { 'content-type': 'application/json', ...pairs(environ.OTEL_EXPORTER_OTLP_HEADERS) };
    const own = { 'telemetry.sdk.language': 'nodejs', 'telemetry.sdk.name': 'atoll', 'process.pid': process.pid, 'process.runtime.name': 'nodejs', 'process.runtime.version': process.versions.node };
    this.resource = { attributes: attributes({ ...pairs(environ.OTEL_RESOURCE_ATTRIBUTES), 'service.name': environ.OTEL_SERVICE_NAME || 'unknown_service', ...own }) };
    this.waiting = { spans: [], lines: [] };
    this.dropped = 0;
    this.busy = false;
    this.pause = DELAY;
    process.once('beforeExit', () => this.send());
  }

  put(kind, item) {
    const queue = this.waiting[kind];
    if (queue.length >= LIMIT) { this.dropped += 1; return; }
    queue.push(item);
    this.later(DELAY);
  }

  later(delay) {
    if (!this.timer && !this.busy) this.timer = setTimeout(() => { this.timer = null; this.send(); }, delay).unref();
  }

  send() {
    if (this.busy) return;
    const kind = this.waiting.spans.length ? 'spans' : 'lines';
    const items = this.waiting[kind].slice(0, BATCH);
    if (!items.length) return;
    this.busy = true;
    const body = JSON.stringify(kind === 'spans' ? this.spans(items) : this.lines(items));
    const path = this.target.pathname.replace(/\/$/, '') + (kind === 'spans' ? '/v1/traces' : '/v1/logs');
    const done = (status) => {
      if (!this.busy) return;
      this.busy = false;
      const again = !status || status === 429 || status === 503;
      if (!again) this.waiting[kind].splice(0, items.length); // taken, or refused for good
      this.pause = again ? Math.min(this.pause * 2, 15000) : DELAY;
      if (this.waiting.spans.length || this.waiting.lines.length) this.later(this.pause);
    };
    const request = this.post({ protocol: this.target.protocol, hostname: this.target.hostname.replace(/^\[|\]$/g, ''), port: this.target.port, method: 'POST', path, headers: { ...this.headers, 'content-length': Buffer.byteLength(body) }, timeout: TIMEOUT, agent: false }, (answer) => {
      answer.resume();
      answer.once('close', () => done(answer.statusCode));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => done(0));
    request.on('socket', (socket) => socket.unref()); // a service that has nothing left to do ends
    request.end(body);
  }

  spans(items) {
    const spans = items.map(({ seen, flags, baggage, ...span }) => ({ ...span, flags, attributes: attributes(span.attributes) }));
    return { resourceSpans: [{ resource: this.resource, scopeSpans: [{ scope: { name: 'atoll' }, spans }] }] };
  }

  lines(items) {
    const logRecords = items.map(({ span, time, line, stream }) => ({ timeUnixNano: time, observedTimeUnixNano: time, body: { stringValue: line }, traceId: span.traceId, spanId: span.spanId, flags: span.flags, attributes: attributes({ 'log.iostream': stream }) }));
    return { resourceLogs: [{ resource: this.resource, scopeLogs: [{ scope: { name: 'atoll.printed' }, logRecords }] }] };
  }
}

const now = () => String(BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n);
const { performance } = require('perf_hooks');

function split(url) {
  const at = String(url).indexOf('?');
  return at < 0 ? [String(url), ''] : [String(url).slice(0, at), String(url).slice(at + 1)];
}

function parsed(headers) {
  const found = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/.exec(String(headers.traceparent || '').trim());
  if (!found || /^0+$/.test(found[1]) || /^0+$/.test(found[2])) return undefined;
  return { traceId: found[1], spanId: found[2], flags: parseInt(found[3], 16), traceState: headers.tracestate || '' };
}

const written = (span) => `00-${span.traceId}-${span.spanId}-${(span.flags & 255).toString(16).padStart(2, '0')}`;

function pairs(text) {
  const found = {};
  for (const pair of String(text || '').split(',')) {
    const at = pair.indexOf('=');
    if (at > 0) found[decodeURIComponent(pair.slice(0, at).trim())] = decodeURIComponent(pair.slice(at + 1).trim());
  }
  return found;
}

const attributes = (given) => Object.entries(given).map(([key, value]) => ({ key, value: typeof value === 'number' ? { intValue: String(value) } : { stringValue: String(value) } }));

let noted = false;
function note(error) {
  if (noted) return;
  noted = true;
  try {
    process.stderr.write(`atoll: not instrumented: ${String(error && error.message).replace(/[^ -~]/g, '?').slice(0, 200)}\n`);
  } catch { /* nobody listens */ }
}

try {
  begin();
} catch (error) {
  note(error);
}
