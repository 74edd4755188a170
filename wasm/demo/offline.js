// Service worker: keeps the page and the engine, so that a second visit needs no network. Models
// are kept by the package itself. Where a host cannot send them, it adds the headers that
// isolate the page, without which there are no threads.

const CACHE = 'kinglet-page';
const ISOLATION = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
};

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  const ours = origin === self.location.origin && request.method === 'GET';
  if (ours && !pathname.endsWith('.kinglet')) event.respondWith(answer(request));
});

/** What the network says, or what it said last. */
async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const fresh = await fetch(request);
    if (fresh.status === 200) {
      const headers = new Headers(fresh.headers);
      for (const [name, value] of Object.entries(ISOLATION)) headers.set(name, value);
      const { status, statusText } = fresh;
      const isolated = new Response(fresh.body, { status, statusText, headers });
      await cache.put(request, isolated.clone());
      return isolated;
    }
    return fresh;
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
