import { defineConfig } from 'vite';

// With these headers the engine uses threads; without them it runs on one.
const headers = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

export default defineConfig({
  server: { headers },
  preview: { headers },
  optimizeDeps: { exclude: ['kinglet'] },
});
