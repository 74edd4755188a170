// How far a download is, how fast, and how long it will take.

const WINDOW = 3000; // ms over which speed is measured
const INTERVAL = 100; // ms between reports

/** Reports progress at most ten times a second, and at the end. */
export class Progress {
  #report;
  #samples = [];
  #last = -Infinity;

  /** @param {(progress: object) => void} report */
  constructor(report) {
    this.#report = report;
  }

  /** @param {{phase: string, loaded: number, total: number}} state */
  update({ phase, loaded, total }) {
    const now = performance.now();
    this.#samples.push({ now, loaded });
    while (this.#samples.length > 2 && now - this.#samples[0].now > WINDOW) this.#samples.shift();
    if (now - this.#last < INTERVAL && loaded !== total) return;
    this.#last = now;
    const first = this.#samples[0];
    const seconds = (now - first.now) / 1000;
    const bytesPerSecond = seconds > 0 ? Math.max(0, (loaded - first.loaded) / seconds) : 0;
    const secondsLeft = bytesPerSecond > 0 ? (total - loaded) / bytesPerSecond : null;
    this.#report({ phase, loaded, total, bytesPerSecond, secondsLeft });
  }
}
