// Starts a module worker, also from a script that another origin serves.

export function spawn(url, name) {
  const sameOrigin = new URL(url).origin === new URL(self.location.href).origin;
  if (sameOrigin) return new Worker(url, { type: 'module', name });
  // A worker's script must come from the page's origin; what it imports need not.
  const code = new Blob([`import ${JSON.stringify(url)};`], { type: 'text/javascript' });
  const blob = URL.createObjectURL(code);
  const worker = new Worker(blob, { type: 'module', name });
  setTimeout(() => URL.revokeObjectURL(blob), 60_000);
  return worker;
}
