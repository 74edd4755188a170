// Files that are dropped: alone, several, or in a folder.

/** The files of a drop, by their names below the folder if there is one; call it in the handler. */
export async function droppedFiles({ items, files }) {
  // Entries are gone once the handler has returned.
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 1 && entries[0].isDirectory) {
    return { name: entries[0].name, files: Object.fromEntries(await filesIn(entries[0], '')) };
  }
  return chosenFiles(files);
}

/** Files that were chosen in a dialog. */
export function chosenFiles(files) {
  const name = files.length === 1 ? files[0].name : 'checkpoint';
  return { name, files: Object.fromEntries([...files].map((file) => [file.name, file])) };
}

async function filesIn(folder, path) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    // A hundred or so at a time, and none at the end.
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return found;
    for (const entry of entries) {
      const name = path + entry.name;
      if (entry.isDirectory) found.push(...(await filesIn(entry, `${name}/`)));
      else found.push([name, await new Promise((resolve, reject) => entry.file(resolve, reject))]);
    }
  }
}
