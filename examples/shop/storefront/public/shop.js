// The page: one request fills it, a WebSocket keeps it fresh, an order is followed by server-sent events.
import { picture } from './pictures.js';

const STAGES = ['created', 'paid', 'packed', 'shipped', 'delivered'];
const NAMES = ['Ada', 'Grace', 'Linus', 'Barbara', 'Edsger', 'Radia', 'Dennis', 'Margaret'];
const $ = (id) => document.getElementById(id);
const money = (cents) => (cents / 100).toLocaleString('de-DE', { style: 'currency', currency: 'EUR' });
const basket = new Map(); // product id → quantity
let products = new Map();
let category = '';
let pause = 1000; // ms before the WebSocket is tried again; doubles

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

function stockLine(product) {
  if (product.stock === 0) return 'sold out';
  return product.stock < 30 ? `only ${product.stock} left` : `${product.stock} in stock`;
}

function card(product, small) {
  const add = element('button', 'add', product.stock ? 'Add' : 'Sold out');
  add.disabled = !product.stock;
  add.onclick = () => change(product.id, 1);
  const stock = element('span', 'stock', stockLine(product));
  stock.dataset.stock = product.id;
  const about = small ? product.reason : product.description;
  const foot = element('div', 'foot', element('b', '', money(product.price_cents)), small ? '' : stock, add);
  return element('article', 'product', picture(product), element('h3', '', product.name), element('p', 'quiet', about), foot);
}

function change(id, by) {
  const quantity = (basket.get(id) ?? 0) + by;
  if (quantity > 0) basket.set(id, quantity);
  else basket.delete(id);
  drawBasket();
}

function drawBasket() {
  const lines = [...basket].map(([id, quantity]) => {
    const less = element('button', 'step', '−');
    const more = element('button', 'step', '+');
    less.onclick = () => change(id, -1);
    more.onclick = () => change(id, 1);
    const steps = element('span', 'steps', less, String(quantity), more);
    return element('li', '', element('span', 'name', products.get(id).name), steps, money(products.get(id).price_cents * quantity));
  });
  $('basket').replaceChildren(...(lines.length ? lines : [element('li', 'quiet', 'Nothing in it yet.')]));
  $('total').textContent = money([...basket].reduce((sum, [id, n]) => sum + products.get(id).price_cents * n, 0));
  $('order').disabled = !basket.size;
}

function drawProducts() {
  const text = $('search').value.trim().toLowerCase();
  const fits = (p) => (!category || p.category === category) && `${p.name} ${p.category} ${p.description}`.toLowerCase().includes(text);
  const shown = [...products.values()].filter(fits);
  $('shelf-title').textContent = text ? `“${text}”` : category || 'Everything';
  $('products').replaceChildren(...(shown.length ? shown.map((p) => card(p)) : [element('p', 'quiet', 'Nothing like that here.')]));
  const names = ['', ...new Set([...products.values()].map((p) => p.category))];
  $('categories').replaceChildren(
    ...names.map((name) => {
      const chip = element('button', name === category ? 'chip on' : 'chip', name || 'All');
      chip.onclick = () => ((category = name), drawProducts());
      return chip;
    }),
  );
}

function say(text) {
  $('notice').textContent = text;
  $('notice').hidden = !text;
}

async function load() {
  const customer = $('customer').value.trim();
  const answer = await fetch(`api/home?customer=${encodeURIComponent(customer)}`).catch(() => null);
  if (!answer?.ok) return say('The catalog is away for a moment. Reload to try again.');
  const home = await answer.json();
  products = new Map(home.products.map((p) => [p.id, p]));
  say(home.degraded.length ? `Working without ${home.degraded.join(' and ')} right now; you can still shop.` : '');
  $('for-you').hidden = !home.recommendations.length;
  $('recommendations').replaceChildren(...home.recommendations.map((p) => card(p, true)));
  $('history').hidden = !home.orders.length;
  const line = (o) => element('li', '', element('span', 'name', o.items.map((i) => i.name).join(', ')), element('span', `pill ${o.status}`, o.status));
  $('orders').replaceChildren(...home.orders.map(line));
  drawProducts();
  drawBasket();
}

async function order() {
  $('problem').hidden = true;
  $('order').disabled = true;
  const items = [...basket].map(([product_id, quantity]) => ({ product_id, quantity }));
  const body = JSON.stringify({ customer: $('customer').value.trim() || 'guest', items });
  const answer = await fetch('checkout', { method: 'POST', headers: { 'content-type': 'application/json' }, body }).catch(() => null);
  const made = await answer?.json().catch(() => null);
  if (answer?.status === 201) {
    basket.clear();
    drawBasket();
    return follow(made);
  }
  $('problem').textContent = made ? `${made.title}. ${made.detail ?? ''}` : 'The shop cannot be reached.';
  $('problem').hidden = false;
  $('order').disabled = false;
}

function follow(made) {
  $('journey').hidden = false;
  $('order-id').textContent = `${made.id} · ${money(made.total_cents)}`;
  const steps = new Map(STAGES.map((stage) => [stage, element('li', '', stage)]));
  $('track').replaceChildren(...steps.values());
  const events = new EventSource(`api/orders/${made.id}/events`);
  for (const [stage, step] of steps) events.addEventListener(stage, () => (step.className = 'done'));
  events.addEventListener('delivered', () => (events.close(), load()));
  events.onerror = () => events.close();
}

function listen() {
  const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/api/catalog/live`);
  const badge = (text, on) => (($('live').textContent = text), $('live').classList.toggle('on', on));
  socket.onopen = () => ((pause = 1000), badge('live', true));
  socket.onclose = () => (badge('offline', false), setTimeout(listen, (pause = Math.min(pause * 2, 60_000))));
  socket.onmessage = ({ data }) => {
    const tick = JSON.parse(data);
    const known = products.get(tick.id);
    if (tick.type !== 'price' || !known) return;
    Object.assign(known, { stock: tick.stock, price_cents: tick.price_cents });
    const shown = document.querySelector(`[data-stock="${tick.id}"]`);
    if (!shown) return;
    shown.textContent = stockLine(known);
    shown.classList.remove('flash');
    requestAnimationFrame(() => shown.classList.add('flash'));
  };
}

$('customer').value = localStorage.getItem('customer') ?? NAMES[Math.floor(Math.random() * NAMES.length)];
$('customer').onchange = () => (localStorage.setItem('customer', $('customer').value), load());
$('search').oninput = drawProducts;
$('order').onclick = order;
await load();
listen();
