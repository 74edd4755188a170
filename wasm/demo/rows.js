// Lists of texts with numbers, drawn as bars too.

/** A row; `score` is from 0 to 1, and `what` names it to those who cannot see the bar. */
export function row({ text, score }, what) {
  const item = document.createElement('li');
  item.style.setProperty('--share', Math.min(1, Math.max(0, score)));
  const words = document.createElement('span');
  words.textContent = text;
  const number = document.createElement('output');
  number.textContent = score.toFixed(2);
  number.setAttribute('aria-label', `${what} ${score.toFixed(2)}`);
  item.append(words, number);
  return item;
}

/** A list of rows. */
export function rows(entries, what) {
  const list = document.createElement('ol');
  list.className = 'rows';
  list.append(...entries.map((entry) => row(entry, what)));
  return list;
}
