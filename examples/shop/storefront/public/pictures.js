// One drawing a category on a tint of its own, so the shop looks like one without a single image file.
const STROKE = 'fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"';
const DRAWINGS = {
  Kitchen: '<path d="M14 24h26v14a9 9 0 0 1-9 9h-8a9 9 0 0 1-9-9zM40 28h4a6 6 0 0 1 0 12h-4M21 12c-2 3 2 4 0 7M28 10c-2 3 2 5 0 9M35 12c-2 3 2 4 0 7"/>',
  Outdoors: '<path d="M32 12 10 50h44zM32 28l-9 22M32 28l9 22M32 12l4-4M32 12l-4-4"/>',
  Home: '<path d="M12 30 32 13l20 17M17 27v23h30V27M27 50V37h10v13"/>',
  Desk: '<path d="M17 50l3-12 22-25 8 7-22 25zM37 19l8 7M17 50l9-4M12 55h40"/>',
  Books: '<path d="M32 18c-6-5-13-6-21-6v34c8 0 15 1 21 6 6-5 13-6 21-6V12c-8 0-15 1-21 6zM32 18v34"/>',
  Bags: '<path d="M14 24h36l3 28H11zM23 24v-4a9 9 0 0 1 18 0v4M23 32v2M41 32v2"/>',
};
const HUES = { Kitchen: 24, Outdoors: 150, Home: 42, Desk: 215, Books: 340, Bags: 188 };

export function picture(product) {
  const hue = HUES[product.category] ?? 200;
  const shade = 90 - (product.id % 4) * 2;
  const box = document.createElement('div');
  box.className = 'picture';
  box.style.background = `linear-gradient(150deg, hsl(${hue} 55% ${shade}%), hsl(${hue + 18} 45% ${shade - 12}%))`;
  box.style.color = `hsl(${hue} 45% 32%)`;
  if (product.image_type?.startsWith('image/')) {
    const image = new Image();
    image.src = `api/catalog/products/${product.id}/image`;
    image.alt = product.name;
    box.append(image);
  } else {
    box.innerHTML = `<svg viewBox="0 0 64 64" aria-hidden="true" ${STROKE}>${DRAWINGS[product.category] ?? DRAWINGS.Home}</svg>`;
  }
  return box;
}
