// Subtitles as SubRip has them.

/** The text of a file of `segments`, each with `start`, `end` and `text`. */
export function srt(segments) {
  const parts = segments.map(({ start, end, text }, i) => `${i + 1}\n${time(start)} --> ${time(end)}\n${text.trim()}\n`);
  return parts.join('\n');
}

/** `00:01:02,340` */
function time(seconds) {
  const milliseconds = Math.round(seconds * 1000);
  const part = (unit, size, width = 2) => String(Math.floor(milliseconds / unit) % size).padStart(width, '0');
  return `${part(3_600_000, 100)}:${part(60_000, 60)}:${part(1000, 60)},${part(1, 1000, 3)}`;
}

/** `1:02`, or `1:02:03`. */
export function clock(seconds) {
  const s = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, '0');
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}
